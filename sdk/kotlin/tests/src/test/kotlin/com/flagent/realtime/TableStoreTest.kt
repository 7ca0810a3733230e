package com.flagent.realtime

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Tag
import org.junit.jupiter.api.Test
import java.math.BigDecimal

/** Rows of a watched table. Names in parentheses are the cases of the behaviour table. */
@Tag("engine")
class TableStoreTest {
    private val server = ScriptedServer()
    private val errors = Received<FlagentException>()
    private val clients = mutableListOf<AutoCloseable>()
    private val options = ClientOptions(onError = errors::add)

    private fun client() = FlagentClient("http://localhost:${server.port}", "k", eager, options).also(clients::add)

    @AfterEach
    fun close() {
        clients.forEach { it.close() }
        server.close()
    }

    private fun row(id: Int, total: String) = """{"key":{"id":$id},"row":{"id":$id,"total":$total}}"""

    private fun rows(vararg rows: String) = """{"type":"rows","table":"shop.orders","sent":${rows.size},"rows":[${rows.joinToString()}]}"""

    private fun end(position: Int) = """{"type":"rows_end","id":"$position@k","table":"shop.orders","position":"$position","rows":2}"""

    private fun event(kind: String, id: String?, key: Int?, before: String?, after: String?, more: String = "") =
        """{"type":"row_$kind",${id?.let { """"id":"$it",""" }.orEmpty()}"schema":"shop","table":"shop.orders",""" +
            """"key":${key?.let { """{"id":$it}""" }},"before":$before,"after":$after$more}"""

    private fun Peer.open() = write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")

    private fun TableStore.totals() = rows.associate { it["id"] to it["total"] }

    /** A store with the rows 1 and 2, as of position 3. */
    private fun ready(maxRows: Int = 100_000): Pair<TableStore, Peer> {
        val store = TableStore(client(), "shop.orders", maxRows = maxRows)
        val peer = server.accept().apply {
            open()
            sse(connected(3))
            sse(rows(row(1, "10")))
            sse(rows(row(2, "20")))
            sse(end(3))
        }
        runBlocking { store.ready(deadline) }
        return store to peer
    }

    @Test
    fun `what an event stream is asked for (tc-table-request)`() {
        TableStore(client(), "shop.orders", "tenant = $1 and n > $2", listOf("a b", 7, true, null), listOf("id", "total"))
        val peer = server.accept()
        assertEquals("/api/v1/events/stream", peer.target.substringBefore('?'))
        assertEquals("k", peer.headers["x-api-key"])
        assertEquals(
            listOf(
                "table=shop.orders", "where=tenant+%3D+%241+and+n+%3E+%242", "param=a+b", "param=7", "param=true", "param=null",
                "columns=id%2Ctotal", "snapshot=true", "envelope=true",
            ),
            peer.query,
        )
        assertThrows(IllegalArgumentException::class.java) { TableStore(client(), "shop.orders", "n = $1", listOf(listOf(1))) }
    }

    @Test
    fun `what a WebSocket is asked for (tc-table-request)`() {
        val client = FlagentWebSocketClient(server.ws, "k", eager, options).also(clients::add)
        val store = TableStore(client, "shop.orders", "n = $1", listOf(7), listOf("id"))
        server.acceptWebSocket().run {
            assertEquals(
                """{"type":"subscribe","tables":[{"name":"shop.orders","where":"n = $1","params":[7],"columns":["id"]}],"snapshot":true}""",
                receive().toString(),
            )
            send(connected(3, type = "subscribed"))
            send(rows(row(1, "10")))
            send(end(3))
        }
        runBlocking { store.ready(deadline) }
        assertEquals(mapOf<Any?, Any?>(1L to 10L), store.totals())
    }

    @Test
    fun `rows, then their changes (tc-table-rows, tc-table-events)`() {
        val store = TableStore(client(), "shop.orders")
        val changes = Received<String>()
        store.onChange { changes.add("${it.key} ${it.before?.get("total")} ${it.after?.get("total")}") }
        server.accept().run {
            open()
            sse(connected(3))
            sse(rows(row(1, "10"), row(2, "20")))
            sse(event("updated", null, 1, """{"id":1,"total":10}""", """{"id":1,"total":11}"""))
            sse(rows())
            assertEquals(StoreStatus.INITIALIZING, store.status.value)
            sse(end(3))
            runBlocking { store.ready(deadline) }
            assertEquals(listOf("{id=1} null 11", "{id=2} null 20"), List(2) { changes.next() })
            assertEquals(mapOf<Any?, Any?>(1L to 11L, 2L to 20L), store.totals())
            assertEquals(20L, store[2]!!["total"])
            assertEquals(20L, store[mapOf("id" to 2L)]!!["total"])
            assertNull(store[9])
            assertEquals(3L, store.position)
            sse(event("updated", "3-0@k", 1, null, """{"id":1,"total":99}"""))
            sse(event("inserted", "4-0@k", 3, null, """{"id":3,"total":30}""", ""","moved":"in""""))
            sse(event("deleted", "5-0@k", 2, null, null, ""","moved":"out""""))
            sse(event("updated", "6-0@k", 8, """{"id":1,"total":11}""", """{"id":8,"total":11}"""))
            eventually("the changes") { store.position == 6L }
            assertEquals(mapOf<Any?, Any?>(3L to 30L, 8L to 11L), store.totals())
            assertEquals(listOf("{id=3} null 30", "{id=2} 20 null", "{id=8} 11 11"), List(3) { changes.next() })
        }
    }

    @Test
    fun `a table without a key counts equal rows (tc-table-events)`() {
        val core = TableCore(10)
        core.opening()
        val a = """{"n":1}"""
        fun receive(text: String) = core.receive(MessageDecoder.decodeMessage(text))
        receive("""{"type":"rows","rows":[{"key":null,"row":$a},{"key":null,"row":$a},{"key":null,"row":{"n":2}}]}""")
        receive(end(3))
        assertEquals(3, core.size)
        receive(event("deleted", "4-0@k", null, a, null))
        assertEquals(2, core.size)
        receive(event("updated", "5-0@k", null, a, """{"n":2}"""))
        assertEquals(listOf<Any?>(2L, 2L), core.rows().map { it["n"] })
    }

    @Test
    fun `a lost connection resumes, before the end of the rows it begins again (tc-table-resume)`() {
        val store = TableStore(client(), "shop.orders")
        server.accept().run {
            open()
            sse(connected(3))
            sse(rows(row(1, "10"), row(7, "70")))
            sse("""{"type":"heartbeat","id":"3@k","position":"3","fresh":true}""")
            close()
        }
        server.accept().run {
            assertTrue("snapshot=true" in query)
            assertNull(headers["last-event-id"])
            open()
            sse(connected(3))
            sse(rows(row(1, "10")))
            sse(end(3))
            runBlocking { store.ready(deadline) }
            assertEquals(1, store.size)
            close()
        }
        eventually("stale") { store.status.value == StoreStatus.STALE }
        server.accept().run {
            assertTrue("snapshot=true" !in query)
            assertEquals("3@k", headers["last-event-id"])
            open()
            sse(connected(4))
            sse(event("inserted", "4-0@k", 2, null, """{"id":2,"total":20}"""))
            eventually("ready") { store.status.value == StoreStatus.READY && store.size == 2 }
        }
    }

    @Test
    fun `a resync and a rewritten table are read again, the old rows stay (tc-table-resync, tc-table-schema-changed)`() {
        val (store, peer) = ready()
        val schemas = Received<String>()
        store.onSchemaChange { schemas.add(it.toString()) }
        peer.sse("""{"type":"schema_changed","id":"4-0@k","table":"shop.orders","before":[],"after":[],"rewritten":false}""")
        assertEquals("SchemaChange(shop.orders, isRewritten=false)", schemas.next())
        peer.sse("""{"type":"resync","id":"9@k","reason":"pruned","snapshot":{"flags":[]}}""")
        peer.awaitEnd()
        val second = server.accept().apply {
            assertTrue("snapshot=true" in query)
            open()
            sse(connected(9))
            eventually("stale") { store.status.value == StoreStatus.STALE && store.size == 2 }
            sse(rows(row(1, "10")))
            sse(end(9))
            eventually("ready") { store.status.value == StoreStatus.READY && store.size == 1 }
        }
        second.sse("""{"type":"schema_changed","id":"10-0@k","table":"shop.orders","before":[],"after":[],"rewritten":true}""")
        server.accept().run {
            assertTrue("snapshot=true" in query)
            open()
            sse(connected(10))
            sse(rows(row(1, "10.0"), row(2, "20.5")))
            sse(end(10))
            eventually("ready") { store.status.value == StoreStatus.READY && store.size == 2 }
            sse("""{"type":"table_truncated","id":"11-0@k","table":"shop.orders","key":null,"before":null,"after":null}""")
            eventually("empty") { store.size == 0 }
        }
    }

    @Test
    fun `more rows than allowed end the store (tc-table-too-many)`() {
        val (store, peer) = ready(maxRows = 2)
        peer.sse(event("inserted", "4-0@k", 3, null, """{"id":3,"total":30}"""))
        peer.awaitEnd()
        eventually("error") { store.status.value == StoreStatus.ERROR }
        val error = generateSequence { errors.next() }.filterIsInstance<TableFailedException>().first()
        assertTrue("shop.orders" in error.message!! && "more than 2 rows" in error.message!!)
    }

    @Test
    fun `what the server refuses, and what is tried again (tc-table-fails)`() {
        val store = TableStore(client(), "shop.orders")
        server.accept().run {
            open()
            sse("""{"type":"backfill_failed","code":"too_busy","message":"Four tables are being read."}""")
        }
        assertTrue("too_busy. Four tables" in errors.next().message!!)
        server.accept().run {
            open()
            sse("""{"type":"backfill_failed","code":"unknown_table","message":"shop.orders is not watched."}""")
        }
        val error = assertThrows(TableFailedException::class.java) { evaluating { store.ready(deadline) } }
        assertEquals("unknown_table", error.code)
        assertTrue("shop.orders is not watched." in error.message!!)
        assertEquals(StoreStatus.ERROR, store.status.value)
        assertTrue(server.isLeftAlone())
        val refused = TableStore(client(), "shop.orders")
        server.accept().refuse(403)
        assertThrows(ConnectionRefusedException::class.java) { evaluating { refused.ready(deadline) } }
    }

    @Test
    fun `numbers are exact (tc-table-numbers)`() {
        val big = "9007199254740993"
        val exact = "123456789012345678901234567890.10"
        val row = TableRow.valuesOf(
            kotlinx.serialization.json.Json.parseToJsonElement("""{"a":$big,"b":$exact,"c":1e3,"d":"1","e":null,"f":true,"g":[1,{"h":2.50}]}""")
                as kotlinx.serialization.json.JsonObject,
        )
        assertEquals(9007199254740993L, row["a"])
        assertEquals(BigDecimal(exact), row["b"])
        assertEquals(BigDecimal("1e3"), row["c"])
        assertEquals(listOf("1", null, true), listOf(row["d"], row["e"], row["f"]))
        assertEquals(listOf(1L, mapOf("h" to BigDecimal("2.50"))), row["g"])
        assertEquals(TableRow.identity(mapOf("id" to 1)), TableRow.identity(mapOf("id" to BigDecimal("1.0"))))
    }

    @Test
    fun `a row that could not be delivered is kept by its key (tc-table-unreadable)`() {
        val (store, peer) = ready()
        peer.sse(event("updated", "4-0@k", 1, null, null, ""","unreadable":"too_large""""))
        eventually("the change") { store.position == 4L }
        assertNull(store[1]!!.values)
        assertEquals("too_large", store[1]!!.unreadable)
        assertTrue("too_large" in errors.next().message!!)
    }

    @Test
    fun `it ends with its client, and alone`() {
        val (store, peer) = ready()
        store.close()
        store.close()
        peer.awaitEnd()
        assertEquals(StoreStatus.CLOSED, store.status.value)
        assertEquals(2, store.size)
        val (other, open) = ready()
        clients.last().close()
        open.awaitEnd()
        eventually("closed") { other.status.value == StoreStatus.CLOSED }
    }
}
