package com.flagent.realtime

import kotlinx.coroutines.Dispatchers
import kotlin.coroutines.CoroutineContext
import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds

/** Options of a client, with defaults for most applications. */
public class ClientOptions(
    /**
     * The HTTP library, with its proxy and certificates; the client never closes it. `null` = the module on the class path, with
     * its defaults.
     */
    public val engine: HttpEngine? = null,
    /** The maximum time of one attempt to connect. */
    public val connectTimeout: Duration = 10.seconds,
    /** The maximum time of an evaluation, including connecting. */
    public val requestTimeout: Duration = 5.seconds,
    /** The maximum number of messages that wait for handlers; when it is reached, the client stops reading from the socket. */
    public val queueSize: Int = 1000,
    /** The maximum size of a message; a larger one ends the connection, which resumes. */
    public val maxMessageBytes: Int = 64 * 1024 * 1024,
    /** The coroutine context of handlers. */
    public val handlerContext: CoroutineContext = Dispatchers.IO,
    /** Whether the client connects by itself at the first subscription; otherwise [RealtimeClient.start] must be called. */
    public val start: Boolean = true,
    /**
     * What identifies the user of this client in a [Persistence], instead of the API key. Needed where a key that changes must find the
     * flags that were saved with the former one.
     */
    public val cacheIdentity: String? = null,
    /** Called with every error that the client has recovered from, and with the fatal one. Must not block. */
    public val onError: (FlagentException) -> Unit = {},
) {
    init {
        require(connectTimeout.isPositive()) { "connectTimeout is $connectTimeout; it must be positive." }
        require(requestTimeout.isPositive()) { "requestTimeout is $requestTimeout; it must be positive." }
        require(queueSize > 0) { "queueSize is $queueSize; it must be positive." }
        require(maxMessageBytes > 0) { "maxMessageBytes is $maxMessageBytes; it must be positive." }
    }
}
