package com.flagent.realtime

import java.util.regex.Pattern
import java.util.regex.PatternSyntaxException

/**
 * Finds expressions whose matcher may branch without reading a character, such as `(|){40}b` on an empty value: it tries
 * 2 to the power of 40 ways to match nothing.
 *
 * A group is ambiguous if two of its alternatives match nothing, or if one does and the group is optional as well. A few such groups in a
 * row only double the work; a repeated one multiplies it without limit.
 */
internal object EmptyBranches {
    private const val MAX_AMBIGUOUS = 8

    private class Group(val start: Int) {
        val alternatives = mutableListOf<String>()
        var alternativeStart = start
        var hasAmbiguous = false
    }

    /** [pattern] is valid. */
    fun areUnbounded(pattern: String): Boolean {
        var ambiguous = 0
        val open = mutableListOf(Group(0))
        var i = 0
        while (i < pattern.length) {
            when (pattern[i]) {
                '\\' -> if (pattern.startsWith("\\Q", i)) {
                    i = pattern.indexOf("\\E", i + 2).let { if (it < 0) pattern.length else it } + 1
                } else {
                    i++
                }
                '[' -> i = endOfClass(pattern, i)
                '(' -> open += Group(contentOf(pattern, i)).also { i = it.start - 1 }
                '|' -> open.last().let { group ->
                    group.alternatives += pattern.substring(group.alternativeStart, i)
                    group.alternativeStart = i + 1
                }
                ')' -> if (open.size > 1) {
                    val group = open.removeAt(open.lastIndex)
                    group.alternatives += pattern.substring(group.alternativeStart, i)
                    val quantifier = pattern.getOrNull(i + 1)
                    val isRepeated = quantifier == '*' || quantifier == '+' || quantifier == '{'
                    val isOptional = quantifier == '*' || quantifier == '?' || pattern.startsWith("{0", i + 1)
                    val empty = group.alternatives.count(::matchesNothing)
                    val isAmbiguous = empty > 1 || (empty == 1 && isOptional)
                    if (isAmbiguous && ++ambiguous > MAX_AMBIGUOUS) return true
                    if (isRepeated && (group.hasAmbiguous || (empty > 1))) return true
                    open.last().hasAmbiguous = open.last().hasAmbiguous || group.hasAmbiguous || isAmbiguous
                }
            }
            i++
        }
        return false
    }

    /** After `(`, `(?:`, `(?<name>`, `(?i:`, `(?=` and the like. */
    private fun contentOf(pattern: String, open: Int): Int {
        if (pattern.getOrNull(open + 1) != '?') return open + 1
        if (pattern.startsWith("(?<=", open) || pattern.startsWith("(?<!", open)) return open + 4
        if (pattern.getOrNull(open + 2) == '<') return pattern.indexOf('>', open) + 1
        var i = open + 2
        while (i < pattern.length && (pattern[i].isLetter() || pattern[i] == '-')) i++
        // `(?i)` has no content.
        return if (pattern.getOrNull(i) == ')') i else i + 1
    }

    private fun endOfClass(pattern: String, open: Int): Int {
        var depth = 0
        var i = open
        while (i < pattern.length) {
            when (pattern[i]) {
                '\\' -> if (pattern.startsWith("\\Q", i)) i = pattern.indexOf("\\E", i + 2).let { if (it < 0) pattern.length else it } + 1 else i++
                '[' -> depth++
                ']' -> if (--depth == 0) return i
            }
            i++
        }
        return i
    }

    // A back reference may refer to nothing, but its group is elsewhere.
    private val backReference = Regex("""\\(?:[1-9][0-9]*|k<[A-Za-z0-9]+>)""")

    private fun matchesNothing(alternative: String): Boolean = try {
        Pattern.compile(backReference.replace(alternative, "")).matcher("").matches()
    } catch (_: PatternSyntaxException) {
        // Unreadable on its own: taken as one that matches nothing.
        true
    }
}
