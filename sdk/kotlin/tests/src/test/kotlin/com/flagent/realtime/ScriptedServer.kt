package com.flagent.realtime

import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.jsonObject
import java.io.BufferedInputStream
import java.io.ByteArrayOutputStream
import java.io.Closeable
import java.io.EOFException
import java.net.InetAddress
import java.net.ServerSocket
import java.net.Socket
import java.net.SocketException
import java.security.MessageDigest
import java.util.Base64

/** A scripted server on a real socket. Every wait has a deadline. */
class ScriptedServer : Closeable {
    private val listener = ServerSocket(0, 50, InetAddress.getLoopbackAddress()).apply { soTimeout = DEADLINE_MS }
    private val peers = mutableListOf<Peer>()

    val port: Int get() = listener.localPort
    val http: String get() = "http://localhost:$port/api/v1/events/stream"
    val ws: String get() = "ws://localhost:$port/ws"

    /**
     * The next connection that has a request, which is read. A client may give up another one before: on a busy machine OkHttp connects to
     * both addresses of localhost, and uses the first that answers.
     */
    fun accept(): Peer {
        while (true) {
            val socket = listener.accept().apply { soTimeout = DEADLINE_MS }
            try {
                return Peer(socket).also(peers::add)
            } catch (_: EOFException) {
                socket.close()
            }
        }
    }

    /** The next connection, answered as an event stream. */
    fun acceptStream(text: String = ""): Peer = accept().apply {
        write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n\r\n")
        write(text)
    }

    /** The next connection, upgraded to a WebSocket. */
    fun acceptWebSocket(): Peer = accept().apply { upgrade() }

    /** True if no client connects for a moment. */
    fun isLeftAlone(ms: Int = 300): Boolean {
        listener.soTimeout = ms
        return try {
            accept()
            false
        } catch (_: java.net.SocketTimeoutException) {
            true
        } finally {
            listener.soTimeout = DEADLINE_MS
        }
    }

    override fun close() {
        peers.forEach(Peer::close)
        listener.close()
    }

    companion object {
        val DEADLINE_MS = deadline.inWholeMilliseconds.toInt()
    }
}

/** The server's end of one connection. */
class Peer(private val socket: Socket) : Closeable {
    private val input = BufferedInputStream(socket.getInputStream())
    private val output = socket.getOutputStream()

    val target: String
    val headers: Map<String, String>

    init {
        val (_, path) = readLine().split(' ')
        target = path
        headers = generateSequence { readLine().takeIf { it.isNotEmpty() } }
            .associate { it.substringBefore(':').trim().lowercase() to it.substringAfter(':').trim() }
    }

    /** The parameters of the request's query, in order. */
    val query: List<String>
        get() = target.substringAfter('?', "").split('&').filter { it.isNotEmpty() }

    private fun readLine(): String {
        val line = ByteArrayOutputStream()
        while (true) {
            val b = input.read()
            if (b < 0) throw EOFException()
            if (b == '\n'.code) return line.toString(Charsets.UTF_8).trimEnd('\r')
            line.write(b)
        }
    }

    fun write(text: String) = write(text.toByteArray())

    fun write(bytes: ByteArray) {
        output.write(bytes)
        output.flush()
    }

    fun refuse(status: Int, vararg headers: String) {
        write("HTTP/1.1 $status Refused\r\nContent-Length: 0\r\n" + headers.joinToString("") { "$it\r\n" } + "\r\n")
        close()
    }

    /** The request's body as JSON. */
    fun body(): JsonObject =
        Json.parseToJsonElement(ByteArray(headers.getValue("content-length").toInt()) { read().toByte() }.decodeToString()).jsonObject

    fun respond(status: Int, body: String = "", vararg headers: String, type: String = "application/json") = write(
        "HTTP/1.1 $status Answer\r\nContent-Type: $type\r\nContent-Length: ${body.toByteArray().size}\r\nConnection: close\r\n" +
            headers.joinToString("") { "$it\r\n" } + "\r\n" + body,
    )

    /** One event of a stream. */
    fun event(name: String, data: String, id: String? = null) =
        write("event: $name\n" + (id?.let { "id: $it\n" } ?: "") + "data: $data\n\n")

    fun upgrade() {
        val accept = MessageDigest.getInstance("SHA-1")
            .digest((headers.getValue("sec-websocket-key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").toByteArray())
        write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
                "Sec-WebSocket-Accept: ${Base64.getEncoder().encodeToString(accept)}\r\n\r\n",
        )
    }

    fun send(text: String) = frame(1, text.toByteArray())

    fun frame(opcode: Int, payload: ByteArray) {
        val frame = ByteArrayOutputStream()
        frame.write(0x80 or opcode)
        when {
            payload.size < 126 -> frame.write(payload.size)
            payload.size < 65536 -> {
                frame.write(126)
                frame.write(payload.size shr 8)
                frame.write(payload.size and 0xff)
            }
            else -> {
                frame.write(127)
                for (shift in 56 downTo 0 step 8) frame.write((payload.size.toLong() shr shift).toInt() and 0xff)
            }
        }
        frame.write(payload)
        write(frame.toByteArray())
    }

    fun sendClose(code: Int, reason: String = "") =
        frame(8, byteArrayOf((code shr 8).toByte(), code.toByte()) + reason.toByteArray())

    /** The next text frame as JSON; control frames are skipped. */
    fun receive(): JsonObject {
        while (true) {
            val (opcode, payload) = readFrame()
            if (opcode == 1) return Json.parseToJsonElement(payload.toString(Charsets.UTF_8)).jsonObject
            if (opcode == 8) throw EOFException("closed by the client")
        }
    }

    private fun readFrame(): Pair<Int, ByteArray> {
        val opcode = readByte() and 0x0f
        val length = when (val short = readByte() and 0x7f) {
            126 -> (readByte() shl 8) or readByte()
            127 -> (0 until 8).fold(0L) { sum, _ -> (sum shl 8) or readByte().toLong() }.toInt()
            else -> short
        }
        val mask = ByteArray(4) { readByte().toByte() }
        return opcode to ByteArray(length) { i -> (readByte() xor mask[i % 4].toInt()).toByte() }
    }

    /** The next byte of the request's body. */
    fun read(): Int = readByte()

    private fun readByte(): Int = input.read().also { if (it < 0) throw EOFException() }

    /** Returns when the client has disconnected. */
    fun awaitEnd() {
        try {
            while (input.read() >= 0) Unit
        } catch (_: SocketException) {
            // A reset also ends the connection.
        }
    }

    override fun close() = socket.close()
}
