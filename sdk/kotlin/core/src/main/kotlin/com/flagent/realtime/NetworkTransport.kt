package com.flagent.realtime

import kotlinx.coroutines.delay
import kotlinx.coroutines.withTimeoutOrNull
import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds

/**
 * Three transports as one: connects by the one that [TransportChoice] names.
 *
 * @param transports by name, all of one server.
 * @param report receives the refusal of a selection that the next transport cannot carry, once.
 */
internal class NetworkTransport(
    private val transports: Map<TransportName, Transport>,
    private val choice: TransportChoice,
    private val connectTimeout: Duration,
    private val selection: () -> ServerSelection,
    private val report: (FlagentException) -> Unit,
) : Transport {
    private var isLimitReported = false

    val name: TransportName get() = choice.transport

    private val current get() = transports.getValue(choice.transport)

    override val limits get() = SelectionLimits.WEB_SOCKET

    override val servesWithoutSelection get() = false

    override val answerLimit get() = connectTimeout

    override suspend fun open(request: ConnectionRequest): Connection = current.open(request)

    override fun onFirstMessage(now: Duration) {
        choice.step(TransportInput.FIRST_MESSAGE, now)
    }

    override fun next(end: ConnectionFailure, hadMessage: Boolean, now: Duration): NextStep {
        var input = classify(end, hadMessage) ?: return NextStep.FAIL
        if (input != TransportInput.REFUSED && isConfined()) input = TransportInput.REFUSED
        return if (choice.step(input, now).action == TransportAction.CONNECT) NextStep.CONNECT else NextStep.BACKOFF
    }

    /** What an end says about the transport; `null` if it is fatal on each of them. */
    private fun classify(end: ConnectionFailure, hadMessage: Boolean): TransportInput? {
        if (end.isFatal) {
            val status = (end.error as? ConnectionRefusedException)?.status
            val isAnswer = status != null && status != 401 && status != 403
            return if (isAnswer && choice.transport != TransportName.POLLING) TransportInput.FAILED else null
        }
        if (end.kind == TransportInput.SILENT || !hadMessage) return if (end.kind == TransportInput.LOST) TransportInput.FAILED else end.kind
        val hasStatus = (end.error as? ConnectionLostException)?.status != null
        return if (hasStatus) end.kind else TransportInput.LOST
    }

    /** Whether the next transport cannot carry the selection. */
    private fun isConfined(): Boolean {
        val next = TransportName.entries.getOrNull(choice.transport.ordinal + 1) ?: return false
        val present = selection()
        try {
            transports.getValue(next).limits.require(Int.MAX_VALUE) { listOf(present) }
            return false
        } catch (e: IllegalArgumentException) {
            if (!isLimitReported) {
                isLimitReported = true
                report(SelectionTooLargeException("The client stays with ${choice.transport.text}, because ${next.text} cannot carry its selection. ${e.message}"))
            }
            return true
        }
    }

    override suspend fun awaitBetter(now: () -> Duration) {
        while (true) {
            delay(minOf(TICK, connectTimeout / 4))
            var step = choice.step(TransportInput.TICK, now())
            while (step.probe != null) {
                val works = probe(transports.getValue(step.probe))
                step = choice.step(if (works) TransportInput.PROBE_WORKED else TransportInput.PROBE_FAILED, now())
            }
            if (step.action == TransportAction.SWITCH) return
        }
    }

    /** Whether a connection of this transport gets its first message. */
    private suspend fun probe(other: Transport): Boolean = try {
        val present = selection()
        other.limits.require(Int.MAX_VALUE) { listOf(present) }
        withTimeoutOrNull(connectTimeout) { other.probe(present) } != null
    } catch (_: ConnectionFailure) {
        false
    } catch (_: IllegalArgumentException) {
        false
    }

    override fun close() = transports.values.forEach(Transport::close)

    private companion object {
        val TICK = 1.seconds
    }
}
