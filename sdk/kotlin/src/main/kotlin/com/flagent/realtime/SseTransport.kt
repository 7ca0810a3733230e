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

/** An event stream over HTTP. Its selection is part of the address, so another selection is another connection. */
internal class SseTransport(
    private val address: URI,
    keys: KeySource,
    private val http: SharedHttp,
    private val maxMessageBytes: Int,
) : Transport {
    private val handshake = Handshake(address, keys)

    override val servesWithoutSelection get() = false

    override suspend fun open(start: Start): Link = handshake.perform { uri, key ->
        val link = SseLink(maxMessageBytes)
        var isOpen = false
        try {
            val response = http.client.sendAsync(request(if (uri == address) addressFor(start) else uri, key, start)) { link }
                .awaitOrDiscard { it.body().abort() }
            if (response.statusCode() != 200) return@perform refusal(response)
            if (!Policy.isEventStream(response.headers().firstValue("Content-Type").orElse(null))) {
                throw LinkFailure(ConnectionRefusedException("The server answered with no event stream.", status = 200), isFatal = true)
            }
            isOpen = true
            Answer.Opened(link)
        } catch (e: IOException) {
            throw LinkFailure(ConnectionLostException("No connection: $e", cause = e))
        } finally {
            // Also when the client was closed meanwhile: a body that nobody cancels keeps its connection for ever.
            if (!isOpen) link.abort()
        }
    }

    override fun close() = http.close()

    private fun addressFor(start: Start): URI {
        val query = buildList {
            addAll(start.selection.query())
            add("envelope" to "true")
            if (start.snapshot != null) add("snapshot" to "true")
            start.lastEventId?.takeIf { !it.isPlain }?.let { add("lastEventId" to it) }
        }
        val text = address.toString().substringBefore('#')
        return URI(text + (if ('?' in text) "&" else "?") + query.toQuery())
    }

    private fun request(uri: URI, key: String?, start: Start): HttpRequest = HttpRequest.newBuilder(uri)
        // A clear-text HTTP/2 upgrade only confuses servers and proxies in front of a stream.
        .version(if (uri.scheme.equals("https", ignoreCase = true)) HttpClient.Version.HTTP_2 else HttpClient.Version.HTTP_1_1)
        .header("Accept", "text/event-stream")
        .header("Cache-Control", "no-cache")
        .apply {
            key?.let { header("X-API-Key", it) }
            start.lastEventId?.takeIf { it.isPlain }?.let { header("Last-Event-ID", it) }
        }
        .GET()
        .build()

    private val String.isPlain get() = all { it in ' '..'~' }

    private fun refusal(response: HttpResponse<SseLink>): Answer.Refused {
        val headers = response.headers()
        return Answer.Refused(
            response.statusCode(),
            headers.firstValue("Location").orElse(null),
            headers.firstValue("Retry-After").orElse(null),
        )
    }
}

/** The body of one response. Made before the request, so that it can be ended at any time. */
private class SseLink(limit: Int) : Link, HttpResponse.BodySubscriber<SseLink> {
    private val parser = SseParser(limit)

    // Holds one item at most: the next is asked for only when this one was taken.
    private val chunks = Channel<List<ByteBuffer>>(Channel.UNLIMITED)
    private val subscribed = CompletableDeferred<Flow.Subscription>()

    @Volatile
    private var isAborted = false

    override fun getBody(): CompletionStage<SseLink> = CompletableFuture.completedFuture(this)

    override fun onSubscribe(subscription: Flow.Subscription) {
        subscribed.complete(subscription)
        if (isAborted) subscription.cancel()
    }

    override fun onNext(item: List<ByteBuffer>) {
        chunks.trySend(item)
    }

    override fun onError(throwable: Throwable) {
        chunks.close(LinkFailure(ConnectionLostException("The stream broke: $throwable", cause = throwable)))
        // Where it breaks before its first byte, nobody else tells the reader to look.
        subscribed.complete(Ended)
    }

    override fun onComplete() {
        chunks.close(LinkFailure(ConnectionLostException("The server ended the stream.")))
    }

    override suspend fun receive(): List<Message> {
        val source = subscribed.await()
        source.request(1)
        val items = mutableListOf<SseItem>()
        try {
            for (buffer in chunks.receive()) parser.feed(ByteArray(buffer.remaining()).also(buffer::get), items)
        } catch (e: SseTooBig) {
            // What came before it counts: the next call finds the end.
            chunks.close(LinkFailure(ConnectionLostException(e.message.orEmpty(), cause = e)))
            source.cancel()
        }
        return items.map(MessageReader::read)
    }

    override suspend fun select(from: Selection, to: Selection) = from.query().toSet() == to.query().toSet()

    override suspend fun requestSnapshot(selection: Selection, number: Int) = false

    override suspend fun send(text: String): Unit = error("An event stream carries no requests.")

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
