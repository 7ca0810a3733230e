package com.flagent.realtime

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.ValueSource
import java.sql.Connection
import java.util.Collections
import kotlin.random.Random

/** Both clients against the real server, with other writers and a failing network. */
class RealServerTest : WithRealServer() {
    private val options = ClientOptions(onError = errors::add)

    private fun client(kind: String, port: Int): RealtimeClient = when (kind) {
        "ws" -> FlagentWebSocketClient("ws://127.0.0.1:$port/ws", null, quick, options)
        else -> FlagentSSEClient("http://127.0.0.1:$port/api/v1/events/stream", null, quick, options)
    }

    @ParameterizedTest
    @ValueSource(strings = ["ws", "sse"])
    fun `the store ends equal to the database after network failures`(kind: String) {
        val seed = System.nanoTime()
        println("seed $seed")
        val random = Random(seed)
        FaultyProxy { server.port }.use { proxy ->
            client(kind, proxy.port).use { client ->
                val store = FlagStore(client)
                val ids = Collections.synchronizedList(mutableListOf<String>())
                client.subscribeAll { event -> event.id?.let(ids::add) }
                runBlocking { store.ready(deadline) }
                server.connect().use { database ->
                    for (i in 1..400) {
                        change(database, random)
                        if (i % 60 == 0) proxy.disconnect()
                        if (i == 200) {
                            eventually("the interval is known") { proxy.heartbeats.get() >= 2 }
                            proxy.mute()
                        }
                        Thread.sleep(random.nextLong(5))
                    }
                    eventually("equal to the database") { rows(store) == rows(database) }
                }
                eventually("READY") { store.status.value == StoreStatus.READY }
                assertTrue(errors.any { "No data from the server" in it.message.orEmpty() }, "the silence was noticed")
                runBlocking { FlagStore(client).use { other ->
                    other.ready(deadline)
                    assertEquals(other.digest, store.digest)
                } }
                val order = ids.toList().zipWithNext { a, b -> EventId.compare(a, b) }
                assertTrue(order.all { it == IdOrder.BEFORE }, "no event twice, none out of order")
            }
        }
        val serious = errors.filter { it !is ConnectionLostException }
        assertTrue(serious.isEmpty(), serious.toString())
    }

    @Test
    fun `subscriptions survive a restart of the server, no change is missed`() {
        client("ws", server.port).use { client ->
            val received = Received<Boolean>()
            server.connect().use { execute(it, "insert into flags (key, description, enabled, created_at) values ('restart', '', false, now())") }
            val store = FlagStore(client)
            client.subscribeFlag("restart") { received.add(it.enabled) }
            runBlocking { store.ready(deadline) }
            server.stop()
            eventually("STALE") { store.status.value == StoreStatus.STALE }
            server.start()
            server.connect().use { execute(it, "update flags set enabled = true where key = 'restart'") }
            assertTrue(received.next())
            eventually("READY") { store.status.value == StoreStatus.READY }
            assertTrue(store["restart"]!!.enabled)
        }
    }

    @Test
    fun `a tag handler receives the flag that leaves, and evaluation uses the same connection`() {
        server.connect().use { database ->
            execute(database, "insert into flags (key, description, enabled, created_at) values ('evaluated', '', true, now())")
            execute(database, "insert into tags (value, created_at) values ('kotlin', now())")
            execute(
                database,
                "insert into segments (flag_id, rank, rollout_percent, created_at) select id, 0, 100, now() from flags where key = 'evaluated'",
            )
            execute(database, "insert into variants (flag_id, key, created_at) select id, 'on', now() from flags where key = 'evaluated'")
            execute(
                database,
                "insert into distributions (segment_id, variant_id, variant_key, percent, created_at) " +
                    "select s.id, v.id, 'on', 100, now() from segments s join variants v using (flag_id) join flags f on f.id = s.flag_id where f.key = 'evaluated'",
            )
            FlagentWebSocketClient("ws://127.0.0.1:${server.port}/ws", null, quick, options).use { client ->
                val tagged = Received<List<String>>()
                client.subscribeTags(listOf("kotlin")) { flags -> tagged.add(flags.map { it.tags.size.toString() + it.key }) }
                eventually("connected") { client.state.value == ConnectionState.CONNECTED }
                execute(
                    database,
                    "insert into flags_tags (flag_id, tag_id) select f.id, t.id from flags f, tags t where f.key = 'evaluated' and t.value = 'kotlin'",
                )
                assertEquals(listOf("1evaluated"), tagged.next())
                execute(database, "delete from flags_tags")
                assertEquals(listOf("0evaluated"), tagged.next())
                val result = try {
                    runBlocking { client.evaluate("evaluated", "user123", mapOf("age" to 25)) }
                } catch (e: RequestFailedException) {
                    assumeTrue(e.code != "not_available", "this server does not evaluate: ${e.message}")
                    throw e
                }
                assertEquals("on", result.variantKey)
                val batch = runBlocking { client.evaluateBatch(listOf(EvaluationEntity("u")), listOf("evaluated", "absent")) }
                assertEquals(listOf("on", null), batch.map { it.variantKey })
            }
        }
    }

    private fun change(database: Connection, random: Random) {
        val key = "f${random.nextInt(20)}"
        val flag = "(select id from flags where key = '$key')"
        val statement = when (random.nextInt(9)) {
            0, 1 ->
                "insert into flags (key, description, enabled, created_at) values ('$key', 'd', false, now()) " +
                    "on conflict (key) do update set description = 'd${random.nextInt()}'"
            2, 3 -> "update flags set enabled = not enabled where key = '$key'"
            4 -> "update flags set deleted_at = case when deleted_at is null then now() end where key = '$key'"
            5 -> "delete from flags where key = '$key'"
            6 -> "update flags set snapshot_id = snapshot_id + 1, updated_at = now() where key = '$key'"
            7 ->
                "insert into segments (flag_id, rank, rollout_percent, created_at) " +
                    "select id, ${random.nextInt(9)}, 50, now() from flags where key = '$key'"
            else -> "insert into variants (flag_id, key, created_at) select id, 'v${random.nextInt(9)}', now() from flags where id = $flag"
        }
        execute(database, statement)
    }

    private fun execute(database: Connection, statement: String) = database.createStatement().use { it.execute(statement) }

    private fun rows(store: FlagStore): Set<List<Any>> =
        store.map { listOf(it.key, it.enabled, it.description, it.segments.size, it.variants.size) }.toSet()

    private fun rows(database: Connection): Set<List<Any>> = database.createStatement().use { statement ->
        val result = statement.executeQuery(
            "select key, enabled, description, (select count(*) from segments s where s.flag_id = f.id), " +
                "(select count(*) from variants v where v.flag_id = f.id) from flags f where deleted_at is null",
        )
        generateSequence { result.takeIf { it.next() } }
            .map { listOf<Any>(it.getString(1), it.getBoolean(2), it.getString(3), it.getInt(4), it.getInt(5)) }
            .toSet()
    }
}
