package com.flagent.realtime

import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.util.concurrent.CountDownLatch
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.measureTime

/** Exposures and their report. Names in parentheses are the cases of the behaviour table. */
class ExposureTest {
    private val server = ScriptedServer()
    private val errors = Received<FlagentException>()
    private val client = FlagentWebSocketClient(server.ws, "k", eager, ClientOptions(start = false, onError = errors::add))
    private val share = """{"id":1,"variantID":5,"percent":100}"""
    private val segment = """{"id":3,"rank":0,"rolloutPercent":100,"constraints":[],"distributions":[$share]}"""
    private val on = """{"id":1,"key":"a","enabled":true,"segments":[$segment],"variants":[{"id":5,"key":"on"}]}"""
    private val off = """{"id":2,"key":"b","enabled":false,"segments":[],"variants":[]}"""
    private val store = FlagStore(client, bootstrap = """{"id":"7@k","flags":[$on,$off]}""")

    @AfterEach
    fun close() {
        client.close()
        server.close()
    }

    @Test
    fun `what was evaluated, without the values of the context (tc-exposure)`() {
        val ofStore = Received<Exposure>()
        val ofClient = Received<Exposure>()
        val subscription = store.onExposure { ofStore.add(it) }
        client.onExposure { ofClient.add(it) }
        store.evaluate("a", "user1", mapOf("z" to 1, "country" to "US"))
        store.evaluate("a", "user1", mapOf("country" to "DE"))
        store.evaluate("b", "user1")
        store.evaluate("missing", "user1")
        val first = ofStore.next()
        assertEquals(first.copy(timeMs = 0), Exposure("a", 1, null, "on", "user1", 3, 7, listOf("country", "z"), 0))
        assertTrue(first.timeMs > 1_700_000_000_000)
        assertEquals(Exposure("b", 2, null, null, "user1", null, 7, emptyList(), 0), ofStore.next().copy(timeMs = 0))
        assertTrue(ofStore.isQuiet(50))
        assertEquals(listOf("a", "b"), List(2) { ofClient.next().flagKey })
        subscription.close()
        store.evaluate("a", "user2")
        assertEquals("user2", ofClient.next().entityID)
        assertTrue(ofStore.isQuiet(50))
    }

    @Test
    fun `a handler that raises or is slow disturbs no evaluation (tc-exposure-raises)`() {
        val release = CountDownLatch(1)
        val handled = Received<String>()
        client.onExposure {
            if (it.entityID == "0") error("handler")
            release.await()
            handled.add(it.entityID)
        }
        store.evaluate("a", "0")
        assertTrue(errors.next() is HandlerFailedException)
        val took = measureTime { for (n in 1..12_000) store.evaluate("a", "$n") }
        assertTrue(took < deadline, "$took")
        eventually("dropped") { client.droppedExposures in 1900..2000 }
        release.countDown()
        handled.next()
    }

    /** Reports until their sum is what is expected: they come when the interval is over, and not when a test is done. */
    private fun ScriptedServer.reports(vararg expected: Pair<String, Int>) {
        val sum = mutableMapOf<String, Int>()
        while (sum != expected.toMap()) {
            for (entry in report(202)) sum.merge(entry.substringBeforeLast(' '), entry.substringAfterLast(' ').toInt(), Int::plus)
            assertTrue(sum.all { (name, count) -> count <= (expected.toMap()[name] ?: 0) }, "$sum")
        }
    }

    private fun ScriptedServer.report(status: Int, answer: String = "{}", vararg headers: String): List<String> = accept().run {
        assertEquals("/api/v1/exposures", target)
        assertEquals("k", this.headers["x-api-key"])
        val entries = body().objects("exposures").map { "${it.text("flagKey")} ${it.text("variantKey")} ${it.int("count")}" }
        respond(status, answer, *headers)
        entries
    }

    @Test
    fun `counts are sent by flag and variant (tc-exposure-report)`() {
        ExposureReporter(client, 100.milliseconds).use {
            for (user in listOf("u", "u", "v")) store.evaluate("a", user)
            store.evaluate("b", "u")
            server.reports("a on" to 2, "b null" to 1)
            assertTrue(server.isLeftAlone())
            store.evaluate("a", "w")
            assertEquals(listOf("a on 1"), server.report(202))
        }
    }

    @Test
    fun `what cannot be sent is counted on, a rejection ends it (tc-exposure-fails)`() {
        ExposureReporter(client, 50.milliseconds).use { reporter ->
            store.evaluate("a", "u")
            assertEquals(listOf("a on 1"), server.report(503, "{}", "Retry-After: 0"))
            store.evaluate("a", "v")
            val again = server.report(404, """{"code":"exposures_disabled","detail":"Exposures are disabled."}""")
            assertTrue(again.single() in listOf("a on 1", "a on 2"), "$again")
            val error = errors.next()
            assertTrue(error is ExposuresRejectedException && "Exposures are disabled." in error.message!!, "$error")
            store.evaluate("a", "w")
            assertTrue(server.isLeftAlone())
            assertEquals(0, reporter.dropped)
        }
        val counts = ExposureCounts(2)
        for (key in listOf("a", "a", "b", "c")) counts.add(ExposureCounts.Name(null, key, null))
        assertEquals(2, counts.dropped)
        assertEquals(listOf("b", "c"), counts.take().keys.map { it.flagKey })
    }

    @Test
    fun `what is left is sent at the end, within a second (tc-exposure-close)`() {
        val reporter = ExposureReporter(client, deadline * 10, closeLimit = deadline)
        store.evaluate("a", "u")
        val reported = Received<List<String>>()
        val answering = kotlin.concurrent.thread { reported.add(server.report(202)) }
        reporter.close()
        assertEquals(listOf("a on 1"), reported.next())
        answering.join()
        val silent = ExposureReporter(client, deadline * 10)
        store.evaluate("a", "v")
        val took = measureTime { silent.close() }
        assertTrue(took < deadline, "$took")
    }
}
