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

/** A Kotlin value as JSON; raises [IllegalArgumentException] for a type that JSON does not have. */
internal fun jsonOf(value: Any?): JsonElement = when (value) {
    null -> JsonNull
    is JsonElement -> value
    is String -> JsonPrimitive(value)
    is Boolean -> JsonPrimitive(value)
    is Number -> JsonPrimitive(value)
    is Enum<*> -> JsonPrimitive(value.name)
    is Map<*, *> -> JsonObject(value.entries.associate { (k, v) -> k.toString() to jsonOf(v) })
    is Iterable<*> -> JsonArray(value.map { jsonOf(it) })
    else -> throw IllegalArgumentException("A value of ${value::class.java.name} cannot be sent as JSON.")
}
