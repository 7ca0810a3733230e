package com.flagent.realtime

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.asExecutor
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.channels.trySendBlocking
import kotlinx.coroutines.suspendCancellableCoroutine
import kotlinx.coroutines.withTimeoutOrNull
import kotlinx.serialization.json.put
import java.io.IOException
import java.net.URI
import java.net.http.HttpClient
import java.nio.ByteBuffer
import kotlin.concurrent.thread
import kotlin.coroutines.resumeWithException
import kotlin.time.Duration.Companion.milliseconds

/**
 * JSON text frames over a WebSocket. Each connection has one thread, which connects and reads, and ends with it.
 *
 * @param settings where proxies and certificates come from; `null` = the JDK's defaults.
 */
internal class WebSocketTransport(
    address: URI,
    keys: KeySource,
    private val settings: HttpClient?,
    private val maxMessageBytes: Int,
) : Transport {
    private val handshake = Handshake(address, keys)

    override val servesWithoutSelection get() = true

    override suspend fun open(start: Start): Link {
        val link = handshake.perform(::connect)
        try {
            if (!start.selection.isEmpty) {
                val message = start.selection.message("subscribe") {
                    if (start.snapshot != null) {
                        put("snapshot", true)
                        put("requestId", SNAPSHOT_REQUEST + start.snapshot)
                    } else {
                        start.lastEventId?.let { put("lastEventId", it) }
                    }
                }
                link.send(message.toString())
            }
            return link
        } catch (e: Throwable) {
            link.abort()
            throw e
        }
    }

    override fun close() = Unit

    private suspend fun connect(uri: URI, key: String?): Answer<WebSocketLink> {
        val socket = WebSocketSocket(uri, settings)
        return suspendCancellableCoroutine { continuation ->
            continuation.invokeOnCancellation { socket.close() }
            thread(name = "flagent-realtime-websocket", isDaemon = true) {
                try {
                    when (val answer = socket.open(key)) {
                        is Answer.Refused -> continuation.resume(answer) { _, _, _ -> }
                        is Answer.Opened -> {
                            val link = WebSocketLink(socket)
                            continuation.resume(Answer.Opened(link)) { _, _, _ -> link.abort() }
                            link.read(FrameReader(socket.input, maxMessageBytes))
                        }
                    }
                } catch (e: Exception) {
                    continuation.resumeWithException(LinkFailure(ConnectionLostException("No connection: $e", cause = e)))
                }
            }
        }
    }

    companion object {
        const val SNAPSHOT_REQUEST = "snapshot-"
    }
}

private class WebSocketLink(private val socket: WebSocketSocket) : Link {
    // Full with one item: then the thread waits, nothing is read, and TCP slows the server.
    private val inbox = Channel<List<Message>>(1)

    /** Reads until the connection ends. Raises nothing: [receive] tells how it ended. */
    fun read(frames: FrameReader) {
        val end = try {
            readAll(frames)
        } catch (e: FrameError) {
            LinkFailure(ConnectionLostException(e.message.orEmpty(), closeCode = e.code, cause = e))
        } catch (e: IOException) {
            LinkFailure(ConnectionLostException("The connection broke: $e", cause = e))
        } catch (e: InterruptedException) {
            LinkFailure(ConnectionLostException("The reading was interrupted.", cause = e))
        }
        inbox.close(end)
        socket.close()
    }

    private fun readAll(frames: FrameReader): LinkFailure {
        while (true) {
            val messages = when (val item = frames.next()) {
                is FrameItem.Text -> listOf(MessageReader.read(item.text))
                FrameItem.Binary -> listOf(Message.Malformed("A binary frame was received."))
                FrameItem.Life -> emptyList()
                is FrameItem.Ping -> {
                    socket.frame(PONG, item.payload)
                    emptyList()
                }
                is FrameItem.Close -> {
                    if (item.code != NO_CODE) socket.frame(CLOSE, code(item.code))
                    return ended(item)
                }
            }
            if (inbox.trySendBlocking(messages).isFailure) return LinkFailure(ConnectionLostException("Closed."))
        }
    }

    private fun ended(close: FrameItem.Close): LinkFailure {
        val said = "The server closed the connection with code ${close.code}" +
            if (close.reason.isEmpty()) "." else ": ${close.reason}"
        return if (Policy.ofCloseCode(close.code) == Outcome.FATAL) {
            LinkFailure(ConnectionRefusedException(said, closeCode = close.code), isFatal = true)
        } else {
            LinkFailure(ConnectionLostException(said, closeCode = close.code))
        }
    }

    override suspend fun receive(): List<Message> = inbox.receive()

    override suspend fun select(from: Selection, to: Selection): Boolean {
        if (!from.isEmpty && !to.isEmpty && !from.narrowsLike(to)) return false
        val added = to - from
        val removed = from - to
        if (!added.isEmpty) send(added.message("subscribe").toString())
        if (!removed.isEmpty) {
            // Nothing selected is the server's word for everything: the plain message ends all subscriptions.
            send((if (to.isEmpty) Selection() else removed).message("unsubscribe").toString())
        }
        return true
    }

    override suspend fun requestSnapshot(selection: Selection, number: Int): Boolean {
        val message = selection.message("subscribe") {
            put("snapshot", true)
            put("requestId", WebSocketTransport.SNAPSHOT_REQUEST + number)
        }
        send(message.toString())
        return true
    }

    override suspend fun send(text: String) = write(TEXT, text.toByteArray())

    override suspend fun close() {
        withTimeoutOrNull(GOODBYE) {
            try {
                write(CLOSE, code(NORMAL))
            } catch (_: LinkFailure) {
                // The peer is gone already, which is what closing is for.
            }
        }
        abort()
    }

    fun abort() {
        socket.close()
        inbox.cancel()
    }

    // A write to a peer that reads nothing may hang until the socket is closed; the caller can leave at any time.
    private suspend fun write(opcode: Int, payload: ByteArray): Unit = suspendCancellableCoroutine { continuation ->
        Dispatchers.IO.asExecutor().execute {
            try {
                socket.frame(opcode, payload)
                continuation.resume(Unit) { _, _, _ -> }
            } catch (e: IOException) {
                continuation.resumeWithException(LinkFailure(ConnectionLostException("The connection broke: $e", cause = e)))
            }
        }
    }

    private fun code(code: Int): ByteArray = ByteBuffer.allocate(2).putShort(code.toShort()).array()

    private companion object {
        val GOODBYE = 500.milliseconds
    }
}
