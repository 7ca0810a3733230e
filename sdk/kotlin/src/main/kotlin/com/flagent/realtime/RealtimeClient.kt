package com.flagent.realtime

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.asContextElement
import kotlinx.coroutines.cancel
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.channels.awaitClose
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.callbackFlow
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withTimeoutOrNull
import java.util.concurrent.CopyOnWriteArrayList
import kotlin.random.Random
import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds
import kotlin.time.TimeSource

/** What a client's connection is doing. */
public enum class ConnectionState {
    /** Nothing is subscribed yet. */
    IDLE,
    CONNECTING,
    CONNECTED,

    /** The connection was lost; waiting for the next attempt. */
    WAITING,

    /** Gave up; see [ClientOptions.onError]. */
    FAILED,
    CLOSED,
}

/** What a client is made of; tests put in their own transport, clock and chance. */
internal class ClientParts(
    val transport: Transport,
    val reconnect: ReconnectConfig,
    val options: ClientOptions,
    val dispatcher: CoroutineDispatcher = Dispatchers.Default,
    val time: TimeSource = TimeSource.Monotonic,
    val random: () -> Double = { Random.nextDouble() },
)

/** A [FlagStore]'s side of a client. Called by the coroutine that reads, [onClosed] by any. */
internal interface Feed {
    /** Folds a message as it arrives. What is returned calls the listeners; it is run in turn with the handlers. */
    fun onReceived(at: Duration, message: Message): (suspend () -> Unit)?

    fun onLost()

    fun onFailed(error: FlagentException)

    fun onClosed()
}

/**
 * What both clients share. A client connects at its first subscription and comes back by itself when the connection is
 * lost: subscriptions survive, and the stream resumes where it was, so that no event is missed or seen twice.
 *
 * Handlers run one at a time, in the order of the events; one that raises is reported to [ClientOptions.onError] and
 * breaks nothing. A slow handler delays the ones after it, and in the end the server, never the memory of this process.
 */
public abstract class RealtimeClient internal constructor(private val parts: ClientParts) :
    AutoCloseable {
    internal val options: ClientOptions = parts.options
    private val job = SupervisorJob()
    private val scope = CoroutineScope(job + parts.dispatcher)
    private val inbound = Channel<Inbound>(options.queueSize)
    private val feeds = CopyOnWriteArrayList<Feed>()
    private val snapshots = SnapshotRequests()
    private val turn = Mutex()
    private val connection = MutableStateFlow(ConnectionState.IDLE)
    private val ended = CompletableDeferred<FlagentException?>()
    private val subscriptions = Subscriptions(::report) { isClosed }
    internal val calls: Calls = Calls()

    @Volatile
    private var isClosed = false

    @Volatile
    private var failure: FlagentException? = null

    /** Why there is no connection: what ended the last one, until the next is there. */
    @Volatile
    internal var trouble: FlagentException? = null
        private set

    private val observer = object : Stream.Observer {
        override fun onState(state: ConnectionState) {
            if (!isClosed) connection.value = state
            if (state == ConnectionState.CONNECTED) trouble = null
        }

        override fun onReceived(at: Duration, message: Message) = feeds.mapNotNull { it.onReceived(at, message) }

        override fun onLost() = feeds.forEach(Feed::onLost)

        override fun onProblem(error: FlagentException) = report(error)
    }

    private val running = scope.launch(start = CoroutineStart.LAZY) {
        val stream = Stream(
            parts.transport, parts.reconnect, options.connectTimeout, subscriptions, calls, snapshots, inbound,
            observer, parts.time.markNow(), parts.random,
        )
        val end = stream.run()
        failure = end
        connection.value = ConnectionState.FAILED
        calls.end(end)
        feeds.forEach { it.onFailed(end) }
        report(end)
        inbound.send(Inbound.Failed(end))
        parts.transport.close()
    }

    private val handling = scope.launch(
        options.handlerContext + handlingClient.asContextElement(this),
        start = CoroutineStart.LAZY,
    ) {
        for (item in inbound) turn.withLock { handle(item) }
    }

    /** What the connection is doing. */
    public val state: StateFlow<ConnectionState> = connection.asStateFlow()

    /**
     * The events that the subscriptions bring, everything where there are none. A slow collector slows the handlers.
     * Completes when the client is closed, fails when it gives up.
     */
    @OptIn(ExperimentalCoroutinesApi::class)
    public val events: Flow<FlagEvent> = callbackFlow {
        if (isClosed) {
            close()
            return@callbackFlow
        }
        val subscription = onEvent { send(it) }
        launch { close(ended.await()) }
        awaitClose { subscription.close() }
    }.buffer(Channel.RENDEZVOUS)

    /** Calls [handler] with the flag after each change of it; see [onEvent] for its deletion. */
    public fun subscribeFlag(flagKey: String, handler: suspend (Flag) -> Unit): Subscription =
        register(FlagRegistration(EventFilter(flags = setOf(flagKey))) { flags -> flags.forEach { handler(it) } })

    /**
     * Calls [handler] with the flags, carrying one of the [tags], that a message changed; also with a flag that has
     * just lost its tag.
     */
    public fun subscribeTags(tags: Collection<String>, handler: suspend (List<Flag>) -> Unit): Subscription {
        require(tags.isNotEmpty()) { "No tags were given." }
        return register(FlagRegistration(EventFilter(tags = tags.toSet()), handler))
    }

    /** Calls [handler] with every event. */
    public fun subscribeAll(handler: suspend (FlagEvent) -> Unit): Subscription = subscribe(EventFilter.EVERYTHING, handler)

    /** Calls [handler] with every change of a segment, its constraints or distributions. */
    public fun subscribeSegments(handler: suspend (FlagEvent) -> Unit): Subscription =
        subscribe(EventFilter(segments = true), handler)

    /** Calls [handler] with the events that [filter] selects. */
    public fun subscribe(filter: EventFilter, handler: suspend (FlagEvent) -> Unit): Subscription =
        register(EventRegistration(filter, handler))

    /** Calls [handler] with every event that the other subscriptions bring; with everything where there are none. */
    public fun onEvent(handler: suspend (FlagEvent) -> Unit): Subscription = register(EventRegistration(null, handler))

    /** Ends the subscriptions of that flag. */
    public fun unsubscribe(flagKey: String): Unit =
        subscriptions.remove { it is FlagRegistration && it.filter.flags == setOf(flagKey) }

    /** Ends the subscriptions of exactly these tags. */
    public fun unsubscribeTags(tags: Collection<String>): Unit =
        subscriptions.remove { it is FlagRegistration && it.filter.tags == tags.toSet() }

    /** Ends every subscription; handlers of [onEvent] and stores stay. */
    public fun unsubscribe(): Unit = subscriptions.remove { it.selection != null && it !is StoreRegistration }

    /**
     * Ends everything: no handler is called after this has returned, and no connection, coroutine or timer is left. Waits
     * for a running handler, at most two seconds, unless called from a handler. Idempotent.
     */
    override fun close() {
        finish()
        if (handlingClient.get() !== this) runBlocking { withTimeoutOrNull(CLOSE_LIMIT) { job.children.forEach { it.join() } } }
    }

    /** [close] without blocking the thread. Waits for a running handler without limit; not to be called from one. */
    public suspend fun closeAndJoin() {
        finish()
        job.join()
    }

    private fun finish() {
        synchronized(this) {
            if (isClosed) return
            isClosed = true
        }
        connection.value = ConnectionState.CLOSED
        calls.end(ClientClosedException())
        feeds.forEach(Feed::onClosed)
        ended.complete(null)
        // Lets the connection say goodbye before the client below it goes.
        running.invokeOnCompletion { parts.transport.close() }
        job.cancel()
    }

    internal fun start() {
        failure?.let { throw it }
        if (isClosed) throw ClientClosedException()
        running.start()
        handling.start()
    }

    internal fun report(error: FlagentException) {
        if (error is ConnectionLostException) {
            trouble = error
            logger.log(System.Logger.Level.INFO, error.message)
        } else {
            logger.log(System.Logger.Level.WARNING, error.message, error)
        }
        try {
            options.onError(error)
        } catch (e: Exception) {
            logger.log(System.Logger.Level.WARNING, "The onError function raised.", e)
        }
    }

    /** Runs [handler] in turn with the other handlers. */
    internal fun launchHandler(handler: suspend () -> Unit): Job {
        start()
        return scope.launch(options.handlerContext + handlingClient.asContextElement(this)) { handler() }
    }

    internal suspend fun inTurn(handler: suspend () -> Unit) = turn.withLock { if (!isClosed) guard(::report) { handler() } }

    /** Joins a store to the stream. Its first snapshot is the answer to the request whose number is returned. */
    internal fun attach(feed: Feed, filter: EventFilter): Pair<Subscription, Int> {
        feeds += feed
        val subscription = try {
            register(StoreRegistration(filter))
        } catch (e: FlagentException) {
            feeds -= feed
            throw e
        }
        // After registering: who sees the number sees the selection too, so that the snapshot holds what this store selects.
        val number = requestSnapshot()
        return object : Subscription {
            override fun close() {
                feeds -= feed
                subscription.close()
            }
        } to number
    }

    /** Asks the server for a snapshot; returns the number of the request. */
    internal fun requestSnapshot(): Int = snapshots.ask().also { subscriptions.changes.trySend(Unit) }

    private fun register(registration: Registration): Subscription {
        start()
        return subscriptions.add(registration)
    }

    private suspend fun handle(item: Inbound) {
        if (isClosed) return
        when (item) {
            is Inbound.Received -> {
                item.news.forEach { it() }
                when (val message = item.message) {
                    is Message.Events -> subscriptions.onEvents(message.events)
                    is Message.SnapshotTaken -> subscriptions.onSnapshot(message.snapshot, item.lost)
                    is Message.Resync -> subscriptions.onSnapshot(message.snapshot, lost = true)
                    else -> Unit
                }
            }
            is Inbound.Failed -> ended.complete(item.error)
        }
    }

    private companion object {
        val CLOSE_LIMIT = 2.seconds
        val logger: System.Logger = System.getLogger("com.flagent.realtime")

        /** The client whose handler the current thread is running. */
        val handlingClient = ThreadLocal<RealtimeClient?>()
    }
}

/** Asks the server for what a store needs; the store itself is fed before any handler. */
internal class StoreRegistration(filter: EventFilter) : Registration(Selection.of(filter)) {
    override fun wants(event: FlagEvent) = false

    override suspend fun onEvent(event: FlagEvent) = Unit
}
