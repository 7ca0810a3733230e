package com.flagent.realtime

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Job
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.delay
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext
import kotlinx.coroutines.withTimeoutOrNull
import java.net.URI
import kotlin.random.Random
import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds

/**
 * Sends the exposures of a client's stores to the server: how many per flag and variant, every ten seconds, or when there are a thousand
 * different ones. An entity counts once an hour per flag and variant. The server must collect them (`FLAGENT_CDC_EXPOSURES=on`), and the API key needs the scope `expose`.
 *
 * What cannot be sent is counted on and sent later; a permanent rejection is reported once, and nothing is sent any more. It never
 * disturbs evaluation, and never ends the client. It ends with the client, or by [close].
 *
 * @param interval between two requests.
 */
public class ExposureReporter internal constructor(
    private val client: RealtimeClient,
    private val interval: Duration,
    private val closeLimit: Duration,
) : AutoCloseable {
    @JvmOverloads
    public constructor(client: RealtimeClient, interval: Duration = 10.seconds) : this(client, interval, 1.seconds)

    private val counts = ExposureCounts(MAX_DIFFERENT)
    private val full = Channel<Unit>(Channel.CONFLATED)
    // Of its own, because the client's ends before what is left can be sent.
    private val http = SharedEngine(client.options.engine, client.options.connectTimeout)
    private val handshake = Handshake(client.endpoint.keys)
    private val uri: URI = client.endpoint.path("/api/v1/exposures")

    @Volatile
    private var isRejected = false
    private val subscription: Subscription
    private val job: Job

    init {
        require(interval.isPositive()) { "interval is $interval; it must be positive." }
        subscription = client.exposures.count { add(ExposureCounts.Name(it.schema, it.flagKey, it.variantKey)) }
        job = client.launchFollower(::send)
    }

    /** Exposures that were dropped because too many different ones could not be sent. */
    public val dropped: Long get() = synchronized(counts) { counts.dropped }

    /** Sends what is left once, within a second. Idempotent. */
    override fun close() {
        subscription.close()
        job.cancel()
        runBlocking { withTimeoutOrNull(closeLimit) { job.join() } }
    }

    private fun add(name: ExposureCounts.Name) {
        if (isRejected) return
        val isFull = synchronized(counts) {
            counts.add(name)
            counts.size >= ExposureCounts.MAX_ENTRIES
        }
        if (isFull) full.trySend(Unit)
    }

    private suspend fun send() {
        val backoff = Backoff(ReconnectConfig(maxAttempts = 0)) { Random.nextDouble() }
        val start = client.time.markNow()
        try {
            while (!isRejected) {
                withTimeoutOrNull(interval) { full.receive() }
                while (!isRejected) {
                    val failure = sendBatch() ?: break
                    delay(backoff.onLost(start.elapsedNow(), failure.retryAfter) ?: interval)
                }
                backoff.onMessage(start.elapsedNow())
            }
        } finally {
            withContext(NonCancellable) { withTimeoutOrNull(closeLimit) { while (!isRejected && !isEmpty() && sendBatch() == null) Unit } }
            http.close()
        }
    }

    private fun isEmpty() = synchronized(counts) { counts.size == 0 }

    /** Sends the oldest; returns why they could not be sent, `null` = sent, or nothing to send. */
    private suspend fun sendBatch(): ConnectionFailure? {
        val batch = synchronized(counts) { counts.take() }
        if (batch.isEmpty()) return null
        var isSent = false
        try {
            post(ExposureCounts.body(batch).toString().toByteArray())
            isSent = true
            return null
        } catch (e: ConnectionFailure) {
            if (e.isFatal) {
                isRejected = true
                client.report(ExposuresRejectedException("Exposures are no longer sent: ${e.error.message}", e.error))
                return null
            }
            return e
        } catch (e: CancellationException) {
            currentCoroutineContext().ensureActive()
            return ConnectionFailure(ConnectionLostException("Sending was cancelled.", cause = e))
        } catch (e: Exception) {
            // The application's key function raised, or the client is closed.
            return ConnectionFailure(ConnectionLostException("Sending failed: $e", cause = e))
        } finally {
            if (!isSent) synchronized(counts) { counts.putBack(batch) }
        }
    }

    private suspend fun post(body: ByteArray): Unit = handshake.perform(uri) { target, key ->
        val headers = buildMap {
            put("Content-Type", "application/json")
            put("Accept", "application/json")
            key?.let { put("X-API-Key", it) }
        }
        val response = withTimeoutOrNull(client.options.requestTimeout) {
            handshake.send(http.engine, EngineRequest("POST", target, headers, body))
        } ?: throw ConnectionFailure(ConnectionLostException("No answer within ${client.options.requestTimeout}."))
        try {
            if (response.status in 200..299) HandshakeResult.Opened(Unit) else handshake.refusal(response)
        } finally {
            response.body.close()
        }
    }

    private companion object {
        const val MAX_DIFFERENT = 10_000
    }
}
