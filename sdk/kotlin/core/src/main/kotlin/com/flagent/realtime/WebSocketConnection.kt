package com.flagent.realtime

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.asExecutor
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.channels.trySendBlocking
import kotlinx.coroutines.suspendCancellableCoroutine
import kotlinx.coroutines.withTimeoutOrNull
import java.io.IOException
import java.nio.ByteBuffer
import java.security.SecureRandom
import kotlin.concurrent.thread
import kotlin.coroutines.resumeWithException
import kotlin.time.Duration.Companion.milliseconds

/** One upgraded connection. One thread reads; it ends with the connection. */
internal class WebSocketConnection(private val socket: EngineSocket, maxMessageBytes: Int) : Connection {
    // One item fills it: then the thread waits, nothing is read, and TCP slows the server.
    private val inbox = Channel<List<Message>>(1)

    init {
        thread(name = "flagent-realtime-websocket", isDaemon = true) { read(FrameReader(socket.input, maxMessageBytes)) }
    }

    /** Reads until the connection ends. Raises nothing: [receive] raises the reason. */
    private fun read(frames: FrameReader) {
        val end = try {
            readAll(frames)
        } catch (e: FrameError) {
            ConnectionFailure(ConnectionLostException(e.message.orEmpty(), closeCode = e.code, cause = e))
        } catch (e: IOException) {
            ConnectionFailure(ConnectionLostException("The connection broke: $e", cause = e))
        } catch (e: InterruptedException) {
            ConnectionFailure(ConnectionLostException("Reading was interrupted.", cause = e))
        }
        inbox.close(end)
        socket.close()
    }

    private fun readAll(frames: FrameReader): ConnectionFailure {
        while (true) {
            val messages = when (val item = frames.next()) {
                is FrameItem.Text -> listOf(MessageDecoder.decodeMessage(item.text))
                FrameItem.Binary -> listOf(Message.Malformed("Binary frames are not supported."))
                FrameItem.Partial -> emptyList()
                is FrameItem.Ping -> {
                    frame(PONG, item.payload)
                    emptyList()
                }
                is FrameItem.Close -> {
                    if (item.code != NO_CODE) frame(CLOSE, code(item.code))
                    return failure(item)
                }
            }
            if (inbox.trySendBlocking(messages).isFailure) return ConnectionFailure(ConnectionLostException("Closed."))
        }
    }

    private fun failure(close: FrameItem.Close): ConnectionFailure {
        val reason = "The server closed the connection with code ${close.code}" +
            if (close.reason.isEmpty()) "." else ": ${close.reason}"
        return if (Policy.closeCodeOutcome(close.code) == Outcome.FATAL) {
            ConnectionFailure(ConnectionRefusedException(reason, closeCode = close.code), isFatal = true)
        } else {
            ConnectionFailure(ConnectionLostException(reason, closeCode = close.code))
        }
    }

    override suspend fun receive(): List<Message> = inbox.receive()

    override suspend fun select(from: ServerSelection, to: ServerSelection): Boolean {
        if (!from.isEmpty && !to.isEmpty && !from.narrowsLike(to)) return false
        val added = to - from
        val removed = from - to
        if (!added.isEmpty) for (message in added.subscribeMessages()) send(message.toString())
        if (!removed.isEmpty) {
            // An empty selection means everything on the wire: the plain message ends all subscriptions.
            for (part in (if (to.isEmpty) ServerSelection() else removed).parts()) send(part.message("unsubscribe").toString())
        }
        return true
    }

    override suspend fun requestSnapshot(selection: ServerSelection, number: Int): Boolean {
        for (message in selection.subscribeMessages(snapshotRequest(number))) send(message.toString())
        return true
    }

    override suspend fun send(text: String) = write(TEXT, text.toByteArray())

    override suspend fun close() {
        withTimeoutOrNull(CLOSE_LIMIT) {
            try {
                write(CLOSE, code(NORMAL))
            } catch (_: ConnectionFailure) {
                // The connection has already ended.
            }
        }
        abort()
    }

    fun abort() {
        socket.close()
        inbox.cancel()
    }

    // A write to a peer that does not read may block until the socket is closed; the caller can be cancelled at any time.
    private suspend fun write(opcode: Int, payload: ByteArray): Unit = suspendCancellableCoroutine { continuation ->
        Dispatchers.IO.asExecutor().execute {
            try {
                frame(opcode, payload)
                continuation.resume(Unit) { _, _, _ -> }
            } catch (e: IOException) {
                continuation.resumeWithException(ConnectionFailure(ConnectionLostException("The connection broke: $e", cause = e)))
            }
        }
    }

    /** Writes a whole frame, one caller at a time. */
    private fun frame(opcode: Int, payload: ByteArray) {
        val bytes = clientFrame(opcode, payload, ByteArray(4).also(random::nextBytes))
        synchronized(socket) {
            socket.output.write(bytes)
            socket.output.flush()
        }
    }

    private fun code(code: Int): ByteArray = ByteBuffer.allocate(2).putShort(code.toShort()).array()

    private companion object {
        val CLOSE_LIMIT = 500.milliseconds
        val random = SecureRandom()
    }
}
