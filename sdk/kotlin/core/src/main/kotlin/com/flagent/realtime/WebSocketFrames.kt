package com.flagent.realtime

import java.io.DataInputStream
import java.io.EOFException
import java.io.InputStream
import java.nio.ByteBuffer
import java.security.MessageDigest
import kotlin.io.encoding.Base64

/** The items of a server's frames (RFC 6455, section 5). */
internal sealed interface FrameItem {
    class Text(val text: String) : FrameItem

    data object Binary : FrameItem

    class Ping(val payload: ByteArray) : FrameItem

    class Close(val code: Int, val reason: String) : FrameItem

    /** A pong, or a part of a larger item: it only shows that the connection is alive. */
    data object Partial : FrameItem
}

/** The server violated the protocol or exceeded the maximum message size; [code] is the close code to send. */
internal class FrameError(val code: Int, message: String) : Exception(message)

/** Reads a server's frames. Blocks; [next] raises [FrameError], [EOFException] at the end, and exceptions of the stream. */
internal class FrameReader(stream: InputStream, private val limit: Int) {
    private val input = DataInputStream(stream)
    private var opcodeOfMessage = 0
    private var message = ByteArray(0)

    // The frame that is read in parts.
    private var opcode = 0
    private var isFinal = false
    private var payload = ByteArray(0)
    private var filled = 0
    private var isInFrame = false

    fun next(): FrameItem {
        if (!isInFrame) readHeader()
        val count = minOf(MAX_READ, payload.size - filled)
        input.readFully(payload, filled, count)
        filled += count
        if (filled < payload.size) return FrameItem.Partial
        isInFrame = false
        return finish()
    }

    private fun readHeader() {
        val first = input.readUnsignedByte()
        val second = input.readUnsignedByte()
        if (first and 0x70 != 0) throw FrameError(PROTOCOL_ERROR, "A frame uses an extension that was not negotiated.")
        if (second and 0x80 != 0) throw FrameError(PROTOCOL_ERROR, "A frame of the server is masked.")
        isFinal = first and 0x80 != 0
        opcode = first and 0x0f
        val size = when (val short = second and 0x7f) {
            126 -> input.readUnsignedShort().toLong()
            127 -> input.readLong()
            else -> short.toLong()
        }
        if (opcode >= CLOSE && (!isFinal || size > 125)) throw FrameError(PROTOCOL_ERROR, "A control frame is too long.")
        if (size < 0 || message.size + size > limit) throw FrameError(TOO_BIG, "A message exceeds maxMessageBytes ($limit).")
        payload = ByteArray(size.toInt())
        filled = 0
        isInFrame = true
    }

    private fun finish(): FrameItem = when (opcode) {
        CONTINUATION, TEXT, BINARY -> finishData()
        CLOSE -> {
            val code = if (payload.size < 2) NO_CODE else ByteBuffer.wrap(payload).short.toInt() and 0xffff
            FrameItem.Close(code, String(payload, minOf(2, payload.size), maxOf(0, payload.size - 2), Charsets.UTF_8))
        }
        PING -> FrameItem.Ping(payload)
        PONG -> FrameItem.Partial
        else -> throw FrameError(PROTOCOL_ERROR, "A frame has the unknown opcode $opcode.")
    }

    private fun finishData(): FrameItem {
        if ((opcode == CONTINUATION) != (opcodeOfMessage != 0)) {
            throw FrameError(PROTOCOL_ERROR, "The frames of a message are out of order.")
        }
        if (opcode != CONTINUATION) opcodeOfMessage = opcode
        message = if (message.isEmpty()) payload else message + payload
        if (!isFinal) return FrameItem.Partial
        val item = if (opcodeOfMessage == TEXT) FrameItem.Text(String(message, Charsets.UTF_8)) else FrameItem.Binary
        opcodeOfMessage = 0
        message = ByteArray(0)
        return item
    }

    private companion object {
        const val MAX_READ = 64 * 1024
    }
}

internal const val CONTINUATION = 0
internal const val TEXT = 1
internal const val BINARY = 2
internal const val CLOSE = 8
internal const val PING = 9
internal const val PONG = 10
internal const val NORMAL = 1000
internal const val PROTOCOL_ERROR = 1002
internal const val NO_CODE = 1005
internal const val TOO_BIG = 1009

/** A final frame of a client, masked with the four bytes of [mask], which must be unpredictable. */
internal fun clientFrame(opcode: Int, payload: ByteArray, mask: ByteArray): ByteArray {
    val frame = ByteBuffer.allocate(14 + payload.size)
    frame.put((0x80 or opcode).toByte())
    when {
        payload.size < 126 -> frame.put((0x80 or payload.size).toByte())
        payload.size < 0x10000 -> frame.put((0x80 or 126).toByte()).putShort(payload.size.toShort())
        else -> frame.put((0x80 or 127).toByte()).putLong(payload.size.toLong())
    }
    frame.put(mask)
    for (i in payload.indices) frame.put((payload[i].toInt() xor mask[i and 3].toInt()).toByte())
    return frame.array().copyOf(frame.position())
}

/** The server's response to the key of a handshake (RFC 6455, section 4.2.2). */
internal fun acceptFor(key: String): String = Base64.encode(
    MessageDigest.getInstance("SHA-1").digest((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").toByteArray()),
)
