package com.flagent.realtime.jdk

import com.flagent.realtime.EngineRequest
import com.flagent.realtime.EngineResponse
import com.flagent.realtime.HttpEngine
import com.flagent.realtime.HttpEngineProvider
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.asExecutor
import kotlinx.coroutines.suspendCancellableCoroutine
import java.io.IOException
import java.net.URI
import java.net.http.HttpClient
import java.net.http.HttpRequest
import java.time.Duration
import java.util.concurrent.CancellationException
import java.util.concurrent.CompletableFuture
import java.util.concurrent.CompletionException
import kotlin.concurrent.thread
import kotlin.coroutines.resumeWithException

/**
 * The JDK's HTTP client, for JVM 17 or newer.
 *
 * @param given supplies proxy and certificates; it must not follow redirects, and is never shut down. A WebSocket only takes its
 * settings. `null` = one with the JDK's defaults, which [close] shuts down.
 */
public class JdkHttpEngine private constructor(private val given: HttpClient?, private val connectTimeoutMs: Long) : HttpEngine {
    @JvmOverloads
    public constructor(given: HttpClient? = null) : this(given, DEFAULT_CONNECT_TIMEOUT_MS)

    internal constructor(connectTimeoutMs: Long) : this(null, connectTimeoutMs)

    private val made = lazy {
        HttpClient.newBuilder()
            .followRedirects(HttpClient.Redirect.NEVER)
            .connectTimeout(Duration.ofMillis(connectTimeoutMs))
            .executor(Dispatchers.IO.asExecutor())
            .build()
    }

    // Released by close: before Java 21 its thread, the selector, ends only when it is garbage collected.
    private var own: Lazy<HttpClient>? = made

    private val client: HttpClient
        get() = given ?: synchronized(this) { own }?.value ?: throw IOException("The HTTP engine is closed.")

    override suspend fun send(request: EngineRequest): EngineResponse {
        val body = JdkBody()
        var isOpen = false
        try {
            val response = client.sendAsync(jdkRequest(request)) { body }.awaitOrDiscard { it.body().close() }
            isOpen = true
            return EngineResponse(response.statusCode(), response.headers().map().mapValues { it.value.first() }, body)
        } finally {
            // Also if the caller was cancelled: a body that is not cancelled keeps its connection open.
            if (!isOpen) body.close()
        }
    }

    override suspend fun upgrade(request: EngineRequest): EngineResponse {
        val socket = UpgradeSocket(request, given, connectTimeoutMs.toInt())
        return suspendCancellableCoroutine { continuation ->
            continuation.invokeOnCancellation { socket.close() }
            thread(name = "flagent-realtime-connect", isDaemon = true) {
                try {
                    continuation.resume(socket.open()) { _, _, _ -> socket.close() }
                } catch (e: Exception) {
                    continuation.resumeWithException(e as? IOException ?: IOException(e.message ?: e.toString(), e))
                }
            }
        }
    }

    override fun close() {
        val client = synchronized(this) { own.also { own = null } }?.takeIf { it.isInitialized() }?.value ?: return
        try {
            HttpClient::class.java.getMethod("shutdownNow").invoke(client)
        } catch (_: NoSuchMethodException) {
            // Java 17 to 20: see `own`.
        }
    }

    private fun jdkRequest(request: EngineRequest): HttpRequest = HttpRequest.newBuilder(request.uri)
        // Some servers and proxies fail on a clear-text HTTP/2 upgrade of a stream.
        .version(if (request.uri.isSecure) HttpClient.Version.HTTP_2 else HttpClient.Version.HTTP_1_1)
        .apply { request.headers.forEach { (name, value) -> header(name, value) } }
        .method(request.method, request.body?.let(HttpRequest.BodyPublishers::ofByteArray) ?: HttpRequest.BodyPublishers.noBody())
        .build()

    private companion object {
        const val DEFAULT_CONNECT_TIMEOUT_MS = 8_000L
    }
}

/** Found by `ServiceLoader`. */
public class JdkHttpEngineProvider : HttpEngineProvider {
    override fun create(connectTimeoutMs: Long): HttpEngine = JdkHttpEngine(connectTimeoutMs)
}

internal val URI.isSecure get() = scheme.equals("https", ignoreCase = true)

/** Waits for the future; a value that arrives after a cancellation is passed to [discard]. */
private suspend fun <T> CompletableFuture<T>.awaitOrDiscard(discard: (T) -> Unit): T =
    suspendCancellableCoroutine { continuation ->
        whenComplete { value, error ->
            if (error == null) {
                continuation.resume(value) { _, late, _ -> discard(late) }
            } else {
                val cause = (error as? CompletionException)?.cause ?: error
                // A cancelled future does not cancel the coroutine that waits for it.
                continuation.resumeWithException(if (cause is CancellationException) IOException("Cancelled.", cause) else cause)
            }
        }
        continuation.invokeOnCancellation { cancel(true) }
    }
