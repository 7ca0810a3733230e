package com.flagent.realtime.openfeature

import com.flagent.realtime.EvaluationResult
import dev.openfeature.sdk.exceptions.TypeMismatchError
import java.math.BigDecimal
import java.math.BigInteger
import java.math.MathContext

/** The value of a variant as OpenFeature's types. Raises [TypeMismatchError]. */
internal object VariantValue {
    private val trueTexts = setOf("true", "on", "yes", "enabled")
    private val falseTexts = setOf("false", "off", "no", "disabled")
    private val jsonNumber = Regex("""-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?""")

    fun text(result: EvaluationResult): String = result.variantAttachment?.get("value") ?: result.variantKey.orEmpty()

    fun boolean(result: EvaluationResult): Boolean {
        val text = text(result)
        return when (text.lowercase()) {
            in trueTexts -> true
            in falseTexts -> false
            else -> throw TypeMismatchError("'${text.take(50)}' is not a boolean; true, on, yes, enabled, false, off, no and disabled are.")
        }
    }

    fun int(result: EvaluationResult): Int = within(integer(text(result)), Int.MIN_VALUE.toLong(), Int.MAX_VALUE.toLong()).toInt()

    fun long(result: EvaluationResult): Long = within(integer(text(result)), Long.MIN_VALUE, Long.MAX_VALUE).toLong()

    private fun within(value: BigInteger, min: Long, max: Long): BigInteger {
        if (value < BigInteger.valueOf(min) || value > BigInteger.valueOf(max)) throw TypeMismatchError("$value is too large.")
        return value
    }

    /** A number in JSON's grammar, without loss of digits. */
    fun number(text: String): Double {
        val exact = decimal(text)
        if (exact.signum() == 0) return 0.0
        val value = text.toDouble()
        if (!value.isFinite()) throw TypeMismatchError("'${text.take(50)}' is too large.")
        if (shortest(value).compareTo(exact) != 0) throw TypeMismatchError("'${text.take(50)}' has more digits than a double can hold.")
        return value
    }

    /** The fewest digits that read as this double. Not its toString, which is longer in some versions of Java. */
    private fun shortest(value: Double): BigDecimal = (1..MAX_DIGITS).firstNotNullOf { digits ->
        BigDecimal(value).round(MathContext(digits)).takeIf { it.toDouble() == value || digits == MAX_DIGITS }
    }

    /** A whole number in JSON's grammar, however it is spelled. */
    fun integer(text: String): BigInteger {
        val exact = decimal(text).stripTrailingZeros()
        if (!text.toDouble().isFinite()) throw TypeMismatchError("'${text.take(50)}' is too large.")
        if (exact.scale() > 0) throw TypeMismatchError("'${text.take(50)}' is not a whole number.")
        return exact.toBigInteger()
    }

    // Of a double, at most.
    private const val MAX_DIGITS = 17
    private val zero = Regex("-?0(?:\\.0+)?(?:[eE].*)?")

    private fun decimal(text: String): BigDecimal {
        if (!jsonNumber.matches(text)) throw TypeMismatchError("'${text.take(50)}' is not a number; numbers are written as in JSON.")
        // Its exponent may be beyond what BigDecimal takes.
        if (zero.matches(text)) return BigDecimal.ZERO
        return text.toBigDecimalOrNull() ?: throw TypeMismatchError("'${text.take(50)}' is too large.")
    }
}
