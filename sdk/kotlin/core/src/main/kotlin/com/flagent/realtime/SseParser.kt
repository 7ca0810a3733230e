package com.flagent.realtime

import java.io.ByteArrayOutputStream

/** The items of an event stream. */
internal sealed interface SseItem {
    data class Event(val name: String, val data: String, val lastEventId: String) : SseItem

    data class Comment(val text: String) : SseItem

    data class Retry(val ms: Long) : SseItem

    /** A block with an id and without data. */
    data class Id(val lastEventId: String) : SseItem
}

/** A block exceeds the maximum size. */
internal class MessageTooLarge(limit: Int) : Exception("A message exceeds maxMessageBytes ($limit).")

/**
 * Parses a `text/event-stream` as in the HTML Living Standard, section "Server-sent events".
 *
 * Bytes may be split anywhere, also within a character or between CR and LF. An unfinished block at the end of the stream is
 * dropped with its id. [feed] raises [MessageTooLarge] when a block exceeds [limit] bytes, after it has added the items before
 * it; the parser must not be used afterwards.
 */
internal class SseParser(private val limit: Int = Int.MAX_VALUE) {
    /** The id of the last complete block that had one; empty before. */
    var lastEventId = ""
        private set

    private val line = ByteArrayOutputStream()
    private var skipLineFeed = false
    private var started = false

    private var name = ""
    private val data = StringBuilder()
    private var hasData = false
    private var blockId: String? = null
    private var blockSize = 0

    fun feed(bytes: ByteArray): List<SseItem> = mutableListOf<SseItem>().also { feed(bytes, it) }

    /** The same, adding to [items]. */
    fun feed(bytes: ByteArray, items: MutableList<SseItem>) {
        var from = 0
        for (i in bytes.indices) {
            val b = bytes[i]
            if (b != LF && b != CR) {
                skipLineFeed = false
                continue
            }
            if (b == LF && skipLineFeed && i == from) {
                skipLineFeed = false
                from = i + 1
                continue
            }
            take(bytes, from, i)
            from = i + 1
            skipLineFeed = b == CR
            finishLine(items)
        }
        take(bytes, from, bytes.size)
    }

    private fun take(bytes: ByteArray, from: Int, to: Int) {
        blockSize += to - from
        if (blockSize > limit) throw MessageTooLarge(limit)
        line.write(bytes, from, to - from)
    }

    private fun finishLine(items: MutableList<SseItem>) {
        var text = line.toString("UTF-8")
        line.reset()
        if (!started) {
            started = true
            text = text.removePrefix("\uFEFF")
        }
        if (text.isEmpty()) return finishBlock(items)
        val colon = text.indexOf(':')
        val field = if (colon < 0) text else text.substring(0, colon)
        val value = if (colon < 0) "" else text.substring(colon + 1).removePrefix(" ")
        when (field) {
            "" -> items += SseItem.Comment(value)
            "event" -> name = value
            "data" -> {
                if (hasData) data.append('\n')
                hasData = true
                data.append(value)
            }
            "id" -> if ('\u0000' !in value) blockId = value
            "retry" -> if (value.isNotEmpty() && value.all { it in '0'..'9' }) {
                items += SseItem.Retry(value.toLongOrNull() ?: Long.MAX_VALUE)
            }
        }
    }

    private fun finishBlock(items: MutableList<SseItem>) {
        blockId?.let { lastEventId = it }
        if (hasData) {
            items += SseItem.Event(name.ifEmpty { "message" }, data.toString(), lastEventId)
        } else if (blockId != null) {
            items += SseItem.Id(lastEventId)
        }
        name = ""
        data.setLength(0)
        hasData = false
        blockId = null
        blockSize = 0
    }

    private companion object {
        const val LF = '\n'.code.toByte()
        const val CR = '\r'.code.toByte()
    }
}
