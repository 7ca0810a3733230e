package com.flagent.realtime

import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import java.util.zip.CRC32

/**
 * The canonical text of a flag, equal in every server and SDK: without bookkeeping and schema, keys sorted by code point, no
 * blanks, non-ASCII unescaped, escapes as in JSON.stringify.
 */
internal object Canonical {
    private val excluded = setOf("snapshotID", "updatedAt", "updatedBy", "schema")

    fun canonicalFlag(flag: JsonObject): String = buildString { writeObject(flag, excluded) }

    fun crc(text: String): Long = CRC32().apply { update(text.toByteArray(Charsets.UTF_8)) }.value

    /** A text as JSON. */
    fun quoted(text: String): String = buildString { writeText(text) }

    private fun StringBuilder.write(value: JsonElement) {
        when (value) {
            is JsonObject -> writeObject(value, emptySet())
            is JsonArray -> {
                append('[')
                value.forEachIndexed { i, item ->
                    if (i > 0) append(',')
                    write(item)
                }
                append(']')
            }
            is JsonPrimitive -> if (value.isString) writeText(value.content) else append(value.content)
        }
    }

    private fun StringBuilder.writeObject(value: JsonObject, without: Set<String>) {
        append('{')
        var first = true
        for (name in value.keys.filter { it !in without }.sortedWith(byCodePoint)) {
            if (!first) append(',')
            first = false
            writeText(name)
            append(':')
            write(value.getValue(name))
        }
        append('}')
    }

    private fun StringBuilder.writeText(text: String) {
        append('"')
        text.forEachIndexed { i, c ->
            when {
                c == '"' -> append("\\\"")
                c == '\\' -> append("\\\\")
                c == '\b' -> append("\\b")
                c == '\u000c' -> append("\\f")
                c == '\n' -> append("\\n")
                c == '\r' -> append("\\r")
                c == '\t' -> append("\\t")
                c < ' ' || isLone(text, i) -> append("\\u").append(c.code.toString(16).padStart(4, '0'))
                else -> append(c)
            }
        }
        append('"')
    }

    private fun isLone(text: String, i: Int): Boolean {
        val c = text[i]
        return (c.isHighSurrogate() && text.getOrNull(i + 1)?.isLowSurrogate() != true) ||
            (c.isLowSurrogate() && text.getOrNull(i - 1)?.isHighSurrogate() != true)
    }

    // String.compareTo compares UTF-16 units, which sorts U+1F6A9 before U+FFEE.
    val byCodePoint = Comparator<String> { a, b ->
        val left = a.codePoints().iterator()
        val right = b.codePoints().iterator()
        while (left.hasNext() && right.hasNext()) {
            val order = left.nextInt().compareTo(right.nextInt())
            if (order != 0) return@Comparator order
        }
        left.hasNext().compareTo(right.hasNext())
    }
}

/** The running digest of a set of flags, `<count>:<hex8>`: their number and the sum of the CRC-32s of their canonical texts. */
internal class Digest {
    private var count = 0
    private var sum = 0L

    fun add(crc: Long) {
        count++
        sum += crc
    }

    fun remove(crc: Long) {
        count--
        sum -= crc
    }

    override fun toString(): String = "$count:" + (sum and 0xffffffffL).toString(16).padStart(8, '0')

    companion object {
        private val format = Regex("""[0-9]+:[0-9a-f]{8}""")

        fun isReadable(text: String): Boolean = format.matches(text)
    }
}
