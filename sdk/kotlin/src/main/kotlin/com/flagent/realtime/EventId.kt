package com.flagent.realtime

import java.math.BigInteger

/** How one id stands to another. */
internal enum class IdOrder { BEFORE, SAME, AFTER, INCOMPARABLE }

/**
 * An id of the form `<position>[-<index>]@<log>`. Without index it stands for its whole commit and so comes after
 * each of the commit's events. Ids of different logs, or of another form, have no order.
 */
internal class EventId private constructor(val position: BigInteger, private val index: BigInteger?, private val log: String) {
    private fun compareTo(other: EventId): IdOrder {
        if (log != other.log) return IdOrder.INCOMPARABLE
        val byPosition = position.compareTo(other.position)
        val order = when {
            byPosition != 0 -> byPosition
            index == other.index -> 0
            index == null -> 1
            other.index == null -> -1
            else -> index.compareTo(other.index)
        }
        return if (order < 0) IdOrder.BEFORE else if (order > 0) IdOrder.AFTER else IdOrder.SAME
    }

    companion object {
        private val form = Regex("""([0-9]{1,40})(?:-([0-9]{1,40}))?@(.+)""")

        fun parse(text: String): EventId? {
            val (position, index, log) = form.matchEntire(text)?.destructured ?: return null
            return EventId(position.toBigInteger(), index.ifEmpty { null }?.toBigInteger(), log)
        }

        fun compare(a: String, b: String): IdOrder {
            if (a == b) return IdOrder.SAME
            val left = parse(a) ?: return IdOrder.INCOMPARABLE
            val right = parse(b) ?: return IdOrder.INCOMPARABLE
            return left.compareTo(right)
        }
    }
}

/**
 * The id to resume after: that of the last thing received. Only [replace] moves it back.
 *
 * Not synchronized; whoever owns it calls it from one coroutine.
 */
internal class Cursor {
    @Volatile
    var id: String? = null
        private set

    private var parsed: EventId? = null

    val position: BigInteger? get() = parsed?.position

    /** True when [other] is at or before this cursor, in the same log. */
    fun covers(other: String): Boolean {
        val order = id?.let { EventId.compare(other, it) }
        return order == IdOrder.BEFORE || order == IdOrder.SAME
    }

    /** True when [other] is of another log than this cursor. */
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
