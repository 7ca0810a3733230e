package com.flagent.realtime

import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.channels.trySendBlocking
import java.io.IOException
import java.io.InputStream
import java.util.concurrent.atomic.AtomicBoolean
import kotlin.concurrent.thread

/**
 * The body of a response that is read from a blocking stream, by one thread, which ends with the body.
 *
 * @param onClose ends a blocked read of [input], from any thread.
 */
public class StreamBody(private val input: InputStream, private val onClose: () -> Unit) : EngineBody {
    // Without a buffer: the thread reads one chunk ahead, then waits, and TCP slows the server.
    private val chunks = Channel<ByteArray>(Channel.RENDEZVOUS)
    private val isStarted = AtomicBoolean()

    override suspend fun read(): ByteArray? {
        if (isStarted.compareAndSet(false, true)) thread(name = "flagent-realtime-read", isDaemon = true) { readAll() }
        val next = chunks.receiveCatching()
        next.exceptionOrNull()?.let { throw IOException(it.message ?: it.toString(), it) }
        return next.getOrNull()
    }

    override fun close() {
        chunks.cancel()
        onClose()
    }

    private fun readAll() {
        try {
            val buffer = ByteArray(BUFFER_BYTES)
            while (true) {
                val count = input.read(buffer)
                if (count < 0 || chunks.trySendBlocking(buffer.copyOf(count)).isFailure) break
            }
            chunks.close()
        } catch (e: IOException) {
            chunks.close(e)
        } catch (e: InterruptedException) {
            chunks.close(IOException("Reading was interrupted.", e))
        }
    }

    private companion object {
        const val BUFFER_BYTES = 16 * 1024
    }
}
