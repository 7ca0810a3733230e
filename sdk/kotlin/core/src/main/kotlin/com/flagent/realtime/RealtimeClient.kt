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
import kotlinx.coroutines.future.future
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withTimeoutOrNull
import java.net.URI
import java.util.concurrent.CompletableFuture
import java.util.concurrent.CopyOnWriteArrayList
import java.util.logging.Level
import java.util.logging.Logger
import kotlin.random.Random
import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds
import kotlin.time.TimeSource

/** Whose flags a store saves: the API key, or what stands for it. */
internal class CacheIdentity(val credential: String?)

/** The parts of a client; tests substitute transport, clock and randomness. */
internal class ClientParts(
    val transport: Transport,
    val reconnect: ReconnectConfig,
    val options: ClientOptions,
    val endpoint: Endpoint,
    val dispatcher: CoroutineDispatcher = Dispatchers.Default,
    val time: TimeSource = TimeSource.Monotonic,
    val random: () -> Double = { Random.nextDouble() },
)

/**
 * The base of the clients. Each has a constructor for an API key, which is sent in a header and never in the URL, and one for a function, which is
 * called before every connection, and once more after a 401. A client connects at its first subscription and reconnects when the connection is lost:
 * subscriptions are kept, and the stream resumes after the last event id, so that no event is missed or delivered twice.
 *
 * Handlers run one at a time, in the order of the events. An exception is reported to [ClientOptions.onError], and the other
 * handlers still run. A slow handler delays the handlers after it and in the end the server, so that memory stays bounded.
 */
public abstract class RealtimeClient internal constructor(private val parts: ClientParts) :
    AutoCloseable {
    internal val options: ClientOptions = parts.options
    private val job = SupervisorJob()
    private val scope = CoroutineScope(job + parts.dispatcher)
    private val queue = Channel<DispatchItem>(options.queueSize)
    private val drivers = CopyOnWriteArrayList<StoreDriver>()
    private val snapshots = SnapshotRequests()
    private val gate = MutableStateFlow(options.start)
    private var hasConnected = false
    private val handlerLock = Mutex()
    private val connection = MutableStateFlow(ConnectionState.IDLE)
    private val ended = CompletableDeferred<FlagentException?>()
    private val subscriptions = SubscriptionRegistry(parts.transport.limits, ::report) { isClosed }
    internal val requests: PendingRequests = PendingRequests()

    @Volatile
    private var isClosed = false

    @Volatile
    private var failure: FlagentException? = null

    /** Why the last connection ended; `null` while connected. */
    @Volatile
    internal var lastConnectionError: FlagentException? = null
        private set

    private val connectionListener = object : ConnectionListener {
        override val feedsStore get() = drivers.isNotEmpty()

        override suspend fun beforeConnect() {
            for (driver in drivers) driver.prepare(parts.endpoint.keys)
        }

        override fun resumeIDs(): List<String?> {
            val isFirst = synchronized(snapshots) { !hasConnected.also { hasConnected = true } }
            // Not locked: a store that is being made holds its own lock, and attaches with ours.
            return if (isFirst) drivers.map { it.savedID } else emptyList()
        }

        override fun onState(state: ConnectionState) {
            if (!isClosed) connection.value = state
            if (state == ConnectionState.CONNECTED) lastConnectionError = null
        }

        override fun onReceived(at: Duration, message: Message) = drivers.mapNotNull { it.onReceived(at, message) }

        override fun onLost() = drivers.forEach(StoreDriver::onLost)

        override fun onProblem(error: FlagentException) = report(error)
    }

    private val supervising = scope.launch(start = CoroutineStart.LAZY) {
        val supervisor = ConnectionSupervisor(
            parts.transport, parts.reconnect, options.connectTimeout, subscriptions, requests, snapshots, queue,
            connectionListener, gate, parts.time.markNow(), parts.random,
        )
        val end = supervisor.run()
        failure = end
        connection.value = ConnectionState.FAILED
        requests.end(end)
        drivers.forEach { it.onFailed(end) }
        report(end)
        queue.send(DispatchItem.Failed(end))
        parts.transport.close()
    }

    private val dispatching = scope.launch(
        options.handlerContext + callingClient.asContextElement(this),
        start = CoroutineStart.LAZY,
    ) {
        for (item in queue) handlerLock.withLock { dispatch(item) }
    }

    internal val exposures = ExposureQueue(::report)

    /** Exposures that were dropped because handlers of [onExposure] were too slow. */
    public val droppedExposures: Long get() = exposures.droppedCount

    internal val online: StateFlow<Boolean> get() = gate
    internal val address: URI get() = parts.endpoint.url
    internal val endpoint: Endpoint get() = parts.endpoint
    internal val time: TimeSource get() = parts.time
    internal val reconnect: ReconnectConfig get() = parts.reconnect

    /** Whose flags a store saves; `null` = that depends on the key of the first connection. */
    internal val cacheIdentity: CacheIdentity?
        get() = options.cacheIdentity?.let(::CacheIdentity)
            ?: if (parts.endpoint.keys.isRenewable) null else CacheIdentity(parts.endpoint.keys.last)

    /** The state of the connection. */
    public val state: StateFlow<ConnectionState> = connection.asStateFlow()

    /**
     * The events of the subscriptions; if there are none, every event. A slow collector delays the handlers. Completes when the
     * client is closed, fails when it gives up.
     */
    @OptIn(ExperimentalCoroutinesApi::class)
    public val events: Flow<FlagentEvent> = callbackFlow {
        if (isClosed) {
            close()
            return@callbackFlow
        }
        val subscription = onEvent { send(it) }
        launch { close(ended.await()) }
        awaitClose { subscription.close() }
    }.buffer(Channel.RENDEZVOUS)

    /** Calls [handler] with the flag after each change. Its deletion is delivered to [onEvent]. */
    public fun subscribeFlag(flagKey: String, handler: suspend (Flag) -> Unit): Subscription =
        register(FlagSubscription(Selection(flags = setOf(flagKey))) { flags -> flags.forEach { handler(it) } })

    /**
     * Calls [handler] with the flags of a message that carry one of the [tags], including a flag that has just lost its tag.
     */
    public fun subscribeTags(tags: Collection<String>, handler: suspend (List<Flag>) -> Unit): Subscription {
        require(tags.isNotEmpty()) { "tags is empty; pass at least one tag." }
        return register(FlagSubscription(Selection(tags = tags.toSet()), handler))
    }

    /** Calls [handler] with every event. */
    public fun subscribeAll(handler: suspend (FlagentEvent) -> Unit): Subscription = subscribe(Selection.EVERYTHING, handler)

    /** Calls [handler] with every change of a segment, its constraints or distributions. */
    public fun subscribeSegments(handler: suspend (FlagentEvent) -> Unit): Subscription =
        subscribe(Selection(segments = true), handler)

    /** Calls [handler] with the events of [selection]. */
    public fun subscribe(selection: Selection, handler: suspend (FlagentEvent) -> Unit): Subscription =
        register(EventSubscription(selection, handler))

    /** Calls [handler] with every event of the other subscriptions; if there are none, with every event. */
    public fun onEvent(handler: suspend (FlagentEvent) -> Unit): Subscription = register(EventSubscription(null, handler))

    /**
     * Calls [handler] after evaluations by the client's stores: the first per flag, entity and variant within the window of [options]. It runs
     * behind the evaluation, which never waits for it.
     */
    @JvmOverloads
    public fun onExposure(options: ExposureOptions = ExposureOptions(), handler: suspend (Exposure) -> Unit): Subscription =
        exposures.add(scope, this.options.handlerContext, options, handler)

    internal fun <T> future(action: suspend () -> T): CompletableFuture<T> = scope.future(options.handlerContext) { action() }

    /** Runs until the client is closed, beside its connection. */
    internal fun launchFollower(action: suspend () -> Unit): Job {
        failure?.let { throw it }
        if (isClosed) throw ClientClosedException()
        return scope.launch(options.handlerContext) { action() }
    }

    /** Ends the subscriptions to this flag. */
    public fun unsubscribe(flagKey: String): Unit =
        subscriptions.remove { it is FlagSubscription && it.filter.flags == setOf(flagKey) }

    /** Ends the subscriptions to exactly these tags. */
    public fun unsubscribeTags(tags: Collection<String>): Unit =
        subscriptions.remove { it is FlagSubscription && it.filter.tags == tags.toSet() }

    /** Ends every subscription; handlers of [onEvent] and stores are not affected. */
    public fun unsubscribe(): Unit = subscriptions.remove { it.selection != null && it !is StoreSubscription }

    /**
     * Connects, if [ClientOptions.start] is false or after [offline]; otherwise has no effect. Raises the client's fatal exception if it has
     * given up, [ClientClosedException] if it is closed.
     */
    public fun start() {
        ensureRunning()
        gate.value = true
    }

    /**
     * Ends the connection, and makes none until [start]. Subscriptions and stores are kept; stores are STALE, readable, and save their
     * flags.
     */
    public fun offline() {
        if (!gate.compareAndSet(true, false)) return
        drivers.forEach(StoreDriver::onOffline)
    }

    /**
     * Ends everything: after it has returned, no handler is called and no connection, coroutine or timer is left. Waits for a
     * running handler, at most two seconds, unless called from a handler. Idempotent.
     */
    override fun close() {
        finish()
        if (callingClient.get() !== this) runBlocking { withTimeoutOrNull(CLOSE_LIMIT) { job.children.forEach { it.join() } } }
    }

    /** [close] without blocking the thread. Waits for a running handler without limit; must not be called from a handler. */
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
        requests.end(ClientClosedException())
        drivers.forEach(StoreDriver::onClosed)
        ended.complete(null)
        // The connection sends its close frame before the transport is closed.
        supervising.invokeOnCompletion { parts.transport.close() }
        job.cancel()
    }

    internal val handlerScope: CoroutineScope get() = scope

    internal fun failureOrClosed(): FlagentException = failure ?: ClientClosedException()

    internal fun selection(): ServerSelection = subscriptions.selection()

    internal fun launchWriter(writer: CacheWriter): Job = writer.start(scope)

    internal fun launchInBackground(action: () -> Unit) {
        scope.launch(Dispatchers.IO) { action() }
    }

    internal fun ensureRunning() {
        failure?.let { throw it }
        if (isClosed) throw ClientClosedException()
        supervising.start()
        dispatching.start()
    }

    internal fun report(error: FlagentException) {
        if (error is ConnectionLostException) {
            lastConnectionError = error
            logger.log(Level.INFO, error.message)
        } else {
            logger.log(Level.WARNING, error.message, error)
        }
        try {
            options.onError(error)
        } catch (e: Exception) {
            logger.log(Level.WARNING, "ClientOptions.onError raised.", e)
        }
    }

    /** Launches code of the application where handlers run. */
    internal fun launchHandler(handler: suspend () -> Unit): Job {
        ensureRunning()
        return scope.launch(options.handlerContext + callingClient.asContextElement(this)) { handler() }
    }

    /** Runs [handler] in order with the other handlers. */
    internal suspend fun runHandler(handler: suspend () -> Unit) = handlerLock.withLock { if (!isClosed) callHandler(::report) { handler() } }

    /** Feeds a store until the subscription is closed. Its first snapshot answers the request whose number is returned. */
    internal fun attach(driver: StoreDriver, selection: Selection, canResume: Boolean): Pair<Subscription, Int> {
        drivers += driver
        val subscription = try {
            register(StoreSubscription(selection))
        } catch (e: RuntimeException) {
            drivers -= driver
            throw e
        }
        // After registering, so that the snapshot of this number holds what the store selects.
        // A connection that is open already has passed what such a store has missed.
        val number = if (canResume && synchronized(snapshots) { !hasConnected }) 0 else requestSnapshot()
        return object : Subscription {
            override fun close() {
                drivers -= driver
                subscription.close()
            }
        } to number
    }

    /** Requests a snapshot from the server; returns the number of the request. */
    internal fun requestSnapshot(): Int = snapshots.requestSnapshot().also { subscriptions.changes.trySend(Unit) }

    private fun register(registration: Registration): Subscription {
        failure?.let { throw it }
        if (isClosed) throw ClientClosedException()
        // Added first: otherwise a busy machine connects before there is a selection.
        return subscriptions.add(registration).also { ensureRunning() }
    }

    private suspend fun dispatch(item: DispatchItem) {
        if (isClosed) return
        when (item) {
            is DispatchItem.Received -> {
                item.listenerCalls.forEach { it() }
                when (val message = item.message) {
                    is Message.Events -> subscriptions.onEvents(message.events)
                    is Message.SnapshotMessage -> subscriptions.onSnapshot(message.snapshot, item.lost)
                    is Message.Resync -> subscriptions.onSnapshot(message.snapshot, lost = true)
                    else -> Unit
                }
            }
            is DispatchItem.Failed -> ended.complete(item.error)
        }
    }

    private companion object {
        val CLOSE_LIMIT = 2.seconds
        val logger: Logger = Logger.getLogger("com.flagent.realtime")

        /** The client whose handler runs on the current thread. */
        val callingClient = ThreadLocal<RealtimeClient?>()
    }
}
