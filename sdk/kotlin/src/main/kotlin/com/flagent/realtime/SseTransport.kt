package com.flagent.realtime

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.channels.Channel
import java.io.IOException
import java.net.URI
import java.net.http.HttpClient
import java.net.http.HttpRequest
import java.net.http.HttpResponse
import java.nio.ByteBuffer
import java.util.concurrent.CompletableFuture
import java.util.concurrent.CompletionStage
import java.util.concurrent.Flow

/** An event stream over HTTP. The selection is part of the URL, so a new selection requires a new connection. */
internal class SseTransport(
    private val address: URI,
    keys: ApiKeySource,
    private val http: SharedHttp,
    private val maxMessageBytes: Int,
) : Transport {
    private val handshake = Handshake(keys)

    override val limits get() = SelectionLimits.EVENT_STREAM

    override val servesWithoutSelection get() = false

    override suspend fun open(request: ConnectionRequest): Connection = handshake.perform(urlFor(request)) { uri, key ->
        val connection = SseConnection(maxMessageBytes)
        var isOpen = false
        try {
            val response = http.client.sendAsync(httpRequest(uri, key, request)) { connection }
                .awaitOrDiscard { it.body().abort() }
            if (response.statusCode() != 200) return@perform refusal(response)
            if (!Policy.isEventStream(response.headers().firstValue("Content-Type").orElse(null))) {
                val error = ConnectionRefusedException("The server did not respond with an event stream; check the url.", status = 200)
                throw ConnectionFailure(error, isFatal = true)
            }
            isOpen = true
            HandshakeResult.Opened(connection)
        } catch (e: IOException) {
            throw ConnectionFailure(ConnectionLostException("Connecting failed: $e", cause = e))
        } finally {
            // Also if the client was closed meanwhile: a body that is not cancelled keeps its connection open.
            if (!isOpen) connection.abort()
        }
    }

    override fun close() = http.close()

    private fun urlFor(request: ConnectionRequest): URI {
        val query = buildList {
            addAll(request.selection.query())
            add("envelope" to "true")
            if (request.snapshot != null) add("snapshot" to "true")
            request.lastEventId?.takeIf { !it.isPlain }?.let { add("lastEventId" to it) }
        }
        val text = address.toString().substringBefore('#')
        return URI(text + (if ('?' in text) "&" else "?") + query.toQuery())
    }

    private fun httpRequest(uri: URI, key: String?, request: ConnectionRequest): HttpRequest = HttpRequest.newBuilder(uri)
        // Some servers and proxies fail on a clear-text HTTP/2 upgrade of a stream.
        .version(if (uri.scheme.equals("https", ignoreCase = true)) HttpClient.Version.HTTP_2 else HttpClient.Version.HTTP_1_1)
        .header("Accept", "text/event-stream")
        .header("Cache-Control", "no-cache")
        .apply {
            key?.let { header("X-API-Key", it) }
            request.lastEventId?.takeIf { it.isPlain }?.let { header("Last-Event-ID", it) }
        }
        .GET()
        .build()

    private val String.isPlain get() = all { it in ' '..'~' }

    private fun refusal(response: HttpResponse<SseConnection>): HandshakeResult.Refused {
        val headers = response.headers()
        return HandshakeResult.Refused(
            response.statusCode(),
            headers.firstValue("Location").orElse(null),
            headers.firstValue("Retry-After").orElse(null),
        )
    }
}

/** The body of one response. Created before the request, so that it can be aborted at any time. */
private class SseConnection(limit: Int) : Connection, HttpResponse.BodySubscriber<SseConnection> {
    private val parser = SseParser(limit)

    // Holds at most one item: the next is requested only after this one is taken.
    private val chunks = Channel<List<ByteBuffer>>(Channel.UNLIMITED)
    private val subscribed = CompletableDeferred<Flow.Subscription>()

    @Volatile
    private var isAborted = false

    override fun getBody(): CompletionStage<SseConnection> = CompletableFuture.completedFuture(this)

    override fun onSubscribe(subscription: Flow.Subscription) {
        subscribed.complete(subscription)
        if (isAborted) subscription.cancel()
    }

    override fun onNext(item: List<ByteBuffer>) {
        chunks.trySend(item)
    }

    override fun onError(throwable: Throwable) {
        chunks.close(ConnectionFailure(ConnectionLostException("The connection broke: $throwable", cause = throwable)))
        // If it breaks before the first byte, only this wakes the reader.
        subscribed.complete(Ended)
    }

    override fun onComplete() {
        chunks.close(ConnectionFailure(ConnectionLostException("The server ended the stream.")))
    }

    override suspend fun receive(): List<Message> {
        val source = subscribed.await()
        source.request(1)
        val items = mutableListOf<SseItem>()
        try {
            for (buffer in chunks.receive()) parser.feed(ByteArray(buffer.remaining()).also(buffer::get), items)
        } catch (e: MessageTooLarge) {
            // The messages before it are valid: the next call raises the failure.
            chunks.close(ConnectionFailure(ConnectionLostException(e.message.orEmpty(), cause = e)))
            source.cancel()
        }
        return items.map(MessageDecoder::decodeSseItem)
    }

    override suspend fun select(from: ServerSelection, to: ServerSelection) = from.query().toSet() == to.query().toSet()

    override suspend fun requestSnapshot(selection: ServerSelection, number: Int) = false

    override suspend fun send(text: String): Unit = error("An event stream is one-way.")

    private object Ended : Flow.Subscription {
        override fun request(n: Long) = Unit

        override fun cancel() = Unit
    }

    override suspend fun close() = abort()

    @OptIn(ExperimentalCoroutinesApi::class)
    fun abort() {
        isAborted = true
        if (subscribed.isCompleted) subscribed.getCompleted().cancel()
        chunks.cancel()
    }
}
