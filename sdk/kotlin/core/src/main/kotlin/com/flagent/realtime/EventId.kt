package com.flagent.realtime

import java.math.BigInteger

/** The order of one id relative to another. */
internal enum class IdOrder { BEFORE, SAME, AFTER, INCOMPARABLE }

/**
 * The id of an event: `<position>[-<index>]@<log>[.<hash>]`. Without an index it is the id of the whole commit and comes after each event
 * of the commit. Ids of different logs, or of another form, have no order.
 */
internal class EventId private constructor(val position: BigInteger, private val index: BigInteger?, private val log: String) {
    /** Whether this is the id of a commit, not of one event in it. */
    val isWholeCommit: Boolean get() = index == null

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
        private val format = Regex("""([0-9]{1,40})(?:-([0-9]{1,40}))?@([^.]+)(?:\.[a-z0-9]{1,16})?""")

        fun parse(text: String): EventId? {
            val (position, index, log) = format.matchEntire(text)?.destructured ?: return null
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
