package com.flagent.realtime

import java.math.BigInteger

/**
 * The id to resume after: that of the last message received. Only [replace] moves it back.
 *
 * Not synchronized: its owner calls it from one coroutine.
 */
internal class Cursor {
    @Volatile
    var id: String? = null
        private set

    private var parsed: EventId? = null

    val position: BigInteger? get() = parsed?.position

    /** True if [other] is at or before this cursor, in the same log. */
    fun covers(other: String): Boolean {
        val order = id?.let { EventId.compare(other, it) }
        return order == IdOrder.BEFORE || order == IdOrder.SAME
    }

    /** True if [other] is of another log than this cursor. */
    fun isForeign(other: String): Boolean {
        val mine = id ?: return false
        return parsed != null && EventId.parse(other) != null && EventId.compare(other, mine) == IdOrder.INCOMPARABLE
    }

    fun advance(to: String?) {
        if (to != null && !covers(to)) replace(to)
    }

    fun replace(to: String?) {
        id = to
        parsed = to?.let(EventId::parse)
    }
}
