package com.flagent.realtime

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Tag
import org.junit.jupiter.api.Test
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.minutes
import kotlin.time.Duration.Companion.seconds

/** The client that chooses its transport, on real sockets. Names in parentheses are the cases of the behaviour table. */
@Tag("engine")
class FlagentClientTest {
    private val server = ScriptedServer()
    private val errors = Received<FlagentException>()
    private val clients = mutableListOf<AutoCloseable>()

    private fun client(connectTimeout: Duration = 10.seconds, retryBetterAfter: Duration = 5.minutes, pollInterval: Duration = 50.milliseconds) =
        FlagentClient(
            "http://localhost:${server.port}/",
            "k",
            eager,
            ClientOptions(connectTimeout = connectTimeout, onError = errors::add),
            NetworkOptions(pollInterval = pollInterval, retryBetterAfter = retryBetterAfter),
        ).also(clients::add)

    @AfterEach
    fun close() {
        clients.forEach { it.close() }
        server.close()
    }

    private fun acceptAt(path: String): Peer = server.accept().also { assertEquals(path, it.target.substringBefore('?')) }

    private fun Peer.openStream() = write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\r\n")

    private fun Peer.answer(status: Int, body: String, vararg headers: String, type: String = "application/json") = write(
        "HTTP/1.1 $status Answer\r\nContent-Type: $type\r\nContent-Length: ${body.length}\r\nConnection: close\r\n" +
            headers.joinToString("") { "$it\r\n" } + "\r\n" + body,
    )

    private fun refuseStreams() {
        acceptAt("/ws").refuse(403 + 1)
        acceptAt("/api/v1/events/stream").answer(200, "<html>", type = "text/html")
    }

    @Test
    fun `a proxy that refuses upgrades is left for the event stream, and nothing else changes (tc-transport-fallback)`() {
        val client = client()
        val store = FlagStore(client)
        acceptAt("/ws").refuse(400)
        acceptAt("/api/v1/events/stream").run {
            openStream()
            sse(connected(3))
            sse(snapshot(3, flag("a")))
            runBlocking { store.ready(deadline) }
            assertEquals(TransportName.SSE, client.transport)
            sse(changed("a", "4-0@k", ""","enabled":true"""))
            eventually("the change") { store["a"]!!.enabled }
        }
        assertTrue(errors.next() is ConnectionLostException)
    }

    @Test
    fun `connected, but held back by a proxy (tc-transport-silent)`() {
        val client = client(connectTimeout = 2.seconds)
        val store = FlagStore(client)
        val held = server.acceptWebSocket()
        acceptAt("/api/v1/events/stream").openStream()
        // On a busy machine a request may have been given up before it is read; the client repeats it.
        val polling = generateSequence { runCatching { acceptAt("/api/v1/snapshot") }.onFailure { if (it !is java.io.EOFException) throw it } }
        polling.first { it.isSuccess }.getOrThrow().answer(200, snapshot(3, flag("a")), "ETag: \"3\"", "Flagent-Position: 3@k")
        runBlocking { store.ready(deadline) }
        assertEquals(TransportName.POLLING, client.transport)
        held.awaitEnd()
    }

    @Test
    fun `a refused connection says nothing about the transport (tc-transport-refused)`() {
        val closed = java.net.ServerSocket(0).use { it.localPort }
        val client = FlagentClient("http://localhost:$closed", null, eager, ClientOptions(onError = errors::add)).also(clients::add)
        client.subscribe { }
        repeat(5) { assertTrue(errors.next() is ConnectionLostException) }
        assertEquals(TransportName.WEBSOCKET, client.transport)
    }

    @Test
    fun `the third loss within 30 s is for the next transport, which resumes (tc-transport-lost)`() {
        val client = client()
        val store = FlagStore(client)
        repeat(3) { n ->
            server.acceptWebSocket().run {
                receive()
                send(connected(3, type = "subscribed"))
                if (n == 0) {
                    send(snapshot(3, flag("a")))
                    runBlocking { store.ready(deadline) }
                }
                close()
            }
        }
        acceptAt("/api/v1/events/stream").run {
            assertEquals("3@k", headers["last-event-id"])
            openStream()
            sse(connected(3))
            eventually("the event stream") { store.status.value == StoreStatus.READY && client.transport == TransportName.SSE }
        }
    }

    @Test
    fun `polling brings snapshots, and a 304 is a sign of life (tc-polling)`() {
        val client = client()
        val store = FlagStore(client)
        val changes = Received<String>()
        store.onChange { changes.add("${it.kind} ${it.key}") }
        val events = Received<EventType>()
        client.onEvent { events.add(it.type) }
        refuseStreams()
        acceptAt("/api/v1/snapshot").run {
            assertEquals("k", headers["x-api-key"])
            assertNull(headers["if-none-match"])
            answer(200, snapshot(3, flag("a")), "ETag: \"e3\"", "Flagent-Position: 3@k")
        }
        assertEquals("CREATED a", changes.next())
        assertEquals(EventType.RESYNC, events.next())
        acceptAt("/api/v1/snapshot").run {
            assertEquals("\"e3\"", headers["if-none-match"])
            assertTrue("waitMs=8000" in query)
            write("HTTP/1.1 304 Not Modified\r\nFlagent-Position: 4@k\r\nFlagent-Stale: 7\r\nConnection: close\r\n\r\n")
        }
        eventually("stale, as the server says") { store.status.value == StoreStatus.STALE && store.position == 4L }
        acceptAt("/api/v1/snapshot").answer(200, snapshot(5, flag("a", ""","enabled":true"""), flag("b")), "ETag: \"e5\"", "Flagent-Position: 5@k")
        assertEquals(listOf("UPDATED a", "CREATED b"), List(2) { changes.next() })
        eventually("ready") { store.status.value == StoreStatus.READY && store.lastEventID == "5@k" }
        assertEquals(TransportName.POLLING, client.transport)
    }

    @Test
    fun `the better transport is tried beside the one that works, and taken over (tc-transport-back)`() {
        val client = client(retryBetterAfter = 300.milliseconds)
        val store = FlagStore(client)
        acceptAt("/ws").refuse(400)
        val stream = acceptAt("/api/v1/events/stream").apply {
            openStream()
            sse(connected(3))
            sse(snapshot(3, flag("a")))
        }
        runBlocking { store.ready(deadline) }
        acceptAt("/ws").refuse(400)
        assertEquals(StoreStatus.READY, store.status.value)
        // The second probe works: its first message decides.
        server.acceptWebSocket().run {
            assertEquals("ping", receive().text("type"))
            assertEquals(TransportName.SSE, client.transport)
            send("""{"type":"pong"}""")
        }
        server.acceptWebSocket().run {
            assertEquals("3@k", receive().text("lastEventId"))
            send(connected(3, type = "subscribed"))
        }
        stream.awaitEnd()
        eventually("the WebSocket") { store.status.value == StoreStatus.READY && client.transport == TransportName.WEBSOCKET }
    }

    @Test
    fun `a selection that an event stream cannot carry stays with the WebSocket (tc-transport-limits)`() {
        val client = client()
        FlagStore(client, Selection(flags = (1..1500).map { "f$it" }.toSet()))
        repeat(3) { acceptAt("/ws").refuse(400) }
        assertEquals(TransportName.WEBSOCKET, client.transport)
        val refusals = generateSequence { errors.next() }.filter { it is SelectionTooLargeException }.first()
        assertTrue("1500" in refusals.message!!)
    }

    @Test
    fun `401 is fatal on every transport (tc-401)`() {
        val client = client()
        client.subscribe { }
        acceptAt("/ws").refuse(401)
        eventually("failed") { client.state.value == ConnectionState.FAILED }
    }
}
