package com.flagent.realtime

import kotlinx.coroutines.Dispatchers
import java.net.http.HttpClient
import kotlin.coroutines.CoroutineContext
import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds

/** What rarely needs to be changed. */
public class ClientOptions(
    /**
     * Reaches the server: proxy, certificates. Event streams go through it, so it must not follow redirects; a WebSocket takes
     * these settings from it. It is never shut down by this library.
     */
    public val httpClient: HttpClient? = null,
    /** How long one attempt to connect may take. */
    public val connectTimeout: Duration = 10.seconds,
    /** How long an evaluation may take, the connecting included. */
    public val requestTimeout: Duration = 5.seconds,
    /** How many received messages may wait for handlers; past that the client reads no more from the socket. */
    public val queueSize: Int = 1000,
    /** The largest message accepted. */
    public val maxMessageBytes: Int = 64 * 1024 * 1024,
    /** Where handlers run. */
    public val handlerContext: CoroutineContext = Dispatchers.IO,
    /** Told of everything that went wrong and was survived, and of the fatal end. Must not block. */
    public val onError: (FlagentException) -> Unit = {},
) {
    init {
        require(connectTimeout.isPositive()) { "connectTimeout must be positive, it is $connectTimeout." }
        require(requestTimeout.isPositive()) { "requestTimeout must be positive, it is $requestTimeout." }
        require(queueSize > 0) { "queueSize must be positive, it is $queueSize." }
        require(maxMessageBytes > 0) { "maxMessageBytes must be positive, it is $maxMessageBytes." }
    }
}
