package com.flagent.realtime

import kotlinx.coroutines.withTimeoutOrNull
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import java.io.ByteArrayOutputStream
import java.io.IOException
import java.net.ConnectException
import java.net.NoRouteToHostException
import java.net.SocketTimeoutException
import java.net.URI
import java.net.UnknownHostException
import javax.net.ssl.SSLException
import kotlin.time.Duration.Companion.seconds

/** Supplies the API key for every connection. */
internal class ApiKeySource(val isRenewable: Boolean, private val read: suspend () -> String?) {
    /** What [get] returned last. */
    @Volatile
    var last: String? = null
        private set

    private var fetched: String? = null
    private var isFetched = false

    suspend fun get(): String? {
        if (!isFetched) return read().also { last = it }
        isFetched = false
        return fetched
    }

    /** The key of the next connection, which [get] then returns. */
    suspend fun peek(): String? = get().also {
        fetched = it
        isFetched = true
    }

    companion object {
        fun fixed(key: String?) = ApiKeySource(false) { key }.also { it.last = key }
    }
}

/** The result of one request of a handshake. */
internal sealed interface HandshakeResult<out T> {
    class Opened<T>(val value: T) : HandshakeResult<T>

    /** @property sentence what the server says about it, empty = nothing. */
    class Refused(val status: Int, val location: String?, val retryAfter: String?, val sentence: String = "") : HandshakeResult<Nothing>
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
                    ConnectionLostException(message(refusal), status = refusal.status),
                    retryAfter = Policy.parseRetryAfter(refusal.retryAfter, System.currentTimeMillis()),
                    kind = if (Policy.isUnavailable(refusal.status)) TransportInput.UNAVAILABLE else TransportInput.FAILED,
                )
                Outcome.STREAM, Outcome.FATAL -> throw refused(message(refusal), refusal.status)
            }
        }
    }

    /** [HttpEngine.send], with its errors as [ConnectionFailure]. */
    suspend fun send(engine: HttpEngine, request: EngineRequest): EngineResponse = connecting { engine.send(request) }

    /** [HttpEngine.upgrade], with its errors as [ConnectionFailure]. */
    suspend fun upgrade(engine: HttpEngine, request: EngineRequest): EngineResponse = connecting { engine.upgrade(request) }

    private suspend fun <T> connecting(action: suspend () -> T): T = try {
        action()
    } catch (e: IOException) {
        val kind = if (isRefused(e)) TransportInput.REFUSED else TransportInput.FAILED
        throw ConnectionFailure(ConnectionLostException("Connecting failed: $e", cause = e), kind = kind)
    }

    /** Whether there was no connection at all, or none that is secure. */
    private fun isRefused(error: Throwable): Boolean = generateSequence(error) { it.cause }.take(MAX_CAUSES).any {
        it is ConnectException || it is UnknownHostException || it is NoRouteToHostException || it is SSLException ||
            it is SocketTimeoutException || it.javaClass.simpleName == "HttpConnectTimeoutException"
    }

    /** A response that opens no connection; its body is read for the server's sentence. */
    suspend fun refusal(response: EngineResponse) = HandshakeResult.Refused(
        response.status,
        response.header("Location"),
        response.header("Retry-After"),
        if (response.header("Content-Type").orEmpty().substringBefore(';').trim().endsWith("json")) sentence(response.body) else "",
    )

    private suspend fun sentence(body: EngineBody): String {
        val bytes = ByteArrayOutputStream()
        try {
            withTimeoutOrNull(SENTENCE_LIMIT) { while (bytes.size() < MAX_SENTENCE) bytes.write(body.read() ?: break) }
            val problem = Json.parseToJsonElement(bytes.toByteArray().decodeToString()) as? JsonObject
            return (problem?.text("detail") ?: problem?.text("title")).orEmpty().take(MAX_SHOWN)
        } catch (_: IOException) {
            // The status is the error; its text is an extra.
            return ""
        } catch (_: SerializationException) {
            return ""
        }
    }

    private fun message(refusal: HandshakeResult.Refused) =
        "The server responded with ${refusal.status}" + if (refusal.sentence.isEmpty()) "." else ": ${refusal.sentence}"

    private fun refused(message: String, status: Int) =
        ConnectionFailure(ConnectionRefusedException(message, status = status), isFatal = true)

    private companion object {
        val SENTENCE_LIMIT = 2.seconds
        const val MAX_SENTENCE = 64 * 1024
        const val MAX_SHOWN = 500
        const val MAX_CAUSES = 5
    }
}
