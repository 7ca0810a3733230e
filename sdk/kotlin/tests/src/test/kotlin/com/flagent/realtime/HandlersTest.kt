package com.flagent.realtime

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.delay
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Tag
import org.junit.jupiter.api.Test
import java.util.concurrent.atomic.AtomicInteger
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds

/** Handlers, stores and the end of a client. Names in parentheses are the cases of the behaviour table. */
@Tag("engine")
class HandlersTest {
    private val server = ScriptedServer()
    private val errors = Received<FlagentException>()
    private val client = FlagentWebSocketClient(server.ws, null, eager, ClientOptions(onError = errors::add))

    private fun subscribed(position: Long) = connected(position, type = "subscribed")

    private fun serve(vararg messages: String): Peer = server.acceptWebSocket().apply {
        receive()
        messages.forEach(::send)
    }

    @AfterEach
    fun close() {
        client.close()
        server.close()
    }

    @Test
    fun `handlers run one at a time in the order of ids, the store is never behind them (tc-handler-order)`() {
        val store = FlagStore(client)
        val running = AtomicInteger()
        val received = Received<String>()
        repeat(2) { n ->
            client.onEvent { event ->
                assertEquals(1, running.incrementAndGet())
                if (event.flag!!.raw.int("n")!! % 2 == 0) delay(2.milliseconds)
                assertTrue(store["a"]!!.raw.int("n")!! >= event.flag.raw.int("n")!!)
                running.decrementAndGet()
                received.add("${event.id} $n")
            }
        }
        store.onChange { change -> assertEquals(0, running.get(), change.toString()) }
        serve(subscribed(0), snapshot(0), *(1..50).map { changed("a", "$it-0@k", ""","n":$it""") }.toTypedArray())
        assertEquals((1..50).flatMap { listOf("$it-0@k 0", "$it-0@k 1") }, List(100) { received.next() })
        assertTrue(errors.isQuiet(10))
    }

    @Test
    fun `a slow handler does not make the store old, and late listeners receive nothing old (tc-handler-order)`() {
        val store = FlagStore(client)
        val received = Received<String>()
        val released = CompletableDeferred<Unit>()
        client.onEvent { event ->
            received.add(event.id!!)
            released.await()
        }
        val peer = serve(subscribed(0), snapshot(0, flag("a")), changed("a", "1-0@k"), changed("a", "2-0@k", ""","enabled":true"""))
        eventually("the change behind the slow handler") { store["a"]?.enabled == true }
        assertEquals("1-0@k", received.next())
        assertEquals(0, received.size)
        val changes = Received<String>()
        store.onChange { changes.add("${it.kind} ${it.key}") }
        peer.send(changed("b", "3-0@k"))
        eventually("the next change") { "b" in store }
        released.complete(Unit)
        assertEquals("CREATED b", changes.next())
        assertEquals(listOf("2-0@k", "3-0@k"), List(2) { received.next() })
        assertTrue(changes.isQuiet(10))
    }

    @Test
    fun `a handler of flags is called once per difference, also for two events of one commit (tc-once-per-difference)`() {
        val flags = Received<Boolean>()
        val lists = Received<List<String>>()
        val events = Received<String>()
        client.subscribeFlag("a") { flags.add(it.enabled) }
        client.subscribeTags(listOf("t")) { changed -> lists.add(changed.map { "${it.key} ${it.enabled}" }) }
        client.onEvent { events.add(it.id!!) }
        val tagged = ""","tags":[{"id":1,"value":"t"}]"""
        val (on, off) = listOf(""","enabled":true$tagged""", ""","enabled":false$tagged""")
        val other = changed("a", "3-0@k", on).replace("public", "tenant")
        val again = """{"type":"resync","id":"5@k","reason":"pruned","snapshot":{"position":"5","flags":[${flag("a", off)}]}}"""
        serve(
            subscribed(0), changed("a", "1-0@k", on), changed("a", "1-1@k", on, "flag_enabled"),
            changed("a", "2-0@k", off), changed("a", "2-1@k", off, "flag_disabled"), other,
        ).run {
            assertEquals(listOf(true, false, true), List(3) { flags.next() }, "the same key of another schema is another flag")
            assertEquals(listOf("a true", "a false", "a true"), List(3) { lists.next().single() })
            send(deleted("a", "4-0@k").replace("public", "tenant"))
            send(again)
            send(changed("a", "6-0@k", off))
            send(changed("a", "7-0@k", on))
        }
        assertEquals(true, flags.next(), "a resync with what was seen already causes no call")
        assertEquals(listOf("a true"), lists.next())
        assertEquals(9, List(9) { events.next() }.size)
        assertTrue(flags.isQuiet(10) && lists.isQuiet(10))
    }

    @Test
    fun `an exception of a handler is reported, and the other handlers still run (tc-handler-raises)`() {
        val received = Received<String>()
        client.onEvent { throw IllegalStateException("mine") }
        client.onEvent { TODO("an Error, not an Exception") }
        client.onEvent { withTimeout(1.milliseconds) { delay(10.seconds) } }
        client.onEvent { received.add(it.id!!) }
        serve(subscribed(0), changed("a", "1-0@k"), changed("a", "2-0@k"))
        assertEquals(listOf("1-0@k", "2-0@k"), List(2) { received.next() })
        val causes = List(6) { (errors.next() as HandlerFailedException).cause!!::class.simpleName }
        assertEquals(listOf("IllegalStateException", "NotImplementedError", "TimeoutCancellationException"), causes.take(3))
    }

    @Test
    fun `a handler may close the client (tc-close-in-handler)`() {
        val received = Received<String>()
        client.onEvent {
            received.add(it.id!!)
            client.close()
            received.add("closed")
        }
        client.onEvent { received.add("too late") }
        serve(subscribed(0), changed("a", "1-0@k"), changed("a", "2-0@k"))
        assertEquals(listOf("1-0@k", "closed"), List(2) { received.next() })
        assertTrue(received.isQuiet())
        assertEquals(ConnectionState.CLOSED, client.state.value)
    }

    @Test
    fun `no handler is called after close has returned`() {
        val closed = CompletableDeferred<Unit>()
        val late = AtomicInteger()
        client.onEvent { if (closed.isCompleted) late.incrementAndGet() }
        val peer = serve(subscribed(0))
        val writer = Thread {
            try {
                for (i in 1..100_000) peer.send(changed("a", "$i-0@k"))
            } catch (_: java.io.IOException) {
                // The client has disconnected.
            }
        }
        writer.start()
        Thread.sleep(100)
        client.close()
        closed.complete(Unit)
        writer.join()
        assertEquals(0, late.get())
    }

    @Test
    fun `listeners of a store receive each difference (tc-ready)`() {
        val store = FlagStore(client)
        val changes = Received<String>()
        store.onChange { changes.add("${it.kind} ${it.key}") }
        assertThrows(NotReadyException::class.java) { runBlocking { store.ready(50.milliseconds) } }
        val peer = serve(subscribed(0), snapshot(5, flag("a"), flag("b")))
        runBlocking { store.ready(deadline) }
        assertEquals(listOf("a", "b"), store.map { it.key })
        assertTrue("a" in store)
        peer.send(deleted("a", "6-0@k"))
        assertEquals(listOf("CREATED a", "CREATED b", "DELETED a"), List(3) { changes.next() })
        assertFalse("a" in store)
        assertEquals(1, store.size)
        client.close()
        assertEquals(StoreStatus.CLOSED, store.status.value)
        assertEquals("b", store["b"]?.key)
        val other = FlagentSSEClient(server.http).also { it.close() }
        assertThrows(ClientClosedException::class.java) { FlagStore(other) }
    }

    @Test
    fun `a timeout of ready carries the last connection error (tc-ready)`() {
        server.close()
        val store = FlagStore(client)
        errors.next()
        val raised = assertThrows(NotReadyException::class.java) { runBlocking { store.ready(50.milliseconds) } }
        assertTrue(raised.cause is ConnectionLostException)
        assertTrue(raised.message!!.endsWith(" " + raised.cause!!.message), raised.message)
    }

    @Test
    fun `a key in several schemas requires the schema`() {
        val store = FlagStore(client)
        serve(subscribed(0), snapshot(5, flag("a", ""","schema":"t1""""), flag("a", ""","enabled":true,"schema":"t2"""")))
        runBlocking { store.ready(deadline) }
        assertEquals(listOf("t1", "t2"), assertThrows(AmbiguousFlagException::class.java) { store["a"] }.schemas)
        assertTrue(store["a", "t2"]!!.enabled)
    }

    @Test
    fun `two stores on one client, one of them partial`() {
        client.offline()
        val all = FlagStore(client)
        val some = FlagStore(client, Selection(flags = setOf("b")))
        client.start()
        serve(subscribed(0), snapshot(5, flag("a"), flag("b")), changed("a", "6-0@k"), changed("b", "7-0@k", ""","enabled":true"""))
        eventually("both") { all["b"]?.enabled == true && some["b"]?.enabled == true }
        assertEquals(listOf("a", "b") to listOf("b"), all.map { it.key } to some.map { it.key })
    }

    @Test
    fun `close leaves no coroutine, socket or thread behind, even with a silent peer (tc-close)`() {
        val other = FlagentSSEClient(server.http, "key")
        val peers = mutableListOf<Peer>()
        client.subscribeAll { }
        peers += serve(subscribed(0))
        other.subscribe { }
        peers += server.acceptStream()
        eventually("connected") { client.state.value == ConnectionState.CONNECTED }
        val start = System.nanoTime()
        client.close()
        client.close()
        other.close()
        assertTrue(System.nanoTime() - start < deadline.inWholeNanoseconds)
        runBlocking {
            withTimeout(deadline) {
                client.closeAndJoin()
                other.closeAndJoin()
            }
        }
        peers.forEach(Peer::awaitEnd)
        eventually("no thread of a WebSocket") { Thread.getAllStackTraces().keys.none { it.name.startsWith("flagent-") } }
        // Before Java 21 the HTTP client's thread ends when the client is garbage collected.
        eventually("no thread of the HTTP client") {
            System.gc()
            Thread.getAllStackTraces().keys.none { it.name.startsWith("HttpClient-") }
        }
    }
}
