package com.flagent.realtime.future

import com.flagent.realtime.ClientOptions
import com.flagent.realtime.FlagStore
import com.flagent.realtime.FlagentClient
import com.flagent.realtime.FlagentException
import com.flagent.realtime.FlagentSSEClient
import com.flagent.realtime.FlagentWebSocketClient
import com.flagent.realtime.HttpEngine
import com.flagent.realtime.Persistence
import com.flagent.realtime.ReconnectConfig
import com.flagent.realtime.Selection
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext
import java.util.concurrent.TimeUnit
import java.util.function.Consumer
import java.util.function.Supplier
import kotlin.time.Duration
import kotlin.time.Duration.Companion.days
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds

/** Makes a [FlagentFlags]. What is not set has the default of [ClientOptions], [ReconnectConfig] and [FlagStore]. */
public class FlagentBuilder internal constructor(private val url: String) {
    private enum class Kind { ANY_NETWORK, WEB_SOCKET, EVENT_STREAM }

    private var kind = Kind.ANY_NETWORK
    private var apiKey: String? = null
    private var keys: Supplier<String?>? = null
    private var engine: HttpEngine? = null
    private var connectTimeout = 10.seconds
    private var requestTimeout = 5.seconds
    private var start = true
    private var cacheIdentity: String? = null
    private var onError: Consumer<FlagentException> = Consumer { }
    private var maxAttempts: Int? = null
    private var initialDelay = 1.seconds
    private var maxDelay = 60.seconds
    private var selection = Selection.EVERYTHING
    private var persistence: Persistence? = null
    private var bootstrap: String? = null
    private var maxAge = 30.days

    /** The url is that of the WebSocket, and nothing else is used. */
    public fun webSocket(): FlagentBuilder = set { kind = Kind.WEB_SOCKET }

    /** The url is that of the event stream, and nothing else is used. */
    public fun eventStream(): FlagentBuilder = set { kind = Kind.EVENT_STREAM }

    /** Sent in a header, never in the URL. */
    public fun apiKey(key: String?): FlagentBuilder = set { apiKey = key }

    /** Called before every connection, and once more after a 401. May block. */
    public fun apiKey(key: Supplier<String?>): FlagentBuilder = set { keys = key }

    /** The HTTP library, with its proxy and certificates. */
    public fun engine(engine: HttpEngine): FlagentBuilder = set { this.engine = engine }

    public fun connectTimeout(time: Long, unit: TimeUnit): FlagentBuilder = set { connectTimeout = duration(time, unit) }

    /** The maximum time of an evaluation on the server. */
    public fun requestTimeout(time: Long, unit: TimeUnit): FlagentBuilder = set { requestTimeout = duration(time, unit) }

    /** Failed attempts in a row before the client gives up; 0 = never, which is the default. */
    public fun maxAttempts(attempts: Int): FlagentBuilder = set { maxAttempts = attempts }

    public fun reconnectDelay(initial: Long, max: Long, unit: TimeUnit): FlagentBuilder = set {
        initialDelay = duration(initial, unit)
        maxDelay = duration(max, unit)
    }

    /** Connects nothing before [FlagentFlags.start]. */
    public fun startLater(): FlagentBuilder = set { start = false }

    /** Called with every error. Must not block. */
    public fun onError(handler: Consumer<FlagentException>): FlagentBuilder = set { onError = handler }

    /** Keeps these flags only, and those with a tag of [tags]; both empty = all. */
    public fun select(flags: Collection<String>, tags: Collection<String>): FlagentBuilder =
        set { selection = selection.copy(flags = flags.toSet(), tags = tags.toSet()) }

    /** Keeps flags of these schemas only. */
    public fun schemas(schemas: Collection<String>): FlagentBuilder = set { selection = selection.copy(schemas = schemas.toSet()) }

    /** Saves the flags, and begins with those of the last run. */
    public fun persistence(persistence: Persistence): FlagentBuilder = set { this.persistence = persistence }

    /** What identifies the user in the persistence, instead of the API key. */
    public fun cacheIdentity(identity: String): FlagentBuilder = set { cacheIdentity = identity }

    /** Of saved flags. */
    public fun maxAge(time: Long, unit: TimeUnit): FlagentBuilder = set { maxAge = duration(time, unit) }

    /** Flags as JSON to begin with. */
    public fun bootstrap(json: String): FlagentBuilder = set { bootstrap = json }

    /** Makes the client and its store; raises [IllegalArgumentException] for a url or an option that cannot be used. */
    public fun build(): FlagentFlags {
        val options = ClientOptions(
            engine = engine,
            connectTimeout = connectTimeout,
            requestTimeout = requestTimeout,
            start = start,
            cacheIdentity = cacheIdentity,
            onError = { onError.accept(it) },
        )
        val reconnect = ReconnectConfig(maxAttempts, initialDelay, maxDelay)
        val supplier = keys
        val client = if (supplier == null) {
            when (kind) {
                Kind.ANY_NETWORK -> FlagentClient(url, apiKey, reconnect, options)
                Kind.WEB_SOCKET -> FlagentWebSocketClient(url, apiKey, reconnect, options)
                Kind.EVENT_STREAM -> FlagentSSEClient(url, apiKey, reconnect, options)
            }
        } else {
            val key: suspend () -> String? = { withContext(Dispatchers.IO) { supplier.get() } }
            when (kind) {
                Kind.ANY_NETWORK -> FlagentClient(url, key, reconnect, options)
                Kind.WEB_SOCKET -> FlagentWebSocketClient(url, key, reconnect, options)
                Kind.EVENT_STREAM -> FlagentSSEClient(url, key, reconnect, options)
            }
        }
        try {
            return FlagentFlags(client, FlagStore(client, selection, persistence, bootstrap, maxAge))
        } catch (e: RuntimeException) {
            client.close()
            throw e
        }
    }

    private fun set(change: () -> Unit): FlagentBuilder {
        change()
        return this
    }
}

internal fun duration(time: Long, unit: TimeUnit): Duration = unit.toMillis(time).milliseconds
