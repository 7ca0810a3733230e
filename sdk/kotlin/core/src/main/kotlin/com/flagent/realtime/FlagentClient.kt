package com.flagent.realtime

import java.net.URI
import kotlin.time.Duration
import kotlin.time.TimeSource

/**
 * Live flags through any network: connects by WebSocket; where the network lets none through, by an event stream; where that does not
 * work either, by polling. While it uses a lesser transport, it tries the better ones every five minutes.
 *
 * [transport] says which one is in use; nothing else changes: subscriptions and stores go on, and no change is lost or repeated. While
 * it polls, there are no events: handlers of flags are called with what is different, [onEvent] with RESYNC.
 *
 * ```
 * val client = FlagentClient("https://flags.example.com", apiKey = "your-api-key")
 * ```
 */
public class FlagentClient private constructor(private val network: Network) : RealtimeClient(network.parts) {
    /** @param url the address of the server, with a path where a proxy adds one. */
    @JvmOverloads
    public constructor(
        url: String,
        apiKey: String? = null,
        reconnectConfig: ReconnectConfig = ReconnectConfig(),
        options: ClientOptions = ClientOptions(),
        network: NetworkOptions = NetworkOptions(),
    ) : this(Network(url, ApiKeySource.fixed(apiKey), reconnectConfig, options, network))

    public constructor(
        url: String,
        apiKey: suspend () -> String?,
        reconnectConfig: ReconnectConfig = ReconnectConfig(),
        options: ClientOptions = ClientOptions(),
        network: NetworkOptions = NetworkOptions(),
    ) : this(Network(url, ApiKeySource(true, apiKey), reconnectConfig, options, network))

    init {
        network.client = this
    }

    /** How the client reaches the server now, or tries to. */
    public val transport: TransportName get() = network.transport.name

    /** Calls [handler] with every event; same as [subscribeAll]. */
    public fun subscribe(handler: suspend (FlagentEvent) -> Unit): Subscription = subscribeAll(handler)

    private class Network(url: String, keys: ApiKeySource, reconnect: ReconnectConfig, options: ClientOptions, paths: NetworkOptions) {
        // Set before anything connects.
        lateinit var client: FlagentClient
        private val endpoint = Endpoint(endpointUrl(url.trimEnd('/'), "http"), keys, SharedEngine(options.engine, options.connectTimeout), EndpointKind.SERVER, paths)
        val transport = NetworkTransport(
            mapOf(
                TransportName.WEBSOCKET to WebSocketTransport(endpoint.path(paths.webSocketPath).withKind("ws"), keys, endpoint.http, options.maxMessageBytes),
                TransportName.SSE to SseTransport(endpoint.path(paths.eventStreamPath), keys, endpoint.http, options.maxMessageBytes),
                TransportName.POLLING to PollingTransport(
                    endpoint.path(paths.snapshotPath), keys, endpoint.http, options.maxMessageBytes, options.connectTimeout,
                    paths.pollInterval, TimeSource.Monotonic,
                ),
            ),
            TransportChoice(paths.retryBetterAfter),
            options.connectTimeout,
            { client.selection() },
            { client.report(it) },
        )
        val parts = ClientParts(transport, reconnect, options, endpoint)
    }
}

/** Where a [FlagentClient] finds the server's endpoints below its url, and how long it waits. */
public class NetworkOptions(
    public val webSocketPath: String = "/ws",
    public val eventStreamPath: String = "/api/v1/events/stream",
    public val snapshotPath: String = "/api/v1/snapshot",
    /** The time between two polls of a server that does not hold requests. */
    public val pollInterval: Duration = PollingTransport.DEFAULT_INTERVAL,
    /** The time on a lesser transport after which the better ones are tried. */
    public val retryBetterAfter: Duration = TransportChoice.RETRY_BETTER_AFTER,
) {
    init {
        require(pollInterval.isPositive()) { "pollInterval is $pollInterval; it must be positive." }
        require(retryBetterAfter.isPositive()) { "retryBetterAfter is $retryBetterAfter; it must be positive." }
    }
}

/** What the address of a client is: the server itself, or one of its two streams. */
internal enum class EndpointKind { SERVER, WEB_SOCKET, EVENT_STREAM }

/** The server of a client, and how to reach it with the client's credential. */
internal class Endpoint(
    val url: URI,
    val keys: ApiKeySource,
    val http: SharedEngine,
    private val kind: EndpointKind,
    private val paths: NetworkOptions = NetworkOptions(),
) {
    val isWebSocket: Boolean get() = kind == EndpointKind.WEB_SOCKET

    /** The event stream of the same server. */
    fun eventStream(): URI = if (kind == EndpointKind.EVENT_STREAM) url else path(paths.eventStreamPath)

    /** Another path of the same server. A url with a path of its own is one below which the server's paths begin. */
    fun path(path: String): URI {
        val own = when (kind) {
            EndpointKind.SERVER -> ""
            EndpointKind.WEB_SOCKET -> paths.webSocketPath
            EndpointKind.EVENT_STREAM -> paths.eventStreamPath
        }
        val text = url.withKind("http").toString().substringBefore('#').substringBefore('?')
        val base = if (text.endsWith(own)) text.removeSuffix(own) else text.substringBefore("://") + "://" + url.rawAuthority
        return URI(base.trimEnd('/') + path + (url.rawQuery?.let { "?$it" } ?: ""))
    }
}
