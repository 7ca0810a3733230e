package com.flagent.realtime

import kotlinx.coroutines.suspendCancellableCoroutine
import java.io.IOException
import java.net.URI
import java.time.Instant
import java.util.concurrent.CancellationException
import java.util.concurrent.CompletableFuture
import java.util.concurrent.CompletionException
import kotlin.coroutines.resumeWithException

/** Where the API key comes from. Asked anew for every connection. */
internal class KeySource(val isRenewable: Boolean, private val read: suspend () -> String?) {
    suspend fun get(): String? = read()

    companion object {
        fun fixed(key: String?) = KeySource(false) { key }
    }
}

/** What one request of a handshake led to. */
internal sealed interface Answer<out T> {
    class Opened<T>(val value: T) : Answer<T>

    class Refused(val status: Int, val location: String?, val retryAfter: String?) : Answer<Nothing>
}

/** Redirects, refusals and renewal of the API key, the same for both transports. */
internal class Handshake(private val address: URI, private val keys: KeySource) {
    /** Repeats [attempt] (address, key) until it opened something. Raises [LinkFailure]. */
    suspend fun <T> perform(attempt: suspend (URI, String?) -> Answer<T>): T {
        var uri = address
        var hop = 0
        var sendKey = true
        var renewed = false
        var key = keys.get()
        while (true) {
            val refusal = when (val answer = attempt(uri, key.takeIf { sendKey })) {
                is Answer.Opened -> return answer.value
                is Answer.Refused -> answer
            }
            if (refusal.status == 401 && keys.isRenewable && !renewed) {
                renewed = true
                key = keys.get()
                continue
            }
            when (Policy.ofStatus(refusal.status)) {
                Outcome.REDIRECT -> {
                    hop++
                    val (to, keeps) = Policy.redirect(uri, refusal.location, hop)
                        ?: throw refused("The server sent a redirect that is not followed.", refusal.status)
                    uri = to
                    sendKey = sendKey && keeps
                }
                Outcome.RETRY -> throw LinkFailure(
                    ConnectionLostException("The server answered ${refusal.status}.", status = refusal.status),
                    retryAfter = Policy.retryAfter(refusal.retryAfter, Instant.now()),
                )
                Outcome.STREAM, Outcome.FATAL -> throw refused("The server answered ${refusal.status}.", refusal.status)
            }
        }
    }

    private fun refused(message: String, status: Int) =
        LinkFailure(ConnectionRefusedException(message, status = status), isFatal = true)
}

/** Waits for the future; a value that arrives after the waiting was cancelled goes to [discard]. */
internal suspend fun <T> CompletableFuture<T>.awaitOrDiscard(discard: (T) -> Unit): T =
    suspendCancellableCoroutine { continuation ->
        whenComplete { value, error ->
            if (error == null) {
                continuation.resume(value) { _, late, _ -> discard(late) }
            } else {
                val cause = (error as? CompletionException)?.cause ?: error
                // A future that somebody else cancelled does not cancel the coroutine that waits for it.
                continuation.resumeWithException(if (cause is CancellationException) IOException("Cancelled.", cause) else cause)
            }
        }
        continuation.invokeOnCancellation { cancel(true) }
    }
