package com.flagent.realtime

import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.booleanOrNull
import kotlinx.serialization.json.intOrNull
import kotlinx.serialization.json.longOrNull

// Tolerant accessors: a field that is missing or of an unexpected type is null, so that a server that adds or changes a field
// never breaks a client.

internal fun JsonObject.text(name: String): String? = (this[name] as? JsonPrimitive)?.takeIf { it.isString }?.content

internal fun JsonObject.int(name: String): Int? = number(name)?.intOrNull

internal fun JsonObject.long(name: String): Long? = number(name)?.longOrNull

internal fun JsonObject.bool(name: String): Boolean? =
    (this[name] as? JsonPrimitive)?.takeIf { !it.isString }?.booleanOrNull

internal fun JsonObject.obj(name: String): JsonObject? = this[name] as? JsonObject

internal fun JsonObject.list(name: String): List<JsonElement>? = this[name] as? JsonArray

internal fun JsonObject.objects(name: String): List<JsonObject> = list(name)?.filterIsInstance<JsonObject>().orEmpty()

internal fun JsonObject.texts(name: String): List<String> =
    list(name)?.mapNotNull { (it as? JsonPrimitive)?.takeIf { p -> p.isString }?.content }.orEmpty()

private fun JsonObject.number(name: String): JsonPrimitive? =
    (this[name] as? JsonPrimitive)?.takeIf { !it.isString && it !is JsonNull }
