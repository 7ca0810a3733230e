package com.flagent.realtime

import kotlinx.coroutines.suspendCancellableCoroutine
import java.io.IOException
import java.net.URI
import java.time.Instant
import java.util.concurrent.CancellationException
import java.util.concurrent.CompletableFuture
import java.util.concurrent.CompletionException
import kotlin.coroutines.resumeWithException

/** Supplies the API key for every connection. */
internal class ApiKeySource(val isRenewable: Boolean, private val read: suspend () -> String?) {
    suspend fun get(): String? = read()

    companion object {
        fun fixed(key: String?) = ApiKeySource(false) { key }
    }
}

/** The result of one request of a handshake. */
internal sealed interface HandshakeResult<out T> {
    class Opened<T>(val value: T) : HandshakeResult<T>

    class Refused(val status: Int, val location: String?, val retryAfter: String?) : HandshakeResult<Nothing>
}

/** Redirects, rejections and renewal of the API key, the same for both transports. */
internal class Handshake(private val keys: ApiKeySource) {
    /** Repeats [attempt] (URL, key), first with [address], until it opens a connection. Raises [ConnectionFailure]. */
    suspend fun <T> perform(address: URI, attempt: suspend (URI, String?) -> HandshakeResult<T>): T {
        var uri = address
        var hop = 0
        var sendKey = true
        var renewed = false
        var key = keys.get()
        while (true) {
            val refusal = when (val result = attempt(uri, key.takeIf { sendKey })) {
                is HandshakeResult.Opened -> return result.value
                is HandshakeResult.Refused -> result
            }
            if (refusal.status == 401 && keys.isRenewable && !renewed) {
                renewed = true
                key = keys.get()
                continue
            }
            when (Policy.statusOutcome(refusal.status)) {
                Outcome.REDIRECT -> {
                    hop++
                    val (to, keeps) = Policy.resolveRedirect(uri, refusal.location, hop)
                        ?: throw refused("The server redirects to a target that is not allowed.", refusal.status)
                    uri = to
                    sendKey = sendKey && keeps
                }
                Outcome.RETRY -> throw ConnectionFailure(
                    ConnectionLostException("The server responded with ${refusal.status}.", status = refusal.status),
                    retryAfter = Policy.parseRetryAfter(refusal.retryAfter, Instant.now()),
                )
                Outcome.STREAM, Outcome.FATAL -> throw refused("The server responded with ${refusal.status}.", refusal.status)
            }
        }
    }

    private fun refused(message: String, status: Int) =
        ConnectionFailure(ConnectionRefusedException(message, status = status), isFatal = true)
}

/** Waits for the future; a value that arrives after a cancellation is passed to [discard]. */
internal suspend fun <T> CompletableFuture<T>.awaitOrDiscard(discard: (T) -> Unit): T =
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
