package com.flagent.realtime

import java.io.IOException
import java.io.InputStream
import java.io.OutputStream
import java.net.URI
import java.util.ServiceLoader

/**
 * HTTP/1.1 or newer, as a library of the platform provides it: `flagent-realtime-jdk` for the JVM, `flagent-realtime-okhttp` for
 * Android and the JVM.
 *
 * An engine follows no redirects and retries nothing: the client decides that, because redirects must not carry the API key to
 * another origin. All methods may be called from any coroutine, and are safe to cancel at any time.
 */
public interface HttpEngine : AutoCloseable {
    /** Sends the request; returns when the head of the response has arrived. Raises [IOException]. */
    @Throws(IOException::class)
    public suspend fun send(request: EngineRequest): EngineResponse

    /**
     * Sends a request that asks for another protocol (RFC 9110, section 7.8), over HTTP/1.1. [EngineResponse.socket] is the
     * connection if the status is 101. Raises [IOException].
     */
    @Throws(IOException::class)
    public suspend fun upgrade(request: EngineRequest): EngineResponse

    /** Frees what outlives requests. Idempotent. */
    override fun close()
}

/** Makes the engine of a client. The one on the class path is found by [ServiceLoader]. */
public interface HttpEngineProvider {
    /** @param connectTimeoutMs the longest wait for TCP and TLS, which then raises an [IOException]. */
    public fun create(connectTimeoutMs: Long): HttpEngine
}

/** A request with all its headers, except those that HTTP itself needs (`Host`, `Content-Length`). */
public class EngineRequest(
    public val method: String,
    /** With the scheme `http` or `https`. */
    public val uri: URI,
    public val headers: Map<String, String>,
    /** JSON, `null` = no body. */
    public val body: ByteArray? = null,
)

/** A response whose head has arrived. The receiver closes [body] or [socket]. */
public class EngineResponse(
    public val status: Int,
    private val headers: Map<String, String>,
    public val body: EngineBody,
    /** The connection after a successful upgrade. */
    public val socket: EngineSocket? = null,
) {
    /** The value of a header; the case of its name does not count. */
    public fun header(name: String): String? = headers.entries.firstOrNull { it.key.equals(name, ignoreCase = true) }?.value
}

/** The body of a response. */
public interface EngineBody {
    /**
     * The next bytes, as soon as there are any; `null` at the end. Nothing is read from the socket between two calls, apart from
     * a bounded buffer. Raises [IOException]. Called by one coroutine.
     */
    @Throws(IOException::class)
    public suspend fun read(): ByteArray?

    /** Ends the response, also while [read] waits, which then raises. Idempotent, never blocks. */
    public fun close()
}

/** A connection after an upgrade. The streams block; [close] ends that, from any thread. */
public interface EngineSocket {
    public val input: InputStream
    public val output: OutputStream

    /** Idempotent, never blocks. */
    public fun close()
}

/** The bytes of a body that has none, or that is of no interest. */
public object EmptyBody : EngineBody {
    override suspend fun read(): ByteArray? = null

    override fun close(): Unit = Unit
}
