package com.flagent.realtime

import java.util.concurrent.atomic.AtomicInteger

/** The numbers of the snapshot requests, and which of them have been answered. Safe from any thread. */
internal class SnapshotRequests {
    private val requested = AtomicInteger()
    private val answered = AtomicInteger()

    /** The number of the newest request. */
    val newest: Int get() = requested.get()

    /** The newest request if it is still open. */
    fun open(): Int? = requested.get().takeIf { it > answered.get() }

    val newestAnswered: Int get() = answered.get()

    fun requestSnapshot(): Int = requested.incrementAndGet()

    fun answer(number: Int) {
        answered.accumulateAndGet(number, ::maxOf)
    }

    companion object {
        private const val PREFIX = "snapshot-"

        /** The `requestId` of a snapshot request on the wire. */
        fun requestId(number: Int): String = PREFIX + number

        /** The number of the request with this id; `null` if it is not a snapshot request. */
        fun numberOf(requestId: String?): Int? = requestId?.removePrefix(PREFIX)?.toIntOrNull()
    }
}
