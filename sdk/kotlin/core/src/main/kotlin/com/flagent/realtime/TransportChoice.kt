package com.flagent.realtime

import kotlin.time.Duration
import kotlin.time.Duration.Companion.minutes
import kotlin.time.Duration.Companion.seconds

/** How a client reaches the server, best first. */
public enum class TransportName(
    /** `websocket`, `sse` or `polling`. */
    public val text: String,
) {
    WEBSOCKET("websocket"),
    SSE("sse"),
    POLLING("polling"),
}

/** What happened to a connection. */
internal enum class TransportInput {
    FIRST_MESSAGE,

    /** The handshake got an answer that this transport cannot use. */
    FAILED,

    /** Connected, and no byte in time. */
    SILENT,

    /** No connection: TCP, DNS or TLS. It says nothing about the transport. */
    REFUSED,

    /** The server, or a proxy, asked to come back later. */
    UNAVAILABLE,

    /** The connection ended after its first message. */
    LOST,

    /** Time has passed. */
    TICK,
    PROBE_WORKED,
    PROBE_FAILED,
}

internal enum class TransportAction { CONNECT, BACKOFF, PROBE, SWITCH, NOTHING }

/** What to do next; [probe] is the transport to try, with PROBE only. */
internal data class TransportStep(val action: TransportAction, val probe: TransportName? = null)

/**
 * Which transport a client uses: the WebSocket, else the event stream, else polling. Pure; safe from any thread.
 *
 * Call contract: the shell reports what happens to its connection, with the time of one monotonic clock, and does what the step says.
 * CONNECT: open [transport] at once. BACKOFF: wait, then open [transport]. PROBE: try the other one beside the connection that works, and
 * report PROBE_WORKED or PROBE_FAILED; a probe that is under way when the connection ends is abandoned. SWITCH: replace the
 * connection by one of [transport].
 */
internal class TransportChoice(private val retryBetterAfter: Duration = RETRY_BETTER_AFTER) {
    private var index = 0
    private var losses = emptyList<Duration>()
    private var unavailable = 0
    private var lesserSince = Duration.ZERO
    private var isConnected = false
    private var probed: Int? = null

    /** The transport of the present connection, or of the next one. */
    val transport: TransportName @Synchronized get() = TransportName.entries[index]

    @Synchronized
    fun step(input: TransportInput, now: Duration): TransportStep = when (input) {
        TransportInput.FIRST_MESSAGE -> {
            unavailable = 0
            isConnected = true
            NOTHING
        }
        TransportInput.TICK -> if (!isConnected || probed != null || !isRetryDue(now)) NOTHING else probe(0)
        TransportInput.PROBE_WORKED -> probed?.let { switchTo(it, now) } ?: NOTHING
        TransportInput.PROBE_FAILED -> probed?.let { probeFailed(it, now) } ?: NOTHING
        else -> ended(input, now)
    }

    private fun ended(input: TransportInput, now: Duration): TransportStep {
        val isEnough = when (input) {
            TransportInput.LOST -> {
                unavailable = 0
                losses = losses.filter { now - it <= LOSSES_WITHIN } + now
                losses.size >= LOSSES
            }
            TransportInput.UNAVAILABLE -> ++unavailable >= UNAVAILABLE_IN_A_ROW
            else -> input == TransportInput.FAILED || input == TransportInput.SILENT
        }
        isConnected = false
        probed = null
        if (isEnough && index < TransportName.entries.lastIndex) {
            use(index + 1, now)
            return TransportStep(TransportAction.CONNECT)
        }
        if (isRetryDue(now)) use(0, now)
        return TransportStep(TransportAction.BACKOFF)
    }

    private fun probeFailed(failed: Int, now: Duration): TransportStep {
        if (failed + 1 < index) return probe(failed + 1)
        probed = null
        lesserSince = now
        return NOTHING
    }

    private fun switchTo(better: Int, now: Duration): TransportStep {
        use(better, now)
        isConnected = false
        probed = null
        return TransportStep(TransportAction.SWITCH)
    }

    private fun probe(other: Int): TransportStep {
        probed = other
        return TransportStep(TransportAction.PROBE, TransportName.entries[other])
    }

    private fun use(other: Int, now: Duration) {
        index = other
        lesserSince = now
        losses = emptyList()
        unavailable = 0
    }

    private fun isRetryDue(now: Duration) = index > 0 && now - lesserSince >= retryBetterAfter

    companion object {
        val RETRY_BETTER_AFTER = 5.minutes
        private const val LOSSES = 3
        private val LOSSES_WITHIN = 30.seconds
        private const val UNAVAILABLE_IN_A_ROW = 3
        private val NOTHING = TransportStep(TransportAction.NOTHING)
    }
}
