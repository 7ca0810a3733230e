package com.flagent.realtime

import kotlinx.coroutines.awaitCancellation
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

    /** The longest wait for the first byte of a connection, or of a snapshot; `null` = that of silence. */
    val answerLimit: Duration? get() = null

    /** Opens a connection beside the present one, waits for its first message, and closes it. Raises [ConnectionFailure]. */
    suspend fun probe(selection: ServerSelection): Unit = error("This transport has no alternatives.")

    fun onFirstMessage(now: Duration) = Unit

    /** What follows a connection, or an attempt, that ended like this. [hadMessage]: after a message had arrived. */
    fun next(end: ConnectionFailure, hadMessage: Boolean, now: Duration): NextStep =
        if (end.isFatal) NextStep.FAIL else NextStep.BACKOFF

    /** Returns when the present connection should be replaced by one of a better transport. */
    suspend fun awaitBetter(now: () -> Duration): Unit = awaitCancellation()

    /** Closes what outlives connections. Idempotent. */
    fun close()
}

/** What a supervisor does after a connection. */
internal enum class NextStep { FAIL, CONNECT, BACKOFF }

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
    /** What this says about the transport. */
    val kind: TransportInput = TransportInput.LOST,
) : Exception(error.message, error)
