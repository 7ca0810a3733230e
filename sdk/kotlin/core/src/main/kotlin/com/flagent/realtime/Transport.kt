package com.flagent.realtime

import kotlin.time.Duration

/** What a new connection asks for. */
internal class ConnectionRequest(
    val selection: ServerSelection,
    /** Resume after this id; never together with [snapshot]. */
    val lastEventId: String?,
    /** The number of the snapshot request that this connection answers, `null` = none. */
    val snapshot: Int?,
)

/** A way to reach the server. */
internal interface Transport {
    val limits: SelectionLimits

    /** True when a connection is of use without any selection (for evaluation). */
    val servesWithoutSelection: Boolean

    /** Connects and sends [request]. Raises [ConnectionFailure]; safe to cancel at any time. */
    suspend fun open(request: ConnectionRequest): Connection

    /** Closes what outlives connections. Idempotent. */
    fun close()
}

/** One open connection. [receive] is called by one coroutine, the other methods by any. */
internal interface Connection {
    /**
     * Waits for bytes and decodes them; an empty list means that no message is complete yet, but the connection is alive.
     * Nothing is read from the socket between two calls. Raises [ConnectionFailure] when the connection is lost.
     */
    suspend fun receive(): List<Message>

    /** Changes the selection of this connection. False when that requires a new connection. */
    suspend fun select(from: ServerSelection, to: ServerSelection): Boolean

    /** Requests a snapshot of [selection] in the open stream. False when that requires a new connection. */
    suspend fun requestSnapshot(selection: ServerSelection, number: Int): Boolean

    /** Sends a request. Raises [ConnectionFailure]. */
    suspend fun send(text: String)

    /** Sends a close frame, where there is one, and frees the socket within a second. Idempotent. */
    suspend fun close()
}

/** Why a connection ended or could not be made. */
internal class ConnectionFailure(
    val error: FlagentException,
    val isFatal: Boolean = false,
    val retryAfter: Duration? = null,
) : Exception(error.message, error)
