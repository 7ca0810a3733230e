package com.flagent.realtime

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Tag
import org.junit.jupiter.api.Test
import kotlin.time.Duration.Companion.milliseconds

/** The event stream client on real sockets. Names in parentheses are the cases of the behaviour table. */
@Tag("engine")
class SseClientTest {
    private val server = ScriptedServer()
    private val errors = Received<FlagentException>()
    private val clients = mutableListOf<AutoCloseable>()

    private fun client(
        key: String? = null,
        reconnect: ReconnectConfig = eager,
        options: ClientOptions = ClientOptions(onError = errors::add),
    ) = FlagentSSEClient(server.http, key, reconnect, options).also(clients::add)

    private fun nextError(): FlagentException =
        generateSequence { errors.next() }.first { it !is ConnectionLostException }

    @AfterEach
    fun close() {
        clients.forEach { it.close() }
        server.close()
    }

    @Test
    fun `the request carries the key in a header, the selection and nothing else (tc-key, tc-sse-request)`() {
        val client = client("secret", options = ClientOptions(onError = errors::add, start = false))
        client.subscribeFlag("a b&c") { }
        client.subscribeTags(listOf("t")) { }
        client.subscribeSegments { }
        client.start()
        val peer = server.acceptStream()
        assertEquals("secret", peer.headers["x-api-key"])
        assertEquals("text/event-stream", peer.headers["accept"])
        assertEquals(listOf("flag=a+b%26c", "tag=t", "segments=true", "envelope=true"), peer.query)
        assertNull(peer.headers["last-event-id"])
        assertFalse("secret" in peer.target)
    }

    @Test
    fun `a store requests a snapshot`() {
        FlagStore(client())
        assertEquals(listOf("envelope=true", "snapshot=true"), server.acceptStream().query)
    }

    @Test
    fun `a key function is called for every connection, and once more after a 401 (tc-key-function)`() {
        var calls = 0
        val client = FlagentSSEClient(server.http, { "key${++calls}" }, eager, ClientOptions(onError = errors::add)).also(clients::add)
        client.subscribe { }
        server.accept().run {
            assertEquals("key1", headers["x-api-key"])
            refuse(401)
        }
        server.acceptStream(": hello\n\n").run {
            assertEquals("key2", headers["x-api-key"])
            close()
        }
        server.accept().run {
            assertEquals("key3", headers["x-api-key"])
            refuse(401)
        }
        server.accept().refuse(401)
        assertEquals(401, (nextError() as ConnectionRefusedException).status)
        assertTrue(server.isLeftAlone())
    }

    @Test
    fun `a 401 ends the client and its store, once (tc-401)`() {
        val client = client("wrong")
        val store = FlagStore(client)
        server.accept().refuse(401)
        assertEquals(401, (nextError() as ConnectionRefusedException).status)
        eventually("ERROR") { store.status.value == StoreStatus.ERROR }
        assertThrows(ConnectionRefusedException::class.java) { runBlocking { store.ready(deadline) } }
        assertThrows(ConnectionRefusedException::class.java) { client.subscribe { } }
        assertEquals(ConnectionState.FAILED, client.state.value)
        assertTrue(server.isLeftAlone())
        assertTrue(errors.isQuiet())
    }

    @Test
    fun `a 403 and a response without an event stream are fatal too (tc-403)`() {
        client().subscribe { }
        server.accept().refuse(403)
        assertEquals(403, (nextError() as ConnectionRefusedException).status)
        client().subscribe { }
        server.accept().write("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi")
        assertTrue(nextError() is ConnectionRefusedException)
    }

    @Test
    fun `a 503 is retried, not before Retry-After (tc-503)`() {
        client().subscribe { }
        val peer = server.accept()
        val start = System.nanoTime()
        peer.refuse(503, "Retry-After: 1")
        server.acceptStream()
        assertTrue(System.nanoTime() - start > 900_000_000)
    }

    @Test
    fun `a redirect is followed, the key stays with its origin (tc-redirect)`() {
        ScriptedServer().use { other ->
            client("secret").subscribe { }
            server.accept().run { refuse(307, "Location: /elsewhere?x=1") }
            server.accept().run {
                assertEquals("/elsewhere?x=1", target)
                assertEquals("secret", headers["x-api-key"])
                refuse(302, "Location: http://localhost:${other.port}/y")
            }
            other.acceptStream().run {
                assertEquals("/y?x=1", target)
                assertNull(headers["x-api-key"])
            }
        }
    }

    @Test
    fun `by default a client gives up after ten attempts, and never while it feeds a store (tc-unlimited)`() {
        val quick = ReconnectConfig(initialDelay = 1.milliseconds, maxDelay = 1.milliseconds)
        val plain = client(reconnect = quick)
        plain.subscribe { }
        repeat(11) { server.accept().refuse(503) }
        eventually("the client gives up") { plain.state.value == ConnectionState.FAILED }
        val store = FlagStore(client(reconnect = quick))
        repeat(20) { server.accept().refuse(503) }
        server.acceptStream().run {
            sse(connected(10))
            sse(snapshot(10, flag("a")))
        }
        runBlocking { store.ready(deadline) }
    }

    @Test
    fun `a target without a query keeps the selection (tc-redirect)`() {
        val store = FlagStore(client(), Selection(flags = setOf("a")))
        server.accept().run { refuse(307, "Location: /elsewhere") }
        server.acceptStream().run {
            assertEquals(listOf("flag=a", "envelope=true", "snapshot=true"), query)
            sse(connected(10))
            sse(snapshot(10, flag("a")))
        }
        runBlocking { store.ready(deadline) }
    }

    @Test
    fun `events are typed, whether enveloped or as in the promised form`() {
        val received = Received<FlagentEvent>()
        client().subscribe(received::add)
        val peer = server.acceptStream("\uFEFFretry: 1\n\n")
        peer.event("flag_created", """{"key": "new_feature", "enabled": false}""")
        peer.sse(changed("a", "1-0@k", ""","enabled":true"""))
        peer.event("flag_deleted", """{"key": "old_feature", "id": 4}""", "2-0@k")
        received.next().run {
            assertEquals(EventType.FLAG_CREATED, type)
            assertEquals("new_feature", (data as Flag).key)
        }
        val first = received.next()
        assertEquals(EventType.FLAG_UPDATED, first.type)
        assertTrue((first.data as Flag).enabled)
        assertEquals("2026-11-23T08:00:00.123456Z", first.committedAt.toString())
        received.next().run {
            assertEquals(EventType.FLAG_DELETED, type)
            assertEquals("old_feature", data)
            assertEquals(4, flagID)
        }
    }

    @Test
    fun `a lost stream resumes after the last id, keep-alive ids count (tc-resume, tc-keep-alive)`() {
        val received = Received<FlagentEvent>()
        client().subscribe(received::add)
        server.acceptStream().run {
            sse(connected(10))
            sse(changed("a", "11-0@k"))
            assertEquals("11-0@k", received.next().id)
            close()
        }
        server.acceptStream().run {
            assertEquals("11-0@k", headers["last-event-id"])
            sse(connected(12))
            write(": keep-alive position=15 fresh=true ageMs=1\nid: 15@k\n\n")
            sse(changed("a", "16-0@k"))
            assertEquals("16-0@k", received.next().id)
            write(": keep-alive position=20 fresh=true ageMs=1\nid: 20@k\n\n")
            write("event: flag_updated\nid: 21-0@k\ndata: {\"cut\":")
            close()
        }
        assertEquals("20@k", server.acceptStream().headers["last-event-id"])
    }

    @Test
    fun `a stream lost before its first event resumes at the position of connected`() {
        client().subscribe { }
        server.acceptStream().run {
            sse(connected(10))
            write("data: {}\n\n")
            eventually("connected") { clients.filterIsInstance<FlagentSSEClient>().single().state.value == ConnectionState.CONNECTED }
            close()
        }
        assertEquals("10@k", server.acceptStream().headers["last-event-id"])
    }

    @Test
    fun `the snapshot is requested again if the stream is lost before it (tc-lost-before-snapshot)`() {
        val client = client()
        val store = FlagStore(client)
        server.acceptStream().run {
            sse(connected(10))
            eventually("connected") { client.state.value == ConnectionState.CONNECTED }
            close()
        }
        server.acceptStream().run {
            assertTrue("snapshot=true" in query)
            assertNull(headers["last-event-id"])
            sse(connected(11))
            sse(snapshot(11, flag("a")))
        }
        runBlocking { store.ready(deadline) }
        assertEquals("a", store["a"]?.key)
    }

    @Test
    fun `duplicates are dropped before any handler (tc-duplicate)`() {
        val received = Received<String>()
        client().subscribe { received.add(it.id!!) }
        server.acceptStream().run {
            for (id in listOf("5-0@k", "5-1@k", "5-0@k", "4-0@k", "5-1@k", "6-0@k", "1-0@z", "2-0@z")) sse(changed("a", id))
        }
        assertEquals(listOf("5-0@k", "5-1@k", "6-0@k", "1-0@z", "2-0@z"), List(5) { received.next() })
        assertTrue(received.isQuiet())
    }

    @Test
    fun `malformed events are reported and skipped (tc-malformed)`() {
        val received = Received<String>()
        client().subscribe { received.add(it.typeName) }
        server.acceptStream().run {
            event("flag_updated", "{oops")
            event("flag_updated", "[1]")
            event("snapshot", "{}")
            write(byteArrayOf(-1, -2, 10, 10))
            event("flag_painted", """{"flagKey":"a"}""", "3-0@k")
            sse(changed("a", "4-0@k"))
        }
        repeat(3) { assertTrue(errors.next() is MalformedMessageException) }
        assertEquals("flag_painted", received.next())
        assertEquals("flag_updated", received.next())
    }

    @Test
    fun `the client recovers from a hundred disconnects in a row`() {
        val received = Received<String>()
        client().subscribe { received.add(it.id!!) }
        for (i in 1..100) {
            server.acceptStream().run {
                sse(connected(i - 1L))
                if (i % 3 == 0) sse(changed("a", "$i-0@k"))
                close()
            }
        }
        server.acceptStream().sse(changed("a", "101-0@k"))
        eventually("the last event") { received.next() == "101-0@k" }
    }

    @Test
    fun `a message above the limit drops the connection, which resumes (tc-too-big)`() {
        client(options = ClientOptions(maxMessageBytes = 1000, onError = errors::add)).subscribe { }
        server.acceptStream().run {
            sse(changed("a", "4-0@k"))
            write("data: " + "x".repeat(2000))
        }
        assertEquals("4-0@k", server.acceptStream().headers["last-event-id"])
        assertTrue("1000" in errors.next().message!!)
    }

    @Test
    fun `a retry of the server is the minimum wait (tc-retry)`() {
        client(reconnect = eager.copy(maxDelay = 600.milliseconds)).subscribe { }
        val start: Long
        server.acceptStream("retry: 500\n\n").run {
            sse(changed("a", "4-0@k"))
            start = System.nanoTime()
            close()
        }
        server.acceptStream()
        assertTrue(System.nanoTime() - start > 450_000_000)
    }

    @Test
    fun `a silent connection is dropped and resumed (tc-half-open)`() {
        val store = FlagStore(client())
        val silent = server.acceptStream().apply {
            sse(connected(10, heartbeatMs = 2000))
            sse(snapshot(10, flag("a")))
        }
        runBlocking { store.ready(deadline) }
        silent.awaitEnd()
        eventually("STALE") { store.status.value == StoreStatus.STALE }
        server.acceptStream().run {
            assertEquals("10@k", headers["last-event-id"])
            sse(connected(10))
        }
        eventually("READY") { store.status.value == StoreStatus.READY }
    }

    @Test
    fun `a resync replaces the state and is delivered (tc-resync)`() {
        val client = client()
        val store = FlagStore(client)
        val events = Received<FlagentEvent>()
        val flags = Received<Flag>()
        client.onEvent(events::add)
        client.subscribeFlag("a", flags::add)
        server.acceptStream().run {
            sse(connected(10))
            sse(snapshot(10, flag("a"), flag("b")))
            runBlocking { store.ready(deadline) }
            sse("""{"type":"resync","id":"50@k","reason":"pruned","snapshot":{"position":"50","flags":[${flag("a", ""","enabled":true""")}]}}""")
        }
        assertTrue(flags.next().enabled)
        events.next().run {
            assertEquals(EventType.RESYNC, type)
            assertEquals("pruned", (data as Snapshot).reason)
        }
        assertNull(store["b"])
        assertTrue(store["a"]!!.enabled)
        assertTrue(flags.isQuiet())
    }

    @Test
    fun `a new subscription makes a new request that resumes (tc-subscribe-live)`() {
        val client = client()
        client.subscribeFlag("a") { }
        server.acceptStream().run {
            sse(connected(10))
            sse(changed("a", "11-0@k"))
            eventually("connected") { client.state.value == ConnectionState.CONNECTED }
            client.subscribeFlag("b") { }
            awaitEnd()
        }
        server.acceptStream().run {
            assertEquals(listOf("flag=a", "flag=b", "envelope=true"), query)
            assertEquals("11-0@k", headers["last-event-id"])
            client.unsubscribe()
            awaitEnd()
        }
        assertTrue(server.isLeftAlone())
        assertEquals(ConnectionState.IDLE, client.state.value)
    }

    @Test
    fun `a snapshot repairs a store whose digest differs (tc-heal)`() {
        val client = client()
        val store = FlagStore(client)
        server.acceptStream().run {
            sse(connected(10))
            sse(snapshot(10, flag("a")))
            runBlocking { store.ready(deadline) }
            write(": keep-alive position=12 fresh=true ageMs=1 digest=1:00000000\nid: 12@k\n\n")
            awaitEnd()
        }
        server.acceptStream().run {
            assertTrue("snapshot=true" in query)
            assertNull(headers["last-event-id"])
            sse(connected(12))
            sse(snapshot(12, flag("a", ""","n":5""")))
            eventually("repaired") { store["a"]?.raw?.int("n") == 5 }
            write(": keep-alive position=12 fresh=true ageMs=1 digest=${store.digest}\nid: 12@k\n\n")
        }
        eventually("READY") { store.status.value == StoreStatus.READY }
    }

    @Test
    fun `close while waiting for the next attempt ends at once (tc-close-while-waiting)`() {
        val client = client(reconnect = ReconnectConfig(initialDelay = deadline * 2))
        client.subscribe { }
        server.accept().refuse(503, "Retry-After: 3600")
        eventually("waiting") { client.state.value == ConnectionState.RECONNECTING }
        val start = System.nanoTime()
        client.close()
        assertTrue(System.nanoTime() - start < deadline.inWholeNanoseconds)
        assertEquals(ConnectionState.CLOSED, client.state.value)
    }

    @Test
    fun `a slow handler stops the reading, not the connection (tc-slow-handler)`() {
        val gate = CompletableDeferred<Unit>()
        val received = Received<String>()
        val client = client(options = ClientOptions(queueSize = 4, onError = errors::add))
        client.subscribe {
            received.add(it.id!!)
            gate.await()
        }
        val peer = server.acceptStream()
        peer.sse(connected(0, heartbeatMs = 2000))
        val writer = Thread {
            for (i in 1..40) peer.sse(changed("a", "$i-0@k", ""","pad":"${"x".repeat(1_000_000)}""""))
        }
        writer.start()
        received.next()
        // A pause of the client of 2 s × 2.5 does not count as silence of the server.
        assertTrue(server.isLeftAlone(6000))
        assertTrue(writer.isAlive, "40 MB went into a queue of four messages")
        gate.complete(Unit)
        assertEquals((2..40).map { "$it-0@k" }, List(39) { received.next() })
        writer.join()
    }
}
