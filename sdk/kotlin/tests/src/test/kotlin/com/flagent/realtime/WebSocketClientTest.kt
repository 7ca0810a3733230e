package com.flagent.realtime

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import kotlinx.serialization.json.jsonObject
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Tag
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import java.io.EOFException
import kotlin.time.Duration.Companion.seconds

/** The WebSocket client on real sockets. Names in parentheses are the cases of the behaviour table. */
@Tag("engine")
class WebSocketClientTest {
    private val server = ScriptedServer()
    private val errors = Received<FlagentException>()
    private val clients = mutableListOf<AutoCloseable>()

    private fun client(
        key: String? = null,
        reconnect: ReconnectConfig = eager,
        options: ClientOptions = ClientOptions(onError = errors::add),
    ) = FlagentWebSocketClient(server.ws, key, reconnect, options).also(clients::add)

    private fun nextError(): FlagentException = generateSequence { errors.next() }.first { it !is ConnectionLostException }

    private fun subscribed(position: Long, heartbeatMs: Int? = null) = connected(position, heartbeatMs, type = "subscribed")

    @AfterEach
    fun close() {
        clients.forEach { it.close() }
        server.close()
    }

    @Test
    fun `one subscribe carries the union of all selections (tc-key, tc-ws-subscribe)`() {
        val client = client("secret", options = ClientOptions(onError = errors::add, start = false))
        client.subscribe("a") { }
        client.subscribeFlag("b") { }
        client.subscribeTags(listOf("t")) { }
        client.subscribeSegments { }
        client.start()
        val peer = server.acceptWebSocket()
        assertEquals("secret", peer.headers["x-api-key"])
        assertEquals("/ws", peer.target)
        val message = peer.receive()
        assertEquals("""{"type":"subscribe","flags":["a","b"],"tags":["t"],"segments":true}""", message.toString())
    }

    @Test
    fun `everything and a snapshot for a store`() {
        FlagStore(client())
        val message = server.acceptWebSocket().receive()
        assertEquals("""{"type":"subscribe","subscribeAll":true,"snapshot":true,"requestId":"snapshot-1"}""", message.toString())
    }

    @Test
    fun `a large selection is sent in parts, a resume and a snapshot select everything for a moment (tc-many-selectors)`() {
        val client = client()
        val keys = List(2500) { "k".repeat(100) + it }
        val store = FlagStore(client, Selection(flags = keys.toSet(), tags = setOf("t")))
        val tagged = Received<List<String>>()
        client.subscribeTags(listOf("t")) { flags -> tagged.add(flags.map { it.key }) }
        for (start in listOf(""""snapshot":true,"requestId":"snapshot-1"""", """"lastEventId":"10@k"""")) {
            server.acceptWebSocket().run {
                val sent = generateSequence { receive() }.takeWhileInclusive { it.text("type") != "unsubscribe" }
                assertEquals("""{"type":"subscribe","subscribeAll":true,$start}""", sent.first().toString())
                assertEquals("""{"type":"unsubscribe","subscribeAll":true}""", sent.last().toString())
                val parts = sent.drop(1).dropLast(1)
                assertEquals(keys, parts.flatMap { it.texts("flags") })
                assertEquals(listOf("t"), parts.flatMap { it.texts("tags") })
                for (part in parts) {
                    assertEquals("subscribe", part.text("type"))
                    assertTrue(part.texts("flags").size <= 1000 && part.toString().length <= 66_000)
                }
                if ("snapshot" in start) {
                    send(subscribed(10))
                    send(snapshot(10, flag(keys[0]), flag("x")).dropLast(1) + ""","requestId":"snapshot-1"}""")
                    runBlocking { store.ready(deadline) }
                    close()
                } else {
                    send(subscribed(12))
                    send(changed("x", "11-0@k"))
                    send(changed(keys[2499], "12-0@k", ""","enabled":true,"tags":[{"id":1,"value":"t"}]"""))
                }
            }
        }
        assertEquals(listOf(keys[2499]), tagged.next(), "and not x, which the server sends for a moment")
        assertEquals(setOf(keys[2499]), store.filter { it.enabled }.map { it.key }.toSet())
        store.close()
    }

    private fun <T> Sequence<T>.takeWhileInclusive(goesOn: (T) -> Boolean): List<T> {
        val taken = mutableListOf<T>()
        for (item in this) {
            taken += item
            if (!goesOn(item)) break
        }
        return taken
    }

    @Test
    fun `what exceeds a limit is refused at once, and what was subscribed before stays (tc-selection-limits)`() {
        val stream = FlagentSSEClient(server.http)
        stream.use {
            for ((client, limit) in listOf(client() to 9999, stream to 1000)) {
                val most = client.subscribe(Selection(flags = List(limit - 1) { "f$it" }.toSet())) { }
                val store = FlagStore(client, Selection(flags = setOf("last", "f1")))
                client.subscribeFlag("f1") { }
                val refused = listOf(
                    { client.subscribeFlag("one more") { } },
                    { client.subscribeSegments { } },
                    { FlagStore(client, Selection(flagIDs = setOf(1))) },
                )
                for (refusal in refused) {
                    val error = assertThrows<IllegalArgumentException> { refusal() }
                    assertTrue("would select ${limit + 1} " in error.message!! && " is $limit;" in error.message!!, error.message)
                }
                store.close()
                client.subscribeFlag("one more") { }
                most.close()
                for (key in listOf("", "k".repeat(257))) assertThrows<IllegalArgumentException> { client.subscribeFlag(key) { } }
            }
        }
    }

    @Test
    fun `a request connects without any subscription (tc-evaluate-alone)`() {
        val client = client()
        runBlocking {
            val result = async(Dispatchers.IO) { client.evaluate("a", "e") }
            server.acceptWebSocket().run {
                val id = receive().text("requestId")
                send("""{"type":"evaluation_result","requestId":"$id","position":"10","result":{"flagKey":"a"}}""")
                assertEquals("a", result.await().flagKey)
            }
        }
    }

    @Test
    fun `handlers receive what they select`() {
        val client = client()
        val one = Received<Flag>()
        val tagged = Received<List<String>>()
        val all = Received<String>()
        client.subscribe("a", one::add)
        client.subscribeTags(listOf("t")) { flags -> tagged.add(flags.map { it.key }) }
        client.onEvent { all.add(it.id!!) }
        server.acceptWebSocket().run {
            receive()
            send(subscribed(10))
            send(changed("a", "11-0@k", ""","enabled":true"""))
            val tag = ""","tags":[{"id":1,"value":"t"}]"""
            val batch = listOf(changed("b", "12-0@k", tag), changed("c", "12-1@k", tag), deleted("a", "12-2@k"))
            send("""{"type":"batch","id":"12-2@k","events":[${batch.joinToString()}]}""")
            send(changed("b", "13-0@k"))
            send(changed("d", "14-0@k"))
        }
        assertTrue(one.next().enabled)
        assertEquals(listOf("b", "c"), tagged.next())
        assertEquals(listOf("b"), tagged.next(), "the flag that has lost its tag")
        assertEquals(listOf("d"), tagged.next(), "a flag that must have lost its tag, or it would not have been sent")
        assertEquals(listOf("11-0@k", "12-0@k", "12-1@k", "12-2@k", "13-0@k", "14-0@k"), List(6) { all.next() })
        assertTrue(one.isQuiet())
    }

    @Test
    fun `subscriptions and their ends are sent at once while connected (tc-subscribe-live)`() {
        val client = client()
        client.subscribe("a") { }
        server.acceptWebSocket().run {
            receive()
            send(subscribed(10))
            val second = client.subscribe("b") { }
            assertEquals("""{"type":"subscribe","flags":["b"]}""", receive().toString())
            client.subscribe("b") { }.close()
            val store = FlagStore(client)
            assertEquals("""{"type":"subscribe","subscribeAll":true}""", receive().toString())
            receive().run {
                assertEquals("true", getValue("snapshot").toString())
                assertEquals("snapshot-1", text("requestId"))
            }
            send(changed("a", "11-0@k", ""","n":1"""))
            send(changed("a", "13-0@k", ""","n":3"""))
            send("""{"type":"snapshot","id":"12@k","requestId":"snapshot-1","position":"12","flags":[${flag("a", ""","n":2""")}]}""")
            runBlocking { store.ready(deadline) }
            assertEquals(3, store["a"]?.raw?.int("n"))
            store.close()
            assertEquals("""{"type":"unsubscribe","subscribeAll":true}""", receive().toString())
            client.subscribeTags(listOf("x", "y")) { }
            assertEquals("""{"type":"subscribe","tags":["x","y"]}""", receive().toString())
            client.unsubscribeTags(listOf("y"))
            client.unsubscribeTags(listOf("y", "x"))
            assertEquals("""{"type":"unsubscribe","tags":["x","y"]}""", receive().toString())
            second.close()
            assertEquals("""{"type":"unsubscribe","flags":["b"]}""", receive().toString())
            client.unsubscribe("a")
            assertEquals("""{"type":"unsubscribe"}""", receive().toString())
        }
    }

    @Test
    fun `a restart of the server loses nothing and repeats nothing (tc-restart, tc-resume)`() {
        val client = client()
        val received = Received<String>()
        client.subscribeAll { received.add(it.id!!) }
        server.acceptWebSocket().run {
            receive()
            send(subscribed(10))
            send(changed("a", "11-0@k"))
            assertEquals("11-0@k", received.next())
            send("""{"type":"heartbeat","position":"14","id":"14@k","fresh":true,"ageMs":1}""")
            send(changed("a", "15-0@k"))
            assertEquals("15-0@k", received.next())
            sendClose(1012, "restart")
        }
        server.accept().close()
        server.acceptWebSocket().run {
            assertEquals("""{"type":"subscribe","subscribeAll":true,"lastEventId":"15-0@k"}""", receive().toString())
            send(subscribed(17))
            for (id in listOf("15-0@k", "16-0@k", "17-0@k")) send(changed("a", id))
        }
        assertEquals("16-0@k", received.next())
        assertEquals("17-0@k", received.next())
        assertTrue(received.isQuiet())
    }

    @Test
    fun `close codes decide between reconnecting and giving up (tc-close-code)`() {
        val client = client()
        client.subscribeAll { }
        for (code in listOf(1000, 1001, 1011, 1013, 4408)) {
            server.acceptWebSocket().run {
                receive()
                sendClose(code)
            }
        }
        server.acceptWebSocket().run {
            receive()
            sendClose(4403, "not yours")
        }
        assertEquals(4403, (nextError() as ConnectionRefusedException).closeCode)
        assertTrue(server.isLeftAlone())
        assertThrows(ConnectionRefusedException::class.java) { runBlocking { client.evaluate("a") } }
    }

    @Test
    fun `rejected handshakes follow the same rules (tc-401, tc-503, tc-redirect)`() {
        client("secret").subscribeAll { }
        server.accept().refuse(503, "Retry-After: 0")
        server.accept().refuse(307, "Location: http://localhost:${server.port}/ws2")
        server.accept().run {
            assertEquals("/ws2", target)
            assertEquals("secret", headers["x-api-key"])
            refuse(401, "WWW-Authenticate: Bearer")
        }
        assertEquals(401, (nextError() as ConnectionRefusedException).status)
    }

    @Test
    fun `malformed and binary frames are reported and skipped (tc-malformed)`() {
        val received = Received<String>()
        client().subscribeAll { received.add(it.id!!) }
        server.acceptWebSocket().run {
            receive()
            send(subscribed(10))
            send("{oops")
            send("[]")
            send("""{"no":"type"}""")
            send("""{"type":"weather"}""")
            frame(2, byteArrayOf(1, 2))
            send("""{"type":"batch","id":"11-1@k","events":[{"type":"flag_updated","id":"11-0@k","flag":5},${changed("a", "11-1@k")}]}""")
            frame(9, byteArrayOf())
            send("""{"type":"error","code":"bad_request","message":"No."}""")
            send(changed("a", "12-0@k"))
        }
        repeat(5) { assertTrue(errors.next() is MalformedMessageException) }
        assertEquals("bad_request", (errors.next() as RequestFailedException).code)
        assertEquals("11-1@k", received.next())
        assertEquals("12-0@k", received.next())
    }

    @Test
    fun `the client recovers from a hundred disconnects in a row`() {
        val received = Received<String>()
        client().subscribeAll { received.add(it.id!!) }
        for (i in 1..100) {
            server.acceptWebSocket().run {
                receive()
                send(subscribed(i - 1L))
                if (i % 3 == 0) send(changed("a", "$i-0@k"))
                if (i % 2 == 0) sendClose(1001)
                close()
            }
        }
        server.acceptWebSocket().run { send(changed("a", "101-0@k")) }
        eventually("the last event") { received.next() == "101-0@k" }
    }

    @Test
    fun `a message above the limit drops the connection (tc-too-big)`() {
        client(options = ClientOptions(maxMessageBytes = 1000, onError = errors::add)).subscribeAll { }
        server.acceptWebSocket().run {
            receive()
            send(subscribed(10))
            send("x".repeat(100_000))
        }
        assertEquals("10@k", server.acceptWebSocket().receive().text("lastEventId"))
    }

    @Test
    fun `a half-open connection is dropped and resumed (tc-half-open)`() {
        val store = FlagStore(client())
        server.acceptWebSocket().run {
            receive()
            send(subscribed(10, heartbeatMs = 2000))
            send(snapshot(10, flag("a")))
            runBlocking { store.ready(deadline) }
            assertThrows(EOFException::class.java) { receive() }
        }
        assertEquals("10@k", server.acceptWebSocket().receive().text("lastEventId"))
        assertEquals(StoreStatus.STALE, store.status.value)
    }

    @Test
    fun `evaluate returns the response to its request (tc-evaluate)`() = runBlocking {
        val client = client()
        val first = async(Dispatchers.IO) {
            client.evaluate("a", "user123", mapOf("country" to "US", "age" to 25, "vip" to true), minPosition = "7")
        }
        val peer = server.acceptWebSocket()
        val request = peer.receive()
        assertEquals(
            """{"type":"evaluate","flagKey":"a","entityID":"user123","entityContext":{"country":"US","age":25,"vip":true},"minPosition":"7"}""",
            kotlinx.serialization.json.JsonObject(request - "requestId").toString(),
        )
        val second = async(Dispatchers.IO) { runCatching { client.evaluate("b") } }
        val secondId = peer.receive().text("requestId")
        peer.send("""{"type":"error","requestId":"$secondId","code":"flag_key_invalid","message":"No."}""")
        peer.send("""{"type":"evaluation_result","requestId":"other","result":{}}""")
        peer.send(
            """{"type":"evaluation_result","requestId":"${request.text("requestId")}","position":"9","result":{"flagID":1,""" +
                """"flagKey":"a","variantID":2,"variantKey":"on","variantAttachment":{"x":"1"},"flagTags":["t"]}}""",
        )
        first.await().run {
            assertEquals("on", variantKey)
            assertEquals("9", position)
            assertEquals(mapOf("x" to "1"), variantAttachment)
            assertEquals(listOf("t"), flagTags)
        }
        assertEquals("flag_key_invalid", (second.await().exceptionOrNull() as RequestFailedException).code)
        val batch = async(Dispatchers.IO) { client.evaluateBatch(listOf(EvaluationEntity("u1")), listOf("a", "b")) }
        val batchRequest = peer.receive()
        assertEquals("""[{"entityID":"u1"}]""", batchRequest["entities"].toString())
        assertEquals("""["a","b"]""", batchRequest["flagKeys"].toString())
        peer.send(
            """{"type":"evaluation_result","requestId":"${batchRequest.text("requestId")}","results":[{"flagKey":"a"},{"flagKey":"b"}]}""",
        )
        assertEquals(listOf("a", "b"), batch.await().map { it.flagKey })
    }

    @Test
    fun `evaluate raises when the connection breaks and at the time limit (tc-evaluate)`() = runBlocking {
        val client = client(options = ClientOptions(requestTimeout = 6.seconds, onError = errors::add))
        val lost = async(Dispatchers.IO) { runCatching { client.evaluate("a") }.exceptionOrNull() }
        server.acceptWebSocket().run {
            receive()
            close()
        }
        assertTrue(lost.await() is ConnectionLostException)
        server.acceptWebSocket()
        assertThrows(RequestTimeoutException::class.java) { runBlocking { client.evaluate("a") } }
        assertFalse(client.state.value == ConnectionState.FAILED)
    }

    @Test
    fun `the flow of events ends with the client`() = runBlocking {
        val client = client()
        val events = async(Dispatchers.IO) { client.events.take(2).toList() }
        val rest = async(Dispatchers.IO) { client.events.toList() }
        server.acceptWebSocket().run {
            assertEquals("""{"type":"subscribe","subscribeAll":true}""", receive().toString())
            send(subscribed(10))
            for (i in 11..14) send(changed("a", "$i-0@k"))
        }
        assertEquals(listOf("11-0@k", "12-0@k"), withTimeout(deadline) { events.await() }.map { it.id })
        client.close()
        withTimeout(deadline) { rest.await() }
        assertEquals(0, withTimeout(deadline) { client.events.toList() }.size)
    }

    @Test
    fun `a flow in the collector's hands fails when the client gives up`() = runBlocking {
        val client = client()
        val end = async(Dispatchers.IO) { runCatching { client.events.first() }.exceptionOrNull() }
        server.accept().refuse(403)
        assertTrue(withTimeout(deadline) { end.await() } is ConnectionRefusedException)
    }

    @Test
    fun `the client gives up after the last attempt`() {
        val client = client(reconnect = eager.copy(maxAttempts = 2))
        val store = FlagStore(client)
        repeat(3) { server.accept().refuse(503) }
        assertEquals(2, (nextError() as ReconnectExhaustedException).attempts)
        eventually("ERROR") { store.status.value == StoreStatus.ERROR }
        assertNull(store["a"])
    }

    @Test
    fun `selections that narrow differently take a new connection`() {
        val client = client()
        client.subscribe(Selection(flags = setOf("a"), types = setOf(EventType.FLAG_ENABLED))) { }
        server.acceptWebSocket().run {
            assertEquals("""{"type":"subscribe","flags":["a"],"types":["flag_enabled"]}""", receive().jsonObject.toString())
            send(subscribed(10))
            eventually("connected") { client.state.value == ConnectionState.CONNECTED }
            client.subscribe("b") { }
            assertThrows(EOFException::class.java) { receive() }
        }
        assertEquals("""{"type":"subscribe","flags":["a","b"],"lastEventId":"10@k"}""", server.acceptWebSocket().receive().toString())
    }
}
