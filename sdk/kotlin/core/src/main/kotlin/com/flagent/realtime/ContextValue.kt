package com.flagent.realtime

import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.booleanOrNull
import java.math.BigDecimal
import java.math.BigInteger
import java.math.MathContext
import kotlin.math.absoluteValue

/** Values of an entity's context. The server compares the JSON text of a value; it is the same in every SDK. */
internal object ContextValue {
    private val wholeTypes = setOf(Int::class, Long::class, Short::class, Byte::class, BigInteger::class)

    /** The context as the server takes it; raises [IllegalArgumentException] for a value that no constraint can compare. */
    fun jsonOf(context: Map<String, Any?>): JsonObject =
        JsonObject(context.mapNotNull { (name, value) -> json(name, value)?.let { name to it } }.toMap())

    /** The context with its values as text, without those that are missing; raises as [jsonOf]. */
    fun textsOf(context: Map<String, Any?>?): Map<String, String> {
        if (context.isNullOrEmpty()) return emptyMap()
        @Suppress("UNCHECKED_CAST")
        if (context.values.all { it is String }) return context as Map<String, String>
        val texts = HashMap<String, String>()
        for ((name, value) in context) text(name, value)?.let { texts[name] = it }
        return texts
    }

    private fun json(name: String, value: Any?): JsonElement? {
        val text = text(name, value) ?: return null
        val literal = when (value) {
            is Number -> JsonPrimitive(value)
            is Boolean -> JsonPrimitive(value)
            is JsonPrimitive -> value
            else -> null
        }
        return literal?.takeIf { it.content == text } ?: JsonPrimitive(text)
    }

    /** The value as text, `null` = missing. Numbers are written as JavaScript writes them, so that 3 and 3.0 are the same. */
    fun text(name: String, value: Any?): String? = when (value) {
        null, JsonNull -> null
        is String -> value
        is Boolean -> value.toString()
        is Enum<*> -> value.name
        is JsonPrimitive -> if (value.isString || value.booleanOrNull != null) value.content else text(name, number(value.content))
        is Number -> if (value::class in wholeTypes) value.toString() else text(name, value.toString().toDouble())
        else -> throw IllegalArgumentException(
            "The context value '$name' is a ${value::class.java.name}; it must be a string, a number or a boolean.",
        )
    }

    private fun number(literal: String): Number = literal.toBigIntegerOrNull() ?: literal.toDouble()

    private fun text(name: String, value: Double): String {
        require(value.isFinite()) { "The context value '$name' is $value; a number must be finite." }
        if (value == 0.0) return "0"
        val size = value.absoluteValue
        val shortest = (1..MAX_DIGITS).firstNotNullOf { digits ->
            BigDecimal(size).round(MathContext(digits)).takeIf { it.toDouble() == size || digits == MAX_DIGITS }
        }.stripTrailingZeros()
        val digits = shortest.unscaledValue().toString()
        val point = digits.length - shortest.scale()
        val text = when {
            digits.length <= point && point <= MAX_PLAIN -> digits + "0".repeat(point - digits.length)
            point in 1..MAX_PLAIN -> digits.take(point) + "." + digits.drop(point)
            point in MIN_PLAIN..0 -> "0." + "0".repeat(-point) + digits
            else -> digits.take(1) + (if (digits.length > 1) "." + digits.drop(1) else "") + "e" + (if (point > 0) "+" else "") + (point - 1)
        }
        return if (value < 0) "-$text" else text
    }

    // A double has at most 17 significant digits; ECMAScript writes 1e21 and more, and less than 1e-6, with an exponent.
    private const val MAX_DIGITS = 17
    private const val MAX_PLAIN = 21
    private const val MIN_PLAIN = -5
}
