package com.flagent.realtime

import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import java.util.zip.CRC32

/**
 * The one text of a flag that every server and client agrees on: without bookkeeping and schema, keys by code point,
 * no blanks, non-ASCII as it is, escapes as JSON.stringify makes them.
 */
internal object Canonical {
    private val leftOut = setOf("snapshotID", "updatedAt", "updatedBy", "schema")

    fun of(flag: JsonObject): String = buildString { writeObject(flag, leftOut) }

    fun crc(text: String): Long = CRC32().apply { update(text.toByteArray(Charsets.UTF_8)) }.value

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

    // String.compareTo goes by UTF-16 unit, where U+1F6A9 would come before U+FFEE.
    private val byCodePoint = Comparator<String> { a, b ->
        val left = a.codePoints().iterator()
        val right = b.codePoints().iterator()
        while (left.hasNext() && right.hasNext()) {
            val order = left.nextInt().compareTo(right.nextInt())
            if (order != 0) return@Comparator order
        }
        left.hasNext().compareTo(right.hasNext())
    }
}

/** `<count>:<hex8>` over a set of flags, kept up to date flag by flag: the CRC-32s of their canonical texts, summed. */
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
        private val form = Regex("""[0-9]+:[0-9a-f]{8}""")

        fun isReadable(text: String): Boolean = form.matches(text)
    }
}
