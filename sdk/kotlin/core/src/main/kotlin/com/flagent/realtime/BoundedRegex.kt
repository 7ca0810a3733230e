package com.flagent.realtime

import java.util.regex.Pattern
import java.util.regex.PatternSyntaxException

internal enum class MatchOutcome { MATCHES, DIFFERS, UNDECIDED }

/**
 * A regular expression of a constraint, which must match the whole value: Java's own, as in Flagent, but bounded in time. Any writer
 * of Flagent's tables can store `(a+)+b`, and any user can choose the value.
 *
 * On the JVM each character that the matcher reads is counted, and the match ends at a limit. What it does between two
 * characters is not counted, so expressions that can branch there without limit are undecided: see [EmptyBranches]. Android's matcher
 * copies the value, so nothing is counted there, and only the limits of pattern and value apply.
 */
internal class BoundedRegex private constructor(private val pattern: Pattern?, private val isBounded: Boolean) {
    fun match(value: String): MatchOutcome {
        if (!isBounded || value.codePointCount(0, value.length) > MAX_VALUE) return MatchOutcome.UNDECIDED
        // An invalid expression never matches.
        if (pattern == null) return MatchOutcome.DIFFERS
        return try {
            if (pattern.matcher(CountedText(value, IntArray(1))).matches()) MatchOutcome.MATCHES else MatchOutcome.DIFFERS
        } catch (_: TooManyReads) {
            MatchOutcome.UNDECIDED
        } catch (_: StackOverflowError) {
            // The matcher recurses once per repetition of a group.
            MatchOutcome.UNDECIDED
        }
    }

    /** Raises [TooManyReads] when it has been read so often that the match must end. */
    private class CountedText(private val text: CharSequence, private val reads: IntArray) : CharSequence {
        override val length get() = text.length

        override fun get(index: Int): Char {
            if (++reads[0] > MAX_READS) throw TooManyReads
            return text[index]
        }

        override fun subSequence(startIndex: Int, endIndex: Int): CharSequence = CountedText(text.subSequence(startIndex, endIndex), reads)

        override fun toString() = text.toString()
    }

    private object TooManyReads : RuntimeException() {
        private fun readResolve(): Any = TooManyReads

        override fun fillInStackTrace(): Throwable = this
    }

    companion object {
        private const val MAX_PATTERN = 1000
        private const val MAX_VALUE = 4096

        /** Ten to twenty milliseconds. */
        private const val MAX_READS = 2_000_000

        fun of(pattern: String): BoundedRegex {
            if (pattern.codePointCount(0, pattern.length) > MAX_PATTERN) return BoundedRegex(null, isBounded = false)
            val compiled = try {
                Pattern.compile(pattern)
            } catch (_: PatternSyntaxException) {
                null
            } catch (_: StackOverflowError) {
                return BoundedRegex(null, isBounded = false)
            }
            return BoundedRegex(compiled, isBounded = compiled == null || !EmptyBranches.areUnbounded(pattern))
        }
    }
}
