package com.flagent.realtime

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.AfterAll
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.BeforeAll
import org.junit.jupiter.api.Tag
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Timeout
import org.junit.jupiter.api.io.TempDir
import java.math.BigDecimal
import java.nio.file.Path
import java.util.Collections
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds

/** What an application does with the real server: begin without it, evaluate, read its own write, follow a table, poll. */
@Tag("okhttp")
@Timeout(120)
class RealLifeTest {
    @TempDir
    lateinit var directory: Path
    private val errors = Collections.synchronizedList(mutableListOf<FlagentException>())
    private val quick = ReconnectConfig(maxAttempts = 0, initialDelay = 20.milliseconds, maxDelay = 200.milliseconds)

    private fun client(network: NetworkOptions = NetworkOptions()) =
        FlagentClient("http://127.0.0.1:${server.port}", null, quick, ClientOptions(onError = errors::add), network)

    private fun execute(vararg statements: String) = server.connect().use { database ->
        for (statement in statements) database.createStatement().use { it.execute(statement) }
    }

    private fun insert(key: String) = "insert into flags (key, description, enabled, created_at) values ('$key', '', true, now())"

    @Test
    fun `the server is down at the start, and afterwards sends only what was missed`() {
        execute(*(1..20).map { insert("known$it") }.toTypedArray())
        val files = FilePersistence(directory.toFile())
        client().use { client -> runBlocking { FlagStore(client, persistence = files).ready(10.seconds) } }
        execute("update flags set description = 'missed' where key in ('known3', 'known7')")
        server.stop()
        client().use { client ->
            val store = FlagStore(client, persistence = files)
            assertEquals(listOf(StoreStatus.STALE, FlagSource.CACHE), listOf(store.status.value, store.source))
            assertTrue(store["known3"]!!.enabled)
            val events = Collections.synchronizedList(mutableListOf<FlagentEvent>())
            client.onEvent(events::add)
            server.start()
            runBlocking { store.ready(30.seconds) }
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
                store.ready(10.seconds)
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
                store.waitFor(position, 10.seconds)
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
        client().use { client ->
            TableStore(client, "shop.orders", where = "tenant = $1", params = listOf(7)).use { orders ->
                runBlocking { orders.ready(20.seconds) }
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
            runBlocking { store.ready(20.seconds) }
            assertEquals(TransportName.POLLING, client.transport)
            execute("update flags set description = 'changed' where key = 'polled'")
            eventually("the change") { store["polled"]!!.description == "changed" }
            eventually("ready") { store.status.value == StoreStatus.READY }
        }
    }

    companion object {
        private lateinit var server: RealServer

        @JvmStatic
        @BeforeAll
        fun start() {
            val command = System.getProperty("flagent.server").orEmpty()
            assumeTrue(command.isNotEmpty(), "no real server: set the property flagent.server (or FLAGENT_SERVER for ./ci) to its command")
            server = RealServer(command)
        }

        @JvmStatic
        @AfterAll
        fun stop() {
            if (::server.isInitialized) server.close()
        }
    }
}
