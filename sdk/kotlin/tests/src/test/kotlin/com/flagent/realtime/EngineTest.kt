package com.flagent.realtime

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Tag
import org.junit.jupiter.api.Test
import java.io.IOException
import java.net.URI
import kotlin.concurrent.thread
import kotlin.time.Duration.Companion.seconds

/** The engine on the class path: what the clients need of it. */
@Tag("engine")
class EngineTest {
    private val server = ScriptedServer()
    private val engine = SharedEngine(null, 10.seconds)

    @AfterEach
    fun close() {
        engine.close()
        server.close()
    }

    private fun Peer.problem(status: Int, detail: String) {
        val body = """{"type":"about:blank","title":"Refused","detail":"$detail"}"""
        write("HTTP/1.1 $status Refused\r\nContent-Type: application/problem+json\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n$body")
    }

    @Test
    fun `a refusal is reported with the server's own sentence (tc-error-names-cause)`() {
        val clients = listOf(
            { options: ClientOptions -> FlagentWebSocketClient(server.ws, "k", eager, options) },
            { options: ClientOptions -> FlagentSSEClient(server.http, "k", eager, options) },
        )
        for (make in clients) {
            val errors = Received<FlagentException>()
            make(ClientOptions(onError = errors::add)).use { client ->
                client.subscribeAll { }
                server.accept().problem(503, "The server is starting.")
                assertEquals("The server responded with 503: The server is starting.", errors.next().message)
                server.accept().problem(403, "This key may not subscribe.")
                assertEquals("The server responded with 403: This key may not subscribe.", errors.next().message)
            }
        }
    }

    @Test
    fun `a request has its method, headers and body, and a response its parts`() = runBlocking {
        val peers = Received<Peer>()
        val answering = thread {
            val peer = server.accept()
            peers.add(peer)
            val body = ByteArray(peer.headers.getValue("content-length").toInt()) { peer.read().toByte() }
            peer.write("HTTP/1.1 202 Accepted\r\nX-Answer: yes\r\nContent-Length: ${body.size}\r\n\r\n")
            peer.write(body)
        }
        val request = EngineRequest(
            "POST",
            URI("http://localhost:${server.port}/a?b=c"),
            mapOf("Content-Type" to "application/json", "X-API-Key" to "k"),
            "[1]".toByteArray(),
        )
        val response = engine.engine.send(request)
        assertEquals(202, response.status)
        assertEquals("yes", response.header("x-answer"))
        assertEquals("[1]", response.body.read()!!.decodeToString())
        assertNull(response.body.read())
        response.body.close()
        answering.join()
        val peer = peers.next()
        assertEquals("/a?b=c", peer.target)
        assertEquals("k", peer.headers["x-api-key"])
        assertEquals("application/json", peer.headers["content-type"])
    }

    @Test
    fun `no connection is an IOException, and closing ends a waiting read`() {
        val closed = java.net.ServerSocket(0).use { it.localPort }
        assertThrows(IOException::class.java) {
            runBlocking { engine.engine.send(EngineRequest("GET", URI("http://localhost:$closed/"), emptyMap())) }
        }
        val streaming = thread { server.acceptStream("data: 1\n\n") }
        val response = runBlocking { engine.engine.send(EngineRequest("GET", URI("http://localhost:${server.port}/"), emptyMap())) }
        streaming.join()
        assertTrue(runBlocking { response.body.read() }!!.decodeToString().startsWith("data"))
        val reading = thread { assertThrows(Exception::class.java) { runBlocking { response.body.read() } } }
        eventually("the read waits") { reading.state != Thread.State.RUNNABLE }
        response.body.close()
        reading.join(5_000)
        assertFalse(reading.isAlive)
    }
}
