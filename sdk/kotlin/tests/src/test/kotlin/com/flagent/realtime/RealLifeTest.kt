package com.flagent.realtime

import kotlinx.coroutines.runBlocking
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Tag
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.math.BigDecimal
import java.net.HttpURLConnection
import java.net.URI
import java.nio.file.Path
import java.util.Collections
import kotlin.time.Duration.Companion.milliseconds

/** What an application does with the real server: begin without it, evaluate, read its own write, follow a table, poll. */
@Tag("okhttp")
class RealLifeTest : WithRealServer() {
    @TempDir
    lateinit var directory: Path

    private fun client(network: NetworkOptions = NetworkOptions()) =
        FlagentClient("http://127.0.0.1:${server.port}", null, quick, ClientOptions(onError = errors::add), network)

    @Test
    fun `the server is down at the start, and afterwards sends only what was missed`() {
        execute(*(1..20).map { insert("known$it") }.toTypedArray())
        val files = FilePersistence(directory.toFile())
        client().use { client -> runBlocking { FlagStore(client, persistence = files).ready(deadline) } }
        execute("update flags set description = 'missed' where key in ('known3', 'known7')")
        server.stop()
        client().use { client ->
            val store = FlagStore(client, persistence = files)
            assertEquals(listOf(StoreStatus.STALE, FlagSource.CACHE), listOf(store.status.value, store.source))
            assertTrue(store["known3"]!!.enabled)
            val events = Collections.synchronizedList(mutableListOf<FlagentEvent>())
            client.onEvent(events::add)
            server.start()
            runBlocking { store.ready(deadline) }
            assertEquals(FlagSource.SERVER, store.source)
            eventually("the missed events") { events.size >= 2 }
            assertEquals(setOf("known3" to EventType.FLAG_UPDATED, "known7" to EventType.FLAG_UPDATED), events.map { it.flagKey to it.type }.toSet())
            assertEquals(2, events.size)
            assertEquals("missed", store["known7"]!!.description)
        }
    }

    @Test
    fun `a store evaluates as the server does, and reads its own write`() {
        execute(
            insert("rollout"),
            "insert into segments (flag_id, rank, rollout_percent, created_at) select id, 0, 60, now() from flags where key = 'rollout'",
            "insert into constraints (segment_id, property, operator, value, created_at) select s.id, 'country', 'EREG', '[A-M].*|US', now() " +
                "from segments s join flags f on f.id = s.flag_id where f.key = 'rollout'",
            "insert into variants (flag_id, key, created_at) select id, v, now() from flags, unnest(array['a', 'b', 'c']) v where key = 'rollout'",
            "insert into distributions (segment_id, variant_id, variant_key, percent, created_at) " +
                "select s.id, v.id, v.key, case v.key when 'a' then 50 when 'b' then 30 else 20 end, now() " +
                "from segments s join variants v using (flag_id) join flags f on f.id = s.flag_id where f.key = 'rollout'",
        )
        FlagentWebSocketClient("ws://127.0.0.1:${server.port}/ws", null, quick).use { client ->
            val store = FlagStore(client)
            runBlocking {
                store.ready(deadline)
                val countries = listOf("US", "DE", "FR", "ZA", "")
                for (n in 1..200) {
                    val context = mapOf("country" to countries[n % countries.size])
                    val local = store.evaluate("rollout", "user$n", context)
                    val remote = client.evaluate("rollout", "user$n", context)
                    assertEquals(listOf(remote.variantKey, remote.segmentID, remote.flagTags), listOf(local.variantKey, local.segmentID, local.flagTags), "user$n")
                }
                val position = server.connect().use { database ->
                    database.createStatement().use { it.execute("update flags set description = 'written' where key = 'rollout'") }
                    database.createStatement().use { statement ->
                        statement.executeQuery("select max(position) from flagent_cdc.commit_log").run {
                            next()
                            getLong(1)
                        }
                    }
                }
                store.waitFor(position, deadline)
                assertEquals("written", store["rollout"]!!.description)
            }
        }
    }

    @Test
    fun `the rows of a table that satisfy a condition`() {
        execute(
            "create schema shop",
            "create table shop.orders (id bigint primary key, tenant int, total numeric)",
            "insert into shop.orders values (1, 7, 1.10), (2, 7, 123456789012345678901234567890.5), (3, 8, 3)",
            "select flagent_cdc.watch('shop.orders')",
        )
        // Streams find a table that has just been watched within a second or two.
        val stream = URI("http://127.0.0.1:${server.port}/api/v1/events/stream?table=shop.orders&where=tenant%20%3D%201").toURL()
        eventually("the server finds the table") {
            val request = stream.openConnection() as HttpURLConnection
            (request.responseCode == 200).also { request.disconnect() }
        }
        client().use { client ->
            TableStore(client, "shop.orders", where = "tenant = $1", params = listOf(7)).use { orders ->
                runBlocking { orders.ready(deadline) }
                assertEquals(setOf<Any?>(1L, 2L), orders.rows.map { it["id"] }.toSet())
                assertEquals(BigDecimal("123456789012345678901234567890.5"), orders[2]!!["total"])
                execute("update shop.orders set tenant = 7 where id = 3", "update shop.orders set tenant = 9 where id = 1", "insert into shop.orders values (9, 7, 0)")
                eventually("the changes") { orders.rows.map { it["id"] }.toSet() == setOf<Any?>(2L, 3L, 9L) }
                execute("truncate shop.orders")
                eventually("empty") { orders.size == 0 && orders.status.value == StoreStatus.READY }
            }
        }
    }

    @Test
    fun `where the network lets no stream through, polling follows`() {
        execute(insert("polled"))
        client(NetworkOptions(webSocketPath = "/none", eventStreamPath = "/none")).use { client ->
            val store = FlagStore(client)
            runBlocking { store.ready(deadline) }
            assertEquals(TransportName.POLLING, client.transport)
            execute("update flags set description = 'changed' where key = 'polled'")
            eventually("the change") { store["polled"]!!.description == "changed" }
            eventually("ready") { store.status.value == StoreStatus.READY }
        }
    }

    @Test
    fun `the server counts who saw which variant (tc-exposure-report)`() {
        execute(insert("seen"))
        client().use { client ->
            val store = FlagStore(client)
            runBlocking { store.ready(deadline) }
            ExposureReporter(client, 100.milliseconds).use { reporter ->
                for (user in listOf("u", "u", "v")) store.evaluate("seen", user)
                eventually("the counts") { usage("seen").first == 2 }
                store.evaluate("seen", "w")
                eventually("the next count") { usage("seen") == (3 to setOf(null)) }
                assertEquals(0, reporter.dropped)
            }
        }
    }

    /** The total of a flag's exposures, and their variants. */
    private fun usage(key: String): Pair<Int?, Set<String?>> {
        val answer = URI("http://127.0.0.1:${server.port}/api/v1/flags/$key/usage").toURL().readText()
        val usage = Json.parseToJsonElement(answer) as JsonObject
        return usage.int("total") to usage.objects("minutes").map { it.text("variantKey") }.toSet()
    }
}
