package com.flagent.realtime

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.withTimeoutOrNull
import java.util.concurrent.CopyOnWriteArrayList
import kotlin.time.Duration

/**
 * A live local copy of flags, fed by either client. Reads need no network and are safe from any thread.
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
 * @param selection the flags to keep; `types` are ignored. Only a store of all flags can be checked against the digest.
 */
public class FlagStore @JvmOverloads constructor(
    private val client: RealtimeClient,
    selection: Selection = Selection.EVERYTHING,
) : Iterable<Flag>, AutoCloseable {
    private val core = StoreCore(selection.copy(types = emptySet()))
    private val listeners = CopyOnWriteArrayList<suspend (FlagChange) -> Unit>()
    private val visible = MutableStateFlow(StoreStatus.INITIALIZING)
    private val firstReady = CompletableDeferred<Unit>()
    // The number of the snapshot request that this store waits for: an older snapshot may have been taken before the store joined.
    private var request = 0

    private val driver = object : StoreDriver {
        override fun onReceived(at: Duration, message: Message): (suspend () -> Unit)? {
            // A listener that registers later reads the flags as they are by then.
            val present = listeners.toList()
            val changes = receive(at, message)
            return if (changes.isEmpty() || present.isEmpty()) null else ({ notify(present, changes) })
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
            val (subscription, number) = client.attach(driver, selection.copy(types = emptySet()))
            request = number
            subscription
        }
    }

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

    /** Iterates over [all]; later changes are not visible. */
    override fun iterator(): Iterator<Flag> = all.iterator()

    /** Calls [listener] with every change, in order with the client's handlers. */
    public fun onChange(listener: suspend (FlagChange) -> Unit): Subscription {
        listeners += listener
        return object : Subscription {
            override fun close() {
                listeners -= listener
            }
        }
    }

    /**
     * Returns when the store has been READY for the first time. Raises [NotReadyException] after [timeout], with the cause of the
     * last failed connection, if any; the client's fatal exception if it gives up; [ClientClosedException] if it is closed.
     */
    public suspend fun ready(timeout: Duration = Duration.INFINITE) {
        withTimeoutOrNull(timeout) { firstReady.await() }
            ?: throw client.lastConnectionError.let { error ->
                NotReadyException("The store is ${status.value} after $timeout.${error?.let { " ${it.message}" }.orEmpty()}", error)
            }
    }

    /** Detaches from the client, which stays open. The flags stay readable. */
    override fun close() {
        driver.onClosed()
        listeners.clear()
        subscription.close()
    }

    private fun receive(at: Duration, message: Message): List<FlagChange> = synchronized(core) {
        if (message is Message.SnapshotMessage && core.awaitsSnapshot && message.request < request) return emptyList()
        val update = core.receive(at, message)
        if (update.requestsSnapshot) request = client.requestSnapshot()
        publishStatus()
        update.changes
    }

    private fun update(change: () -> Unit) = synchronized(core) {
        change()
        publishStatus()
    }

    private suspend fun notify(present: List<suspend (FlagChange) -> Unit>, changes: List<FlagChange>) {
        for (change in changes) {
            for (listener in present) {
                val isOpen = { listener in listeners && visible.value != StoreStatus.CLOSED }
                if (isOpen()) callHandler(client::report, isOpen) { listener(change) }
            }
        }
    }

    private fun publishStatus() {
        visible.value = core.status
        if (visible.value == StoreStatus.READY) firstReady.complete(Unit)
    }
}
