package com.flagent.realtime.future

import com.flagent.realtime.EvaluationResult
import com.flagent.realtime.Exposure
import com.flagent.realtime.Flag
import com.flagent.realtime.FlagChange
import com.flagent.realtime.FlagSource
import com.flagent.realtime.FlagStore
import com.flagent.realtime.FlagentEvent
import com.flagent.realtime.FlagentWebSocketClient
import com.flagent.realtime.RealtimeClient
import com.flagent.realtime.StoreStatus
import com.flagent.realtime.Subscription
import com.flagent.realtime.TableStore
import java.util.concurrent.CompletableFuture
import java.util.concurrent.TimeUnit
import java.util.function.Consumer
import kotlin.time.Duration.Companion.milliseconds

/**
 * A client and its store for code that does not suspend, such as Java: what takes time returns a [CompletableFuture], which completes
 * exceptionally with what the suspending function raises.
 *
 * ```java
 * try (FlagentFlags flags = FlagentFlags.builder("https://flags.example.com").apiKey("your-api-key").build()) {
 *     flags.ready(5, TimeUnit.SECONDS).join();
 *     flags.evaluate("new_payment_flow", "user123", Map.of("country", "US")).getVariantKey();
 * }
 * ```
 */
public class FlagentFlags internal constructor(
    /** The client, for all that this class does not have. */
    public val client: RealtimeClient,
    /** The store of the flags. */
    public val store: FlagStore,
) : AutoCloseable {
    /** How far the flags can be trusted. */
    public val status: StoreStatus get() = store.status.value

    /** What the flags come from; `null` before there are any. */
    public val source: FlagSource? get() = store.source

    /** The position of the flags in the server's change log; `null` before there are any. */
    public val position: Long? get() = store.position

    /** All flags at this moment. */
    public val all: List<Flag> get() = store.all

    /** The flag with this key, or `null`. */
    public fun get(key: String): Flag? = store[key]

    /** Completes when the store has been READY for the first time; see [FlagStore.ready]. */
    public fun ready(timeout: Long, unit: TimeUnit): CompletableFuture<Void?> = done { store.ready(unit.toMillis(timeout).milliseconds) }

    /** Completes when the flags are complete up to a position or an event id; see [FlagStore.waitFor]. */
    public fun waitFor(position: String, timeout: Long, unit: TimeUnit): CompletableFuture<Void?> =
        done { store.waitFor(position, unit.toMillis(timeout).milliseconds) }

    /** Evaluates a flag for an entity without network. */
    @JvmOverloads
    public fun evaluate(flagKey: String, entityID: String?, entityContext: Map<String, Any?>? = null): EvaluationResult =
        store.evaluate(flagKey, entityID, entityContext)

    /** Evaluates a flag on the server, over a WebSocket. Raises [IllegalStateException] if the client uses another transport. */
    @JvmOverloads
    public fun evaluateOnServer(flagKey: String, entityID: String?, entityContext: Map<String, Any?>? = null): CompletableFuture<EvaluationResult> {
        val socket = client as? FlagentWebSocketClient ?: error("Only a client of FlagentBuilder.webSocket() asks the server.")
        return client.future { socket.evaluate(flagKey, entityID, entityContext) }
    }

    /** Calls [listener] with every change, one at a time and in order. */
    public fun onChange(listener: Consumer<FlagChange>): Subscription = store.onChange { listener.accept(it) }

    /** Calls [handler] with every event. */
    public fun onEvent(handler: Consumer<FlagentEvent>): Subscription = client.onEvent { handler.accept(it) }

    /** Calls [handler] with the flag after each change. */
    public fun subscribe(flagKey: String, handler: Consumer<Flag>): Subscription = client.subscribeFlag(flagKey) { handler.accept(it) }

    /** Calls [handler] with the first evaluation per flag, entity and variant of an hour. */
    public fun onExposure(handler: Consumer<Exposure>): Subscription = store.onExposure { handler.accept(it) }

    /** A store of rows on this server; see [TableStore]. */
    public fun table(name: String): TableBuilder = TableBuilder(client, name)

    /** Connects, if the builder said so or after [offline]. */
    public fun start(): Unit = client.start()

    /** Ends the connection, and makes none until [start]. */
    public fun offline(): Unit = client.offline()

    /** Ends everything; see [RealtimeClient.close]. */
    override fun close() {
        store.close()
        client.close()
    }

    private fun done(action: suspend () -> Unit): CompletableFuture<Void?> = client.future {
        action()
        null
    }

    public companion object {
        /** @param url the address of the server, or of one of its streams with [FlagentBuilder.webSocket] or [FlagentBuilder.eventStream]. */
        @JvmStatic
        public fun builder(url: String): FlagentBuilder = FlagentBuilder(url)
    }
}
