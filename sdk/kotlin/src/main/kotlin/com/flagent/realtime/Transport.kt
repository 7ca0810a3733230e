package com.flagent.realtime

import kotlin.time.Duration

/** How a connection begins. */
internal class Start(
    val selection: Selection,
    /** Resume after this id; never together with [snapshot]. */
    val lastEventId: String?,
    /** The number of the snapshot request that this connection answers, `null` = none. */
    val snapshot: Int?,
)

/** A way to reach the server. */
internal interface Transport {
    /** True when a connection makes sense without any selection (evaluation). */
    val servesWithoutSelection: Boolean

    /** Connects and asks for [start]. Raises [LinkFailure]; safe to cancel at any time. */
    suspend fun open(start: Start): Link

    /** Ends what outlives connections. Idempotent. */
    fun close()
}

/** One connection. [receive] is called by one coroutine, the rest by any. */
internal interface Link {
    /**
     * Waits for bytes and reads them: empty when they make no whole message yet, which is a sign of life all the same.
     * Nothing is read from the socket between two calls. Raises [LinkFailure] when the connection is gone.
     */
    suspend fun receive(): List<Message>

    /** Changes what this connection is subscribed to. False when that takes a new connection. */
    suspend fun select(from: Selection, to: Selection): Boolean

    /** Asks for a snapshot of [selection] in the running stream. False when that takes a new connection. */
    suspend fun requestSnapshot(selection: Selection, number: Int): Boolean

    /** Sends a request. Raises [LinkFailure]. */
    suspend fun send(text: String)

    /** Says goodbye if the peer listens and frees the socket, within a second. Idempotent. */
    suspend fun close()
}

/** The connection could not be made or broke. */
internal class LinkFailure(
    val error: FlagentException,
    val isFatal: Boolean = false,
    val retryAfter: Duration? = null,
) : Exception(error.message, error)
