package com.flagent.realtime.jdk

import com.flagent.realtime.EngineBody
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.channels.Channel
import java.io.IOException
import java.net.http.HttpResponse
import java.nio.ByteBuffer
import java.util.concurrent.CompletableFuture
import java.util.concurrent.CompletionStage
import java.util.concurrent.Flow

/** The body of one response. Created before the request, so that it can be ended at any time. */
internal class JdkBody : EngineBody, HttpResponse.BodySubscriber<JdkBody> {
    // Holds at most one item: the next is requested only after this one is taken.
    private val chunks = Channel<List<ByteBuffer>>(Channel.UNLIMITED)
    private val subscribed = CompletableDeferred<Flow.Subscription>()

    @Volatile
    private var isClosed = false

    override fun getBody(): CompletionStage<JdkBody> = CompletableFuture.completedFuture(this)

    override fun onSubscribe(subscription: Flow.Subscription) {
        subscribed.complete(subscription)
        if (isClosed) subscription.cancel()
    }

    override fun onNext(item: List<ByteBuffer>) {
        chunks.trySend(item)
    }

    override fun onError(throwable: Throwable) {
        chunks.close(throwable as? IOException ?: IOException(throwable.toString(), throwable))
        // If it breaks before the first byte, only this wakes the reader.
        subscribed.complete(Ended)
    }

    override fun onComplete() {
        chunks.close()
        subscribed.complete(Ended)
    }

    override suspend fun read(): ByteArray? {
        subscribed.await().request(1)
        val next = chunks.receiveCatching()
        if (next.isClosed) {
            next.exceptionOrNull()?.let { throw IOException(it.message, it) }
            return null
        }
        val buffers = next.getOrThrow()
        val bytes = ByteArray(buffers.sumOf { it.remaining() })
        var filled = 0
        for (buffer in buffers) {
            val count = buffer.remaining()
            buffer.get(bytes, filled, count)
            filled += count
        }
        return bytes
    }

    @OptIn(ExperimentalCoroutinesApi::class)
    override fun close() {
        isClosed = true
        if (subscribed.isCompleted) subscribed.getCompleted().cancel()
        chunks.close(IOException("The response is closed."))
    }

    private object Ended : Flow.Subscription {
        override fun request(n: Long) = Unit

        override fun cancel() = Unit
    }
}
