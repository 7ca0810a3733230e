package com.flagent.realtime

import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Test
import java.io.ByteArrayInputStream
import java.io.ByteArrayOutputStream
import java.io.EOFException

class WebSocketFramesTest {
    private fun frame(first: Int, payload: ByteArray, size: ByteArray = byteArrayOf(payload.size.toByte())) =
        ByteArrayOutputStream().apply {
            write(first)
            write(size)
            write(payload)
        }.toByteArray()

    private fun reader(vararg frames: ByteArray, limit: Int = 1_000_000) =
        FrameReader(ByteArrayInputStream(frames.fold(byteArrayOf()) { all, next -> all + next }), limit)

    private fun FrameReader.message(): FrameItem = generateSequence { next() }.first { it != FrameItem.Partial }

    @Test
    fun `a fragmented message, with a ping in between`() {
        val reader = reader(
            frame(0x01, "Hel".toByteArray()),
            frame(0x89, "p".toByteArray()),
            frame(0x00, byteArrayOf()),
            frame(0x80, "lo".toByteArray()),
        )
        assertEquals(FrameItem.Partial, reader.next())
        assertEquals("p", String((reader.next() as FrameItem.Ping).payload))
        assertEquals("Hello", (reader.message() as FrameItem.Text).text)
        assertThrows(EOFException::class.java) { reader.next() }
    }

    @Test
    fun `all three forms of a length`() {
        for (size in listOf(0, 125, 126, 65_535, 65_536, 200_000)) {
            val text = "x".repeat(size)
            val length = when {
                size < 126 -> byteArrayOf(size.toByte())
                size < 65_536 -> byteArrayOf(126, (size shr 8).toByte(), size.toByte())
                else -> byteArrayOf(127, 0, 0, 0, 0, (size shr 24).toByte(), (size shr 16).toByte(), (size shr 8).toByte(), size.toByte())
            }
            assertEquals(text, (reader(frame(0x81, text.toByteArray(), length)).message() as FrameItem.Text).text)
            // A server parses a client's frames by the same rule; only the mask bit and key differ.
            val sent = clientFrame(TEXT, text.toByteArray(), byteArrayOf(1, 2, 3, 4))
            assertEquals(1 + length.size + 4 + size, sent.size)
            assertEquals(length[0].toInt() or 0x80, sent[1].toInt() and 0xff)
            val masked = sent.copyOfRange(1 + length.size + 4, sent.size)
            val plain = ByteArray(size) { (masked[it].toInt() xor (it % 4 + 1)).toByte() }
            assertArrayEquals(text.toByteArray(), plain)
        }
    }

    @Test
    fun `close with and without a code`() {
        (reader(frame(0x88, byteArrayOf(3, 0xE9.toByte()) + "bye".toByteArray())).next() as FrameItem.Close).run {
            assertEquals(1001 to "bye", code to reason)
        }
        assertEquals(NO_CODE, (reader(frame(0x88, byteArrayOf())).next() as FrameItem.Close).code)
    }

    @Test
    fun `protocol violations are rejected`() {
        fun assertCode(code: Int, reader: FrameReader) =
            assertEquals(code, assertThrows(FrameError::class.java) { while (true) reader.next() }.code)
        assertCode(PROTOCOL_ERROR, reader(frame(0xC1, byteArrayOf())))
        assertCode(PROTOCOL_ERROR, reader(frame(0x81, byteArrayOf(0, 0, 0, 0), byteArrayOf(0x80.toByte()))))
        assertCode(PROTOCOL_ERROR, reader(frame(0x83, byteArrayOf())))
        assertCode(PROTOCOL_ERROR, reader(frame(0x80, byteArrayOf())))
        assertCode(PROTOCOL_ERROR, reader(frame(0x01, byteArrayOf()), frame(0x01, byteArrayOf())))
        assertCode(PROTOCOL_ERROR, reader(frame(0x09, byteArrayOf())))
        assertCode(TOO_BIG, reader(frame(0x81, ByteArray(11)), limit = 10))
        assertCode(TOO_BIG, reader(frame(0x01, ByteArray(6)), frame(0x80, ByteArray(6)), limit = 10))
        assertCode(TOO_BIG, reader(frame(0x81, byteArrayOf(), byteArrayOf(127, -1, 0, 0, 0, 0, 0, 0, 0))))
    }

    @Test
    fun `the response to the key of a handshake equals the example of the RFC`() {
        assertEquals("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", acceptFor("dGhlIHNhbXBsZSBub25jZQ=="))
    }
}
