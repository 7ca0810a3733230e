package com.flagent.realtime

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.channels.ReceiveChannel
import kotlinx.coroutines.channels.SendChannel
import kotlinx.coroutines.channels.produce
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.delay
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.launch
import kotlinx.coroutines.selects.onTimeout
import kotlinx.coroutines.selects.select
import kotlinx.coroutines.withContext
import kotlinx.coroutines.withTimeoutOrNull
import java.util.concurrent.atomic.AtomicInteger
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.TimeMark

/** What waits for its turn with the handlers, in order. */
internal sealed interface Inbound {
    /**
     * @property lost whether events before this message may have been missed.
     * @property news calls the listeners of stores, which have folded the message already.
     */
    class Received(val message: Message, val lost: Boolean, val news: List<suspend () -> Unit>) : Inbound

    class Failed(val error: FlagentException) : Inbound
}

/** Who asked for snapshots, and which requests were answered. Safe from any thread. */
internal class SnapshotRequests {
    private val asked = AtomicInteger()
    private val answered = AtomicInteger()

    /** The number of the newest request. */
    val newest: Int get() = asked.get()

    /** The newest request when it is still open. */
    fun open(): Int? = asked.get().takeIf { it > answered.get() }

    val newestAnswered: Int get() = answered.get()

    fun ask(): Int = asked.incrementAndGet()

    fun answer(number: Int) {
        answered.accumulateAndGet(number, ::maxOf)
    }
}

/**
 * The life of a client's connection: connects when something is selected, reads, reconnects, resumes.
 *
 * [run] is called once and returns the fatal end. All state but the snapshot requests belongs to its coroutine.
 */
internal class Stream(
    private val transport: Transport,
    config: ReconnectConfig,
    private val connectTimeout: Duration,
    private val subscriptions: Subscriptions,
    private val calls: Calls,
    private val snapshots: SnapshotRequests,
    private val inbound: SendChannel<Inbound>,
    private val observer: Observer,
    private val startedAt: TimeMark,
    random: () -> Double,
) {
    interface Observer {
        fun onState(state: ConnectionState)

        /** A message has arrived; what is returned is for the handlers' turn. */
        fun onReceived(at: Duration, message: Message): List<suspend () -> Unit>

        /** The connection is gone. */
        fun onLost()

        fun onProblem(error: FlagentException)
    }

    private val backoff = Backoff(config, random)
    private val cursor = Cursor()

    private val now: Duration get() = startedAt.elapsedNow()

    /** One connection's own state. */
    private class Session(val link: Link, val snapshot: Int?, val asked: Int, val isResumed: Boolean, val isAfterGap: Boolean) {
        val heartbeats = Heartbeats()
        var isGreeted = false
    }

    suspend fun run(): FlagentException {
        while (true) {
            awaitDemand()
            val failure = try {
                connect()
                null
            } catch (e: CancellationException) {
                currentCoroutineContext().ensureActive()
                LinkFailure(ConnectionLostException("Connecting was cancelled: $e", cause = e))
            } catch (e: LinkFailure) {
                e
            } catch (e: Exception) {
                // The key function or a client given by the user raised.
                LinkFailure(ConnectionLostException("Connecting failed: $e", cause = e))
            }
            observer.onLost()
            if (failure == null) continue
            calls.onLost(failure.error)
            if (failure.isFatal) return failure.error
            val wait = backoff.onLost(now, failure.retryAfter)
                ?: return ReconnectExhaustedException(backoff.attempt - 1, failure.error)
            observer.onProblem(failure.error)
            observer.onState(ConnectionState.WAITING)
            delay(wait)
        }
    }

    private suspend fun awaitDemand() {
        while (subscriptions.selection().isEmpty && !transport.servesWithoutSelection) {
            observer.onState(ConnectionState.IDLE)
            subscriptions.changes.receive()
        }
        // Subscriptions made one after another go out as one.
        delay(GATHER)
        subscriptions.changes.tryReceive()
    }

    /** Returns when the connection must be replaced at once. */
    private suspend fun connect() {
        observer.onState(ConnectionState.CONNECTING)
        // In this order: a store registers first and asks then.
        val open = snapshots.open()
        val selection = subscriptions.selection()
        val wanted = open.takeIf { !selection.isEmpty }
        val start = Start(selection, cursor.id.takeIf { wanted == null }, wanted)
        val isAfterGap = wanted != null && cursor.id != null
        var link: Link? = null
        try {
            withTimeoutOrNull(connectTimeout) { link = transport.open(start) }
            val opened = link ?: throw LinkFailure(ConnectionLostException("No connection within $connectTimeout."))
            if (wanted != null) cursor.replace(null)
            val session = Session(opened, wanted, wanted ?: snapshots.newestAnswered, start.lastEventId != null, isAfterGap)
            if (selection.isEmpty) observer.onState(ConnectionState.CONNECTED)
            serve(session, selection)
        } finally {
            // Here and not after opening: a client closed at that moment has a link too.
            withContext(NonCancellable) { link?.close() }
        }
    }

    private sealed interface Turn {
        class Read(val messages: List<Message>) : Turn

        data object Reselect : Turn
    }

    private suspend fun serve(session: Session, initial: Selection) = coroutineScope {
        val inbox = pump(session.link)
        val broken = CompletableDeferred<LinkFailure>()
        val writer = launch {
            try {
                calls.signals.trySend(Unit)
                while (true) {
                    calls.signals.receive()
                    while (true) session.link.send(calls.nextUnsent() ?: break)
                }
            } catch (e: LinkFailure) {
                broken.complete(e)
            }
        }
        var selection = initial
        var asked = session.asked
        try {
            while (true) {
                when (val turn = await(session, inbox, broken)) {
                    is Turn.Read -> turn.messages.forEach { onMessage(session, it) }
                    Turn.Reselect -> {
                        val newest = snapshots.newest
                        val next = subscriptions.selection()
                        if (next.isEmpty && !transport.servesWithoutSelection) break
                        if (next != selection && !session.link.select(selection, next)) break
                        selection = next
                        if (newest > asked && !next.isEmpty) {
                            if (!session.link.requestSnapshot(selection, newest)) break
                            asked = newest
                        }
                    }
                }
            }
        } finally {
            inbox.cancel()
            writer.cancel()
        }
    }

    // Only waiting counts as silence: while a message is handled, or waits for room in the queue, this does not run.
    @OptIn(ExperimentalCoroutinesApi::class)
    private suspend fun await(
        session: Session,
        inbox: ReceiveChannel<List<Message>>,
        broken: CompletableDeferred<LinkFailure>,
    ): Turn = select {
        inbox.onReceiveCatching { Turn.Read(it.getOrNull() ?: throw it.exceptionOrNull() ?: lost("The connection ended.")) }
        broken.onAwait { throw it }
        subscriptions.changes.onReceive { Turn.Reselect }
        val patience = session.heartbeats.patience
        onTimeout(patience) { throw lost("Nothing was heard for $patience.") }
    }

    @OptIn(ExperimentalCoroutinesApi::class)
    private fun CoroutineScope.pump(link: Link): ReceiveChannel<List<Message>> =
        produce(capacity = Channel.RENDEZVOUS) {
            try {
                while (true) send(link.receive())
            } catch (e: LinkFailure) {
                close(e)
            }
        }

    private fun lost(reason: String) = LinkFailure(ConnectionLostException(reason))

    private suspend fun onMessage(session: Session, message: Message) {
        if (message != Message.Ignored && message !is Message.Retry) backoff.onMessage(now)
        when (message) {
            is Message.Connected -> onConnected(session, message)
            is Message.Events -> onEvents(message)
            is Message.SnapshotTaken -> {
                val number = message.requestId?.removePrefix(WebSocketTransport.SNAPSHOT_REQUEST)?.toIntOrNull()
                    ?: session.snapshot ?: 0
                snapshots.answer(number)
                cursor.advance(message.snapshot.id)
                forward(message.copy(request = number), lost = session.isAfterGap)
            }
            is Message.Resync -> {
                // A full state in the stream itself answers whatever was asked before it.
                snapshots.answer(snapshots.newest)
                cursor.replace(message.snapshot.id)
                forward(message, lost = true)
            }
            is Message.Heartbeat -> {
                session.heartbeats.onHeartbeat(now)
                cursor.advance(message.id)
                forward(message)
            }
            is Message.Mark -> {
                cursor.advance(message.id)
                forward(message)
            }
            is Message.Retry -> backoff.onRetry(message.wait)
            is Message.Evaluated -> calls.onAnswer(message)
            is Message.Problem ->
                if (!calls.onProblem(message)) observer.onProblem(ServerMessageException(message.code, message.text))
            is Message.Malformed -> observer.onProblem(MalformedMessageException(message.reason))
            Message.Ignored -> Unit
        }
    }

    private suspend fun onConnected(session: Session, message: Message.Connected) {
        // Later ones answer our own changes of the selection. Only a store that joined meanwhile has not seen one yet.
        if (session.isGreeted) return forward(message.copy(isRepeat = true))
        session.isGreeted = true
        session.heartbeats.onConnected(message.heartbeat)
        if (!session.isResumed && session.snapshot == null) cursor.advance(message.id)
        observer.onState(ConnectionState.CONNECTED)
        forward(message.copy(resumed = session.isResumed))
    }

    private suspend fun onEvents(message: Message.Events) {
        message.malformed.forEach { observer.onProblem(MalformedMessageException(it.reason)) }
        val news = message.events.filter { event ->
            val id = event.id
            (id == null || !cursor.covers(id)).also { isNew -> if (isNew) cursor.advance(id) }
        }
        if (news.isNotEmpty()) forward(Message.Events(news, emptyList()))
    }

    private suspend fun forward(message: Message, lost: Boolean = false) {
        inbound.send(Inbound.Received(message, lost, observer.onReceived(now, message)))
    }

    private companion object {
        val GATHER = 10.milliseconds
    }
}
