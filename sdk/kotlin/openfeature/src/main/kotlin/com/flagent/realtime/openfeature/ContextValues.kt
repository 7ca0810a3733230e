package com.flagent.realtime.openfeature

import dev.openfeature.sdk.EvaluationContext
import dev.openfeature.sdk.Value
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive

/**
 * Attributes of a context as values for constraints: times as ISO-8601, structures as JSON text. A number that is not finite, which JSON
 * cannot hold, counts as missing.
 */
internal object ContextValues {
    fun of(context: EvaluationContext): Map<String, Any?> =
        context.asMap().filterKeys { it != EvaluationContext.TARGETING_KEY }.mapValues { plain(it.value) }

    private fun plain(value: Value?): Any? = when {
        value == null || value.isNull -> null
        value.isString -> value.asString()
        value.isBoolean -> value.asBoolean()
        value.isNumber -> (value.asObject() as Number).takeIf { it !is Double || it.isFinite() }
        value.isInstant -> value.asInstant().toString()
        else -> json(value).toString()
    }

    private fun json(value: Value?): JsonElement = when {
        value == null || value.isNull -> JsonNull
        value.isStructure -> JsonObject(value.asStructure().asMap().mapValues { json(it.value) })
        value.isList -> JsonArray(value.asList().map(::json))
        else -> when (val plain = plain(value)) {
            is Number -> JsonPrimitive(plain)
            is Boolean -> JsonPrimitive(plain)
            is String -> JsonPrimitive(plain)
            else -> JsonNull
        }
    }
}
