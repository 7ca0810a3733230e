package com.flagent.realtime

/**
 * Live flags over an event stream (Server-Sent Events): plain HTTP, from the server to the client only.
 *
 * The selection is part of the request, so a new subscription opens a new connection, which resumes after the last event id.
 */
public class FlagentSSEClient internal constructor(parts: ClientParts) : RealtimeClient(parts) {
    @JvmOverloads
    public constructor(
        url: String,
        apiKey: String? = null,
        reconnectConfig: ReconnectConfig = ReconnectConfig(),
        options: ClientOptions = ClientOptions(),
    ) : this(parts(url, ApiKeySource.fixed(apiKey), reconnectConfig, options))

    public constructor(
        url: String,
        apiKey: suspend () -> String?,
        reconnectConfig: ReconnectConfig = ReconnectConfig(),
        options: ClientOptions = ClientOptions(),
    ) : this(parts(url, ApiKeySource(true, apiKey), reconnectConfig, options))

    /** Calls [handler] with every event; same as [subscribeAll]. */
    public fun subscribe(handler: suspend (FlagentEvent) -> Unit): Subscription = subscribeAll(handler)

    private companion object {
        fun parts(url: String, keys: ApiKeySource, reconnect: ReconnectConfig, options: ClientOptions): ClientParts {
            val endpoint = Endpoint(endpointUrl(url, "http"), keys, SharedEngine(options.engine, options.connectTimeout), EndpointKind.EVENT_STREAM)
            return ClientParts(SseTransport(endpoint.url, keys, endpoint.http, options.maxMessageBytes), reconnect, options, endpoint)
        }
    }
}
