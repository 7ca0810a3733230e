package com.flagent.realtime

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.async
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.selects.select
import kotlinx.coroutines.withContext
import kotlinx.coroutines.withTimeoutOrNull
import kotlin.time.Clock
import kotlin.time.Duration
import kotlin.time.Duration.Companion.days
import kotlin.time.Duration.Companion.seconds

/**
 * A live local copy of flags, fed by any client. Reads need no network and are safe from any thread.
 *
 * The store compares its digest with the server's, and requests a snapshot when they differ.
 *
 * ```
 * FlagentWebSocketClient(url).use { client ->
 *     val store = FlagStore(client)
 *     store.ready(5.seconds)
 *     store["new_payment_flow"]?.enabled
 * }
 * ```
 *
 * A store that begins with saved flags or a bootstrap is readable at once, and STALE until the server has confirmed them: the stream
 * resumes from their id, so that only what has changed is sent.
 *
 * @param selection the flags to keep; `types` are ignored. Only a store of all flags can be checked against the digest.
 * @param persistence saves the flags, and the store begins with those of the last run. Saved flags that are damaged, too old, or those of
 * another server, selection or user are ignored, and reported to [ClientOptions.onError].
 * @param bootstrap flags as JSON to begin with where none were saved, or older ones: the answer of `GET /api/v1/snapshot` or
 * `GET /api/v1/flags?preload=true`, or a saved document.
 * @param maxAge of saved flags.
 */
public class FlagStore @JvmOverloads constructor(
    private val client: RealtimeClient,
    selection: Selection = Selection.EVERYTHING,
    private val persistence: Persistence? = null,
    bootstrap: String? = null,
    private val maxAge: Duration = 30.days,
) : Iterable<Flag>, AutoCloseable {
    private val selected = selection.copy(types = emptySet())
    private val core = StoreCore(selected)
    private val listeners = Listeners<FlagChange>(client::report)
    private val visible = MutableStateFlow(StoreStatus.INITIALIZING)
    private val firstReady = CompletableDeferred<Unit>()
    // The number of the snapshot request that this store waits for: an older snapshot may have been taken before the store joined.
    private var request = 0
    // Until the store has begun.
    private var fromBootstrap = bootstrap?.let { usable(FlagSource.BOOTSTRAP, SavedFlags.readBootstrap(it)) }

    @Volatile
    private var writer: CacheWriter? = null
    private var writing: Job? = null
    private val progress = MutableStateFlow(0)
    private val exposures = ExposureQueue(client::report)

    private val driver = object : StoreDriver {
        override val savedID get() = synchronized(core) { core.lastEventId }

        override suspend fun prepare(keys: ApiKeySource) {
            if (persistence == null || writer != null) return
            val credential = keys.peek()
            withContext(Dispatchers.IO) { openCache(persistence, credential) }
        }

        override fun onOffline() {
            update { core.connectionLost() }
            client.launchInBackground { writer?.write() }
        }

        override fun onReceived(at: Duration, message: Message): (suspend () -> Unit)? {
            // A listener that registers later reads the flags as they are by then.
            val present = listeners.present
            val changes = receive(at, message)
            return if (changes.isEmpty() || present.isEmpty()) null else ({ listeners.notify(changes, present) { visible.value != StoreStatus.CLOSED } })
        }

        override fun onLost() = update { core.connectionLost() }

        override fun onFailed(error: FlagentException) {
            update { core.clientFailed() }
            firstReady.completeExceptionally(error)
        }

        override fun onClosed() {
            update { core.close() }
            firstReady.completeExceptionally(ClientClosedException())
        }
    }

    private val subscription: Subscription

    /** How far the flags can be trusted; see [StoreStatus]. */
    public val status: StateFlow<StoreStatus> = visible.asStateFlow()

    init {
        // Locked, so that no snapshot is applied before the number is known.
        subscription = synchronized(core) {
            val identity = client.cacheIdentity
            if (persistence != null && identity != null) {
                openCache(persistence, identity.credential)
            } else {
                fromBootstrap?.let { core.begin(FlagSource.BOOTSTRAP, it) }
                if (persistence == null) fromBootstrap = null
            }
            publishStatus()
            val canResume = core.lastEventId != null || (persistence != null && identity == null)
            val (subscription, number) = client.attach(driver, selected, canResume)
            request = number
            subscription
        }
    }

    /** What the flags come from; `null` before there are any. */
    public val source: FlagSource? get() = synchronized(core) { core.source }

    /** The position in the server's change log up to which the flags are complete; `null` before there are any. */
    public val position: Long? get() = synchronized(core) { core.position }?.toLongOrNull()

    /** The event id up to which the flags are complete; `null` before there are any. */
    public val lastEventID: String? get() = synchronized(core) { core.lastEventId }

    /** The number of flags. */
    public val size: Int get() = synchronized(core) { core.size }

    /** All flags at this moment. */
    public val all: List<Flag> get() = synchronized(core) { core.flags() }

    /** `<count>:<hex8>` over the flags, as the server computes it. */
    public val digest: String get() = synchronized(core) { core.digest }

    /**
     * The flag with this key, or `null`.
     *
     * @param schema required only if the server watches several schemas that have the key; without it, [AmbiguousFlagException].
     */
    @JvmOverloads
    public operator fun get(key: String, schema: String? = null): Flag? {
        val found = synchronized(core) { core.find(key, schema) }
        if (found.size > 1) throw AmbiguousFlagException(key, found.map { it.schema.orEmpty() })
        return found.firstOrNull()
    }

    public operator fun contains(key: String): Boolean = synchronized(core) { core.find(key, null).isNotEmpty() }

    /**
     * Evaluates a flag for an entity without network; the result equals the server's.
     *
     * [flagKey] is looked up among the ids first, then among the keys, as by the server. A flag that is missing or off gives a result
     * without a variant, and so does an entity that gets none. Without [entityID] a random entity is evaluated. Values of [entityContext] are
     * strings, finite numbers, booleans, or `null` (missing); another type raises [IllegalArgumentException].
     *
     * @param schema required only if the server watches several schemas that have the key; without it, [AmbiguousFlagException].
     */
    @JvmOverloads
    public fun evaluate(
        flagKey: String,
        entityID: String? = null,
        entityContext: Map<String, Any?>? = null,
        entityType: String? = null,
        schema: String? = null,
    ): EvaluationResult = evaluate(flagKey, null, EvaluationEntity(entityID, entityType, entityContext), schema)

    /** The same by the flag's id. */
    @JvmOverloads
    public fun evaluate(
        flagID: Int,
        entityID: String? = null,
        entityContext: Map<String, Any?>? = null,
        entityType: String? = null,
        schema: String? = null,
    ): EvaluationResult = evaluate(null, flagID, EvaluationEntity(entityID, entityType, entityContext), schema)

    /**
     * Calls [handler] after [evaluate]: the first per flag, entity and variant within the window of [options]. It runs behind the evaluation,
     * which never waits for it.
     */
    @JvmOverloads
    public fun onExposure(options: ExposureOptions = ExposureOptions(), handler: suspend (Exposure) -> Unit): Subscription =
        exposures.add(client.handlerScope, client.options.handlerContext, options, handler)

    private fun evaluate(flagKey: String?, flagID: Int?, entity: EvaluationEntity, schema: String?): EvaluationResult {
        val name = flagKey ?: flagID.toString()
        val found: CompiledFlag?
        val held: CompiledFlag?
        val position: String?
        val isObserved = exposures.isUsed || client.exposures.isUsed
        synchronized(core) {
            found = core.enabled(name, schema)
            held = if (found == null && isObserved) core.compiled(name, schema) else found
            position = core.position
        }
        val evaluation = LocalEvaluation({ key -> synchronized(core) { core.compiled(key, schema ?: found?.flag?.schema) } })
        val result = evaluation.evaluate(found, flagID, flagKey, entity, position)
        if (isObserved && held != null) {
            val now = System.currentTimeMillis()
            val names = entity.entityContext?.keys.orEmpty()
            exposures.offer(held.flag, result, position, names, now)
            client.exposures.offer(held.flag, result, position, names, now)
        }
        return result
    }

    /** Iterates over [all]; later changes are not visible. */
    override fun iterator(): Iterator<Flag> = all.iterator()

    /** Calls [listener] with every change, in order with the client's handlers. */
    public fun onChange(listener: suspend (FlagChange) -> Unit): Subscription = listeners.add(listener)

    /**
     * Returns when the store has been READY for the first time. Raises [NotReadyException] after [timeout], with the cause of the
     * last failed connection, if any; [OfflineException] if the client is offline; the client's fatal exception if it gives up; [ClientClosedException] if it is closed.
     */
    public suspend fun ready(timeout: Duration = Duration.INFINITE) {
        if (firstReady.isCompleted) return firstReady.await()
        withTimeoutOrNull(timeout) { unlessOffline { firstReady.await() } }
            ?: throw client.lastConnectionError.let { error ->
                NotReadyException("The store is ${status.value} after $timeout.${error?.let { " ${it.message}" }.orEmpty()}", error)
            }
    }

    /**
     * Returns when the flags are complete up to a position or an event id, for example that of a write, or the one that another service has
     * passed on. A commit that changed no flag of this store is reached with the next heartbeat.
     *
     * Raises [NotReadyException] after [timeout], [IllegalArgumentException] for a text that is neither, or that is of another log (the
     * database was replaced), and as [ready] if the client has ended.
     */
    public suspend fun waitFor(position: String, timeout: Duration = Duration.INFINITE) {
        withTimeoutOrNull(timeout) { unlessOffline { progress.first { hasReached(position) } } }
            ?: throw NotReadyException("The store is at ${lastEventID ?: "no position"} after $timeout, not at $position.", client.lastConnectionError)
    }

    /** The same for a position. */
    public suspend fun waitFor(position: Long, timeout: Duration = Duration.INFINITE): Unit = waitFor(position.toString(), timeout)

    private fun hasReached(target: String): Boolean = synchronized(core) {
        val isReached = core.hasReached(target)
        requireNotNull(isReached) { "'$target' is of another log than the store, which is at ${core.lastEventId}." }
        if (isReached) return true
        when (core.status) {
            StoreStatus.ERROR -> throw client.failureOrClosed()
            StoreStatus.CLOSED -> throw ClientClosedException()
            else -> false
        }
    }

    /** Raises [OfflineException] when the client goes offline, or is. */
    private suspend fun <T> unlessOffline(wait: suspend () -> T): T = coroutineScope {
        val waiting = async(start = CoroutineStart.UNDISPATCHED) { wait() }
        val offline = async { client.online.first { !it } }
        try {
            select {
                waiting.onAwait { it }
                offline.onAwait { throw OfflineException() }
            }
        } finally {
            waiting.cancel()
            offline.cancel()
        }
    }

    /** Detaches from the client, which stays open. The flags stay readable. */
    override fun close() {
        driver.onClosed()
        listeners.clear()
        subscription.close()
        writing?.let { job ->
            job.cancel()
            runBlocking { withTimeoutOrNull(SAVE_LIMIT) { job.join() } }
        }
    }

    private fun usable(source: FlagSource, reading: SavedFlags.Reading): SavedFlags? {
        reading.problem?.let { client.report(SavedFlagsIgnoredException(source, it)) }
        return reading.flags
    }

    /** Begins with the saved flags, if they can be used and are not older than the bootstrap, and saves from now on. */
    private fun openCache(persistence: Persistence, credential: String?) {
        val key = CacheKey.of(client.address, selected, credential)
        val text = try {
            persistence.load(key)
        } catch (e: Exception) {
            client.report(PersistenceFailedException("The saved flags cannot be read: ${e.message ?: e}", e))
            null
        }
        val cache = text?.let { usable(FlagSource.CACHE, SavedFlags.read(it, key, Clock.System.now(), maxAge)) }
        val saves = CacheWriter(persistence, key, { document(key) }, client::report, client.time)
        synchronized(core) {
            when (choose(cache, fromBootstrap)) {
                FlagSource.CACHE -> core.begin(FlagSource.CACHE, cache!!)
                FlagSource.BOOTSTRAP -> core.begin(FlagSource.BOOTSTRAP, fromBootstrap!!)
                else -> Unit
            }
            fromBootstrap = null
            publishStatus()
            writer = saves
            writing = client.launchWriter(saves)
        }
    }

    private fun document(key: String): String? {
        val id: String
        val digest: String
        val flags: List<Flag>
        synchronized(core) {
            if (core.source != FlagSource.SERVER) return null
            id = core.lastEventId ?: return null
            digest = core.digest
            flags = core.flags()
        }
        return SavedFlags.write(key, Clock.System.now(), id, digest, flags)
    }

    private fun receive(at: Duration, message: Message): List<FlagChange> = synchronized(core) {
        if (message is Message.SnapshotMessage && core.awaitsSnapshot && message.request < request) return emptyList()
        val before = core.lastEventId
        val update = core.receive(at, message)
        if (update.requestsSnapshot) request = client.requestSnapshot()
        publishStatus()
        if (update.changes.isNotEmpty() || core.lastEventId != before) writer?.changed(update.changes.isNotEmpty())
        update.changes
    }

    private fun update(change: () -> Unit) = synchronized(core) {
        change()
        publishStatus()
    }

    private fun publishStatus() {
        visible.value = core.status
        if (visible.value == StoreStatus.READY) firstReady.complete(Unit)
        progress.value++
    }

    private companion object {
        val SAVE_LIMIT = 2.seconds
    }
}
