package com.flagent.realtime

import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withTimeoutOrNull
import kotlinx.serialization.json.put
import java.io.IOException
import java.net.URI
import java.net.http.WebSocket
import java.net.http.WebSocketHandshakeException
import java.nio.ByteBuffer
import java.util.concurrent.CompletionStage
import kotlin.time.Duration.Companion.milliseconds

/** JSON text frames over a WebSocket. */
internal class WebSocketTransport(
    address: URI,
    keys: KeySource,
    private val http: SharedHttp,
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

    override fun close() = http.close()

    private suspend fun connect(uri: URI, key: String?): Answer<WebSocketLink> {
        val link = WebSocketLink(maxMessageBytes)
        val builder = http.client.newWebSocketBuilder()
        key?.let { builder.header("X-API-Key", it) }
        return try {
            link.socket = builder.buildAsync(uri, link).awaitOrDiscard { it.abort() }
            Answer.Opened(link)
        } catch (e: WebSocketHandshakeException) {
            val headers = e.response.headers()
            Answer.Refused(
                e.response.statusCode(),
                headers.firstValue("Location").orElse(null),
                headers.firstValue("Retry-After").orElse(null),
            )
        } catch (e: IOException) {
            throw LinkFailure(ConnectionLostException("No connection: $e", cause = e))
        }
    }

    companion object {
        const val SNAPSHOT_REQUEST = "snapshot-"
    }
}

private class WebSocketLink(private val limit: Int) : Link, WebSocket.Listener {
    lateinit var socket: WebSocket

    // Holds one item at most: the next frame is asked for only when this one was taken.
    private val inbox = Channel<List<Message>>(Channel.UNLIMITED)
    private val text = StringBuilder()
    private val turn = Mutex()

    override fun onOpen(webSocket: WebSocket) = Unit

    override fun onText(webSocket: WebSocket, data: CharSequence, last: Boolean): CompletionStage<*>? {
        text.append(data)
        if (text.length > limit) {
            inbox.close(LinkFailure(ConnectionLostException("A message larger than $limit characters was received.")))
            webSocket.abort()
        } else if (last) {
            inbox.trySend(listOf(MessageReader.read(text.toString())))
            text.setLength(0)
        } else {
            inbox.trySend(emptyList())
        }
        return null
    }

    override fun onBinary(webSocket: WebSocket, data: ByteBuffer, last: Boolean): CompletionStage<*>? {
        inbox.trySend(if (last) listOf(Message.Malformed("A binary frame was received.")) else emptyList())
        return null
    }

    override fun onPing(webSocket: WebSocket, message: ByteBuffer): CompletionStage<*>? {
        inbox.trySend(emptyList())
        return null
    }

    override fun onPong(webSocket: WebSocket, message: ByteBuffer): CompletionStage<*>? {
        inbox.trySend(emptyList())
        return null
    }

    override fun onClose(webSocket: WebSocket, statusCode: Int, reason: String): CompletionStage<*>? {
        val said = "The server closed the connection with code $statusCode" + if (reason.isEmpty()) "." else ": $reason"
        val fatal = Policy.ofCloseCode(statusCode) == Outcome.FATAL
        inbox.close(
            if (fatal) {
                LinkFailure(ConnectionRefusedException(said, closeCode = statusCode), isFatal = true)
            } else {
                LinkFailure(ConnectionLostException(said, closeCode = statusCode))
            },
        )
        return null
    }

    override fun onError(webSocket: WebSocket, error: Throwable) {
        inbox.close(LinkFailure(ConnectionLostException("The connection broke: $error", cause = error)))
    }

    override suspend fun receive(): List<Message> {
        socket.request(1)
        return inbox.receive()
    }

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

    // One frame at a time: the socket refuses a second one before the first is out.
    override suspend fun send(text: String): Unit = turn.withLock {
        try {
            socket.sendText(text, true).awaitOrDiscard { }
        } catch (e: IOException) {
            throw LinkFailure(ConnectionLostException("The connection broke: $e", cause = e))
        }
    }

    override suspend fun close() {
        if (!socket.isOutputClosed && !socket.isInputClosed) {
            withTimeoutOrNull(GOODBYE) {
                try {
                    turn.withLock { socket.sendClose(WebSocket.NORMAL_CLOSURE, "").awaitOrDiscard { } }
                } catch (_: IOException) {
                    // The peer is gone already, which is what closing is for.
                }
            }
        }
        abort()
    }

    fun abort() {
        socket.abort()
        inbox.close()
    }

    private companion object {
        val GOODBYE = 500.milliseconds
    }
}
