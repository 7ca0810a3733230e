package com.flagent.realtime

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.withTimeoutOrNull
import java.util.concurrent.CopyOnWriteArrayList
import kotlin.time.Duration

/**
 * A live local copy of the flags, on top of either client. Reading costs no network and is safe from any thread.
 *
 * The copy checks itself against the digest that the server sends, and heals itself by a snapshot when they differ.
 *
 * ```
 * FlagentWebSocketClient(url).use { client ->
 *     val store = FlagStore(client)
 *     store.ready(5.seconds)
 *     store["new_payment_flow"]?.enabled
 * }
 * ```
 *
 * @param filter what to keep. Only a store of everything can check itself; `types` are not for stores.
 */
public class FlagStore @JvmOverloads constructor(
    private val client: RealtimeClient,
    filter: EventFilter = EventFilter.EVERYTHING,
) : Iterable<Flag>, AutoCloseable {
    private val replica = Replica(filter.copy(types = emptySet()))
    private val listeners = CopyOnWriteArrayList<suspend (FlagChange) -> Unit>()
    private val visible = MutableStateFlow(StoreStatus.INITIALIZING)
    private val firstReady = CompletableDeferred<Unit>()
    // The number of the snapshot request that this store waits for: an older snapshot may end before the store began.
    private var request = 0

    private val feed = object : Feed {
        override fun onReceived(at: Duration, message: Message): (suspend () -> Unit)? {
            // Who begins to listen later has the flags as they are by then.
            val hearing = listeners.toList()
            val changes = step(at, message)
            return if (changes.isEmpty() || hearing.isEmpty()) null else ({ tell(hearing, changes) })
        }

        override fun onLost() = update { replica.onLost() }

        override fun onFailed(error: FlagentException) {
            update { replica.onFailed() }
            firstReady.completeExceptionally(error)
        }

        override fun onClosed() {
            update { replica.onClosed() }
            firstReady.completeExceptionally(ClientClosedException())
        }
    }

    private val subscription: Subscription

    /** How far the flags can be trusted. */
    public val status: StateFlow<StoreStatus> = visible.asStateFlow()

    init {
        // Locked, so that no snapshot is looked at before the number is known.
        subscription = synchronized(replica) {
            val (subscription, number) = client.attach(feed, filter.copy(types = emptySet()))
            request = number
            subscription
        }
    }

    /** How many flags there are. */
    public val size: Int get() = synchronized(replica) { replica.size }

    /** All flags, as of one moment. */
    public val all: List<Flag> get() = synchronized(replica) { replica.flags() }

    /** `<count>:<hex8>` over the flags, as the server computes it. */
    public val digest: String get() = synchronized(replica) { replica.digest }

    /**
     * The flag of that key, `null` when there is none.
     *
     * @param schema needed only where several are attached; a key found in several of them raises [AmbiguousFlagException].
     */
    @JvmOverloads
    public operator fun get(key: String, schema: String? = null): Flag? {
        val found = synchronized(replica) { replica.find(key, schema) }
        if (found.size > 1) throw AmbiguousFlagException(key, found.map { it.schema.orEmpty() })
        return found.firstOrNull()
    }

    public operator fun contains(key: String): Boolean = synchronized(replica) { replica.find(key, null).isNotEmpty() }

    /** Over [all]: later changes do not show. */
    override fun iterator(): Iterator<Flag> = all.iterator()

    /** Calls [listener] with every change, in order and in turn with the client's handlers. */
    public fun onChange(listener: suspend (FlagChange) -> Unit): Subscription {
        listeners += listener
        return object : Subscription {
            override fun close() {
                listeners -= listener
            }
        }
    }

    /**
     * Returns when the store has been READY for the first time. Raises [RequestTimeoutException] after [timeout] (its
     * cause is why the last connection failed, where one did), what ended the client when it gave up, and
     * [ClientClosedException] when it was closed.
     */
    public suspend fun ready(timeout: Duration = Duration.INFINITE) {
        withTimeoutOrNull(timeout) { firstReady.await() }
            ?: throw client.trouble.let { trouble ->
                RequestTimeoutException("The flags were not there within $timeout.${trouble?.let { " ${it.message}" }.orEmpty()}", trouble)
            }
    }

    /** Leaves the client; the client stays open. The flags stay readable. */
    override fun close() {
        feed.onClosed()
        listeners.clear()
        subscription.close()
    }

    private fun step(at: Duration, message: Message): List<FlagChange> = synchronized(replica) {
        if (message is Message.SnapshotTaken && replica.isAwaiting && message.request < request) return emptyList()
        val step = replica.onMessage(at, message)
        if (step.requestsSnapshot) request = client.requestSnapshot()
        show()
        step.changes
    }

    private fun update(change: () -> Unit) = synchronized(replica) {
        change()
        show()
    }

    private suspend fun tell(hearing: List<suspend (FlagChange) -> Unit>, changes: List<FlagChange>) {
        for (change in changes) {
            for (listener in hearing) {
                val isOpen = { listener in listeners && visible.value != StoreStatus.CLOSED }
                if (isOpen()) guard(client::report, isOpen) { listener(change) }
            }
        }
    }

    private fun show() {
        visible.value = replica.status
        if (visible.value == StoreStatus.READY) firstReady.complete(Unit)
    }
}
