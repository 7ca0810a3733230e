package com.flagent.realtime

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Deferred
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.async
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.channels.ReceiveChannel
import kotlinx.coroutines.channels.SendChannel
import kotlinx.coroutines.channels.produce
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.delay
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.launch
import kotlinx.coroutines.selects.onTimeout
import kotlinx.coroutines.selects.select
import kotlinx.coroutines.withContext
import kotlinx.coroutines.withTimeoutOrNull
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.TimeMark

/** What waits in the queue of the handlers, in order. */
internal sealed interface DispatchItem {
    /**
     * @property lost whether events before this message may have been missed.
     * @property listenerCalls calls the listeners of stores, which have already applied the message.
     */
    class Received(val message: Message, val lost: Boolean, val listenerCalls: List<suspend () -> Unit>) : DispatchItem

    class Failed(val error: FlagentException) : DispatchItem
}

/** Called by the coroutine of a [ConnectionSupervisor]. */
internal interface ConnectionListener {
    /** Whether a store depends on the connection. */
    val feedsStore: Boolean

    /** Before each connection. Raises what the application's key function raises. */
    suspend fun beforeConnect()

    /** The ids that the stores can resume after, for the first connection; `null` = one that needs a snapshot. Empty afterwards. */
    fun resumeIDs(): List<String?>

    fun onState(state: ConnectionState)

    /** A message has arrived; the returned functions run in order with the handlers. */
    fun onReceived(at: Duration, message: Message): List<suspend () -> Unit>

    /** The connection is lost. */
    fun onLost()

    fun onProblem(error: FlagentException)
}

/**
 * The life of a client's connection: connects at the first selection, reads, reconnects, resumes, gives up.
 *
 * [run] is called once and returns the fatal exception. All state except the snapshot requests belongs to its coroutine.
 */
internal class ConnectionSupervisor(
    private val transport: Transport,
    config: ReconnectConfig,
    private val connectTimeout: Duration,
    private val subscriptions: SubscriptionRegistry,
    private val requests: PendingRequests,
    private val snapshots: SnapshotRequests,
    private val queue: SendChannel<DispatchItem>,
    private val listener: ConnectionListener,
    private val gate: StateFlow<Boolean>,
    private val startedAt: TimeMark,
    random: () -> Double,
) {
    private val backoff = Backoff(config, random)
    private val cursor = Cursor()

    private val now: Duration get() = startedAt.elapsedNow()

    /** The state of one connection. */
    private class Session(
        val connection: Connection,
        val snapshot: Int?,
        val requested: Int,
        val isResumed: Boolean,
        val isAfterGap: Boolean,
    ) {
        val liveness = Liveness()
        var isGreeted = false
    }

    /** Whether the present connection, or attempt, has received a message. */
    private var hasMessage = false

    suspend fun run(): FlagentException {
        while (true) {
            if (!gate.value) listener.onState(ConnectionState.OFFLINE)
            gate.first { it }
            val end = coroutineScope {
                val online = async { runOnline() }
                val watching = launch {
                    gate.first { !it }
                    online.cancel()
                }
                try {
                    online.await()
                } catch (_: CancellationException) {
                    // Offline, unless the client itself is closed.
                    currentCoroutineContext().ensureActive()
                    null
                } finally {
                    watching.cancel()
                }
            }
            if (end != null) return end
            listener.onLost()
            requests.onLost(OfflineException())
        }
    }

    /** Returns the fatal exception. */
    private suspend fun runOnline(): FlagentException {
        while (true) {
            awaitDemand()
            hasMessage = false
            val failure = try {
                connect()
                null
            } catch (e: CancellationException) {
                currentCoroutineContext().ensureActive()
                ConnectionFailure(ConnectionLostException("Connecting was cancelled: $e", cause = e))
            } catch (e: ConnectionFailure) {
                e
            } catch (e: Exception) {
                // The application's key function or HTTP client raised.
                ConnectionFailure(ConnectionLostException("Connecting failed: $e", cause = e))
            }
            listener.onLost()
            if (failure == null) continue
            requests.onLost(failure.error)
            val step = transport.next(failure, hasMessage, now)
            if (step == NextStep.FAIL) return failure.error
            // Not fatal where another transport may work.
            val error = (failure.error as? ConnectionRefusedException)
                ?.let { ConnectionLostException(it.message.orEmpty(), it.status, it.closeCode, it) } ?: failure.error
            if (step == NextStep.CONNECT) {
                listener.onProblem(error)
                continue
            }
            val wait = backoff.onLost(now, failure.retryAfter, listener.feedsStore)
                ?: return ReconnectExhaustedException(backoff.attempt - 1, failure.error)
            listener.onProblem(error)
            listener.onState(ConnectionState.RECONNECTING)
            delay(wait)
        }
    }

    private suspend fun awaitDemand() {
        while (subscriptions.selection().isEmpty && !transport.servesWithoutSelection) {
            listener.onState(ConnectionState.IDLE)
            subscriptions.changes.receive()
        }
        // Subscriptions made one after another are sent as one.
        delay(COALESCE_WINDOW)
        subscriptions.changes.tryReceive()
    }

    /** Returns when the connection must be replaced at once. */
    private suspend fun connect() {
        listener.onState(ConnectionState.CONNECTING)
        listener.beforeConnect()
        resumeFrom(listener.resumeIDs())
        // In this order: a store registers first and requests its snapshot afterwards.
        val open = snapshots.open()
        val selection = subscriptions.selection()
        val wanted = open.takeIf { !selection.isEmpty }
        val request = ConnectionRequest(selection, cursor.id.takeIf { wanted == null }, wanted)
        val isAfterGap = wanted != null && cursor.id != null
        var connection: Connection? = null
        try {
            withTimeoutOrNull(connectTimeout) { connection = transport.open(request) }
            val opened = connection ?: throw ConnectionFailure(
                ConnectionLostException("No connection within $connectTimeout."),
                kind = TransportInput.SILENT,
            )
            if (wanted != null) cursor.replace(null)
            val session = Session(opened, wanted, wanted ?: snapshots.newestAnswered, request.lastEventId != null, isAfterGap)
            if (selection.isEmpty) listener.onState(ConnectionState.CONNECTED)
            serve(session, selection)
        } finally {
            // Also if the client is closed while the connection opens.
            withContext(NonCancellable) { connection?.close() }
        }
    }

    /** Begins at the lowest of the ids of several stores, if they are of one log; otherwise a snapshot is needed. */
    private fun resumeFrom(ids: List<String?>) {
        if (ids.isEmpty()) return
        var lowest = ids.first()
        for (id in ids) {
            val order = if (id == null || lowest == null) IdOrder.INCOMPARABLE else EventId.compare(id, lowest)
            if (order == IdOrder.INCOMPARABLE) {
                if (snapshots.open() == null) snapshots.requestSnapshot()
                return
            }
            if (order == IdOrder.BEFORE) lowest = id
        }
        cursor.replace(lowest)
    }

    private sealed interface Step {
        class Read(val messages: List<Message>) : Step

        data object UpdateSelection : Step

        data object Replace : Step
    }

    private suspend fun serve(session: Session, initial: ServerSelection) = coroutineScope {
        val inbox = pump(session.connection)
        val broken = CompletableDeferred<ConnectionFailure>()
        val writer = launch {
            try {
                requests.signals.trySend(Unit)
                while (true) {
                    requests.signals.receive()
                    while (true) session.connection.send(requests.nextUnsent() ?: break)
                }
            } catch (e: ConnectionFailure) {
                broken.complete(e)
            }
        }
        val better = async { transport.awaitBetter { now } }
        var selection = initial
        var requested = session.requested
        try {
            while (true) {
                when (val step = await(session, inbox, broken, better, !selection.isEmpty)) {
                    is Step.Read -> step.messages.forEach { onMessage(session, it) }
                    Step.Replace -> break
                    Step.UpdateSelection -> {
                        val newest = snapshots.newest
                        val next = subscriptions.selection()
                        if (next.isEmpty && !transport.servesWithoutSelection) break
                        if (next != selection && !session.connection.select(selection, next)) break
                        selection = next
                        if (newest > requested && !next.isEmpty) {
                            if (!session.connection.requestSnapshot(selection, newest)) break
                            requested = newest
                        }
                    }
                }
            }
        } finally {
            inbox.cancel()
            writer.cancel()
            better.cancel()
        }
    }

    // Only waiting counts as silence: this does not run while a message is handled or waits for space in the queue.
    @OptIn(ExperimentalCoroutinesApi::class)
    private suspend fun await(
        session: Session,
        inbox: ReceiveChannel<List<Message>>,
        broken: CompletableDeferred<ConnectionFailure>,
        better: Deferred<Unit>,
        hasSelection: Boolean,
    ): Step = select {
        inbox.onReceiveCatching { Step.Read(it.getOrNull() ?: throw it.exceptionOrNull() ?: lost("The connection ended.")) }
        broken.onAwait { throw it }
        subscriptions.changes.onReceive { Step.UpdateSelection }
        better.onAwait { Step.Replace }
        val silenceLimit = session.liveness.silenceLimit
        val answerLimit = transport.answerLimit?.takeIf { (hasSelection && !hasMessage) || snapshots.open() != null } ?: silenceLimit
        val limit = minOf(silenceLimit, answerLimit)
        onTimeout(limit) {
            throw ConnectionFailure(ConnectionLostException("No data from the server for $limit."), kind = TransportInput.SILENT)
        }
    }

    @OptIn(ExperimentalCoroutinesApi::class)
    private fun CoroutineScope.pump(connection: Connection): ReceiveChannel<List<Message>> =
        produce(capacity = Channel.RENDEZVOUS) {
            try {
                while (true) send(connection.receive())
            } catch (e: ConnectionFailure) {
                close(e)
            }
        }

    private fun lost(reason: String) = ConnectionFailure(ConnectionLostException(reason))

    private suspend fun onMessage(session: Session, message: Message) {
        if (message != Message.Ignored && message !is Message.Retry) {
            backoff.onMessage(now)
            if (!hasMessage) transport.onFirstMessage(now)
            hasMessage = true
        }
        when (message) {
            is Message.Connected -> onConnected(session, message)
            is Message.Events -> onEvents(message)
            is Message.SnapshotMessage -> {
                val number = SnapshotRequests.numberOf(message.requestId) ?: session.snapshot ?: 0
                snapshots.answer(number)
                cursor.advance(message.snapshot.id)
                forward(message.copy(request = number), lost = session.isAfterGap)
            }
            is Message.Resync -> {
                // A full state in the stream answers all requests before it.
                snapshots.answer(snapshots.newest)
                cursor.replace(message.snapshot.id)
                forward(message, lost = true)
            }
            is Message.Heartbeat -> {
                session.liveness.onHeartbeat(now)
                cursor.advance(message.id)
                forward(message)
            }
            is Message.IdUpdate -> {
                cursor.advance(message.id)
                forward(message)
            }
            is Message.Retry -> backoff.onRetry(message.wait)
            is Message.Response -> requests.onResponse(message)
            is Message.ErrorMessage ->
                if (!requests.onError(message)) listener.onProblem(RequestFailedException(message.code, message.text))
            is Message.Malformed -> listener.onProblem(MalformedMessageException(message.reason))
            // Only a TableStore requests rows, on a connection of its own.
            is Message.TableRows, is Message.RowsEnd, is Message.BackfillFailed, Message.Ignored -> Unit
        }
    }

    private suspend fun onConnected(session: Session, message: Message.Connected) {
        // Later ones answer changes of the selection. Only a store that has joined since then has not received one.
        if (session.isGreeted) return forward(message.copy(isRepeat = true))
        session.isGreeted = true
        session.liveness.onConnected(message.heartbeat)
        if (!session.isResumed && session.snapshot == null) cursor.advance(message.id)
        listener.onState(ConnectionState.CONNECTED)
        forward(message.copy(resumed = session.isResumed))
    }

    private suspend fun onEvents(message: Message.Events) {
        message.malformed.forEach { listener.onProblem(MalformedMessageException(it.reason)) }
        val news = message.events.filter { event ->
            val id = event.id
            (id == null || !cursor.covers(id)).also { isNew -> if (isNew) cursor.advance(id) }
        }
        if (news.isNotEmpty()) forward(Message.Events(news, emptyList()))
    }

    private suspend fun forward(message: Message, lost: Boolean = false) {
        queue.send(DispatchItem.Received(message, lost, listener.onReceived(now, message)))
    }

    private companion object {
        val COALESCE_WINDOW = 10.milliseconds
    }
}
