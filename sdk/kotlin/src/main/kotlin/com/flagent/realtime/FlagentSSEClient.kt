package com.flagent.realtime

/**
 * Live flags over an event stream (Server-Sent Events): plain HTTP, from the server to the client only.
 *
 * The selection is part of the request, so subscribing to something new makes a new connection, which resumes where the
 * one before was.
 */
public class FlagentSSEClient internal constructor(parts: ClientParts) : RealtimeClient(parts) {
    /** @param apiKey sent in a header, never in the address. */
    @JvmOverloads
    public constructor(
        url: String,
        apiKey: String? = null,
        reconnectConfig: ReconnectConfig = ReconnectConfig(),
        options: ClientOptions = ClientOptions(),
    ) : this(parts(url, KeySource.fixed(apiKey), reconnectConfig, options))

    /** @param apiKey asked anew for every connection, and once more when the server does not accept its answer. */
    public constructor(
        url: String,
        apiKey: suspend () -> String?,
        reconnectConfig: ReconnectConfig = ReconnectConfig(),
        options: ClientOptions = ClientOptions(),
    ) : this(parts(url, KeySource(true, apiKey), reconnectConfig, options))

    /** Calls [handler] with every event; the same as [subscribeAll]. */
    public fun subscribe(handler: suspend (FlagEvent) -> Unit): Subscription = subscribeAll(handler)

    private companion object {
        fun parts(url: String, keys: KeySource, reconnect: ReconnectConfig, options: ClientOptions) = ClientParts(
            SseTransport(addressOf(url, "http"), keys, SharedHttp(options.httpClient), options.maxMessageBytes),
            reconnect,
            options,
        )
    }
}
