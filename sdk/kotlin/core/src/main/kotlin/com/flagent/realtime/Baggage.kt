package com.flagent.realtime

import java.io.ByteArrayOutputStream

/**
 * Carries a position from one service to the next in the header `baggage` (W3C), so that the second can wait until its flags are as new as
 * those of the first: `store.waitFor(position)`.
 *
 * A value is an event id, or a position in digits.
 */
public object Baggage {
    /** The name of the member. */
    public const val MEMBER: String = "flagent-position"

    private const val MAX_VALUE = 256
    private const val MAX_HEADER = 8192
    private const val MAX_MEMBERS = 64
    private val position = Regex("[0-9]{1,19}")

    /**
     * The value in a header, the highest where there are several of one log; `null` if there is none that can be read.
     *
     * @param header the header's value, several headers joined by commas; `null` = absent.
     */
    @JvmStatic
    public fun read(header: String?): String? {
        var highest: String? = null
        for (member in header.orEmpty().split(',')) {
            val value = valueOf(member) ?: continue
            if (highest == null || isHigher(value, highest)) highest = value
        }
        return highest
    }

    /**
     * The header with this value, unless it holds a higher one of the same log. Other members stay as they are. Returns the header
     * unchanged if the value is `null` or cannot be read, or if it would become too long.
     */
    @JvmStatic
    public fun write(header: String?, value: String?): String? {
        if (value == null || !isReadable(value)) return header
        val present = header.orEmpty()
        val theirs = read(header)
        val kept = if (theirs != null && isHigher(theirs, value)) theirs else value
        val others = present.split(',').map { it.trim(' ', '\t') }.filter { it.isNotEmpty() && nameOf(it) != MEMBER }
        val text = (others + "$MEMBER=${encode(kept)}").joinToString(",")
        return if (text.length > MAX_HEADER || others.size + 1 > MAX_MEMBERS) header else text
    }

    private fun nameOf(member: String) = member.substringBefore(';').substringBefore('=').trim(' ', '\t')

    private fun valueOf(member: String): String? {
        val pair = member.substringBefore(';')
        if ('=' !in pair || nameOf(pair) != MEMBER) return null
        return decode(pair.substringAfter('=').trim(' ', '\t'))?.takeIf(::isReadable)
    }

    private fun isReadable(value: String) = value.length <= MAX_VALUE && (position.matches(value) || EventId.parse(value) != null)

    /** Whether [a] is after [b], in the same log. A position alone belongs to none. */
    private fun isHigher(a: String, b: String): Boolean = if (position.matches(a) && position.matches(b)) {
        a.toBigInteger() > b.toBigInteger()
    } else {
        EventId.compare(a, b) == IdOrder.AFTER
    }

    private fun decode(text: String): String? {
        if ('%' !in text) return text
        val bytes = ByteArrayOutputStream()
        var i = 0
        while (i < text.length) {
            if (text[i] == '%') {
                val code = text.substring(i + 1, minOf(i + 3, text.length)).takeIf { it.length == 2 }?.toIntOrNull(16) ?: return null
                bytes.write(code)
                i += 3
            } else {
                bytes.write(text[i].toString().toByteArray())
                i++
            }
        }
        return try {
            bytes.toByteArray().decodeToString(throwOnInvalidSequence = true)
        } catch (_: CharacterCodingException) {
            null
        }
    }

    // A baggage-octet: printable ASCII without blank, quote, comma, semicolon and backslash.
    private fun encode(text: String): String = buildString {
        for (byte in text.toByteArray()) {
            val code = byte.toInt() and 0xff
            val c = code.toChar()
            if (code in 0x21..0x7e && c !in "\",;\\%") append(c) else append('%').append(code.toString(16).uppercase().padStart(2, '0'))
        }
    }
}
