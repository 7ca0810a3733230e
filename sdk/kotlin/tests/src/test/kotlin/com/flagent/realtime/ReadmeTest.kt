package com.flagent.realtime

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.nio.file.Files
import java.nio.file.Path
import kotlin.concurrent.thread
import kotlin.time.Duration.Companion.seconds

/** Runs the README's examples, and compares their text with the README's. */
class ReadmeTest {
    @Test
    fun `ten lines to a live flag`() {
        val printed = Received<String>()
        fun println(value: Any?) = printed.add(value.toString())

        ScriptedServer().use { server ->
            val main = thread {
                try {
                    runBlocking {
                        FlagentWebSocketClient(server.ws, apiKey = null).use { client ->
                            val store = FlagStore(client)
                            store.ready(30.seconds)
                            println(store["new_payment_flow"]?.enabled)
                            store.onChange { change -> println("${change.kind} ${change.key}: ${change.after?.enabled}") }
                            client.events.collect { event -> println("${event.type} ${event.flagKey}") }
                        }
                    }
                } catch (_: InterruptedException) {
                    // Ends a program that runs until it is stopped.
                }
            }
            server.acceptWebSocket().run {
                receive()
                send(connected(1, type = "subscribed"))
                send(snapshot(1, """{"id":1,"key":"new_payment_flow","enabled":false}"""))
                assertEquals("false", printed.next())
                // The store already selects everything, so neither listener sends a request.
                val awaited = mutableSetOf("UPDATED new_payment_flow: true", "FLAG_UPDATED new_payment_flow")
                var id = 2
                while (awaited.isNotEmpty()) {
                    send(
                        """{"type":"flag_updated","id":"${id++}-0@k","flagKey":"new_payment_flow","flagID":1,""" +
                            """"flag":{"id":1,"key":"new_payment_flow","enabled":${id % 2 == 0}}}""",
                    )
                    Thread.sleep(5)
                    while (printed.size > 0) awaited -= printed.next()
                }
                main.interrupt()
                main.join()
            }
        }
    }

    @Test
    fun subscribing() {
        val received = Received<String>()
        val cache = object {
            fun update(flag: Flag) = received.add("cached ${flag.key}")
        }
        fun println(value: Any?) = received.add(value.toString())

        ScriptedServer().use { server ->
            FlagentWebSocketClient(server.ws).use { client ->
                client.subscribe("new_payment_flow") { flag -> cache.update(flag) }
                client.subscribeTags(listOf("payment")) { flags -> flags.forEach(cache::update) }
                client.subscribeSegments { event -> println(event.segmentID) }
                client.subscribeAll { event -> println(event) }
                client.onEvent { event -> println(event) }
                server.acceptWebSocket().run {
                    receive()
                    send(connected(1, type = "subscribed"))
                    send(
                        """{"type":"segment_updated","id":"2-0@k","flagKey":"new_payment_flow","flagID":1,"segmentID":3,"segment":null,""" +
                            """"flag":{"id":1,"key":"new_payment_flow","tags":[{"id":1,"value":"payment"}]}}""",
                    )
                }
                val event = "FlagentEvent(segment_updated, id=2-0@k, flagKey=new_payment_flow)"
                assertEquals(
                    listOf("cached new_payment_flow", "3", event, event, "cached new_payment_flow"),
                    List(5) { received.next() },
                )
            }
        }
    }

    @Test
    fun evaluating() {
        val received = Received<String>()
        fun println(value: Any?) = received.add(value.toString())

        ScriptedServer().use { server ->
            val main = thread {
                runBlocking {
                    FlagentWebSocketClient(server.ws, reconnectConfig = eager).use { client ->
                        val result = client.evaluate("new_payment_flow", "user123", mapOf("country" to "US"))
                        println(result.flagKey)
                        client.evaluate("new_payment_flow", "user123") { result -> println(result.variantKey) }.join()
                        println(
                            client.evaluateBatch(listOf(EvaluationEntity("user123")), flagKeys = listOf("a", "b"))
                            .size,
                        )
                    }
                }
            }
            server.acceptWebSocket().run {
                repeat(3) {
                    val request = receive()
                    val result = """{"flagID":1,"flagKey":"new_payment_flow","variantID":2,"variantKey":"on"}"""
                    val answer = if (request.text("type") == "evaluate") """"result":$result""" else """"results":[$result,$result]"""
                    send("""{"type":"evaluation_result","requestId":"${request.text("requestId")}","position":"1",$answer}""")
                }
                main.join()
            }
        }
        assertEquals(listOf("new_payment_flow", "on", "2"), List(3) { received.next() })
    }

    @Test
    fun `local evaluation, any network`() {
        val options = ClientOptions(start = false)
        FlagentSSEClient("http://localhost:1", null as String?, options = options).use { offline ->
            val store = FlagStore(offline, bootstrap = """[{"id":1,"key":"new_payment_flow","enabled":true}]""")
            val result = store.evaluate("new_payment_flow", "user123", mapOf("country" to "US"))
            assertEquals(1, result.flagID)
        }
        val cache = Files.createTempDirectory("flags").toString()
        fun FilePersistence(directory: String) = FilePersistence(java.io.File(cache, directory))
        fun FlagentClient(url: String, apiKey: String) = FlagentClient(url, apiKey, options = options)
        val client = FlagentClient("https://flags.example.com", apiKey = "your-api-key")
        val store = FlagStore(client, persistence = FilePersistence("/var/cache/flags"))
        assertEquals(StoreStatus.INITIALIZING, store.status.value)
        client.close()
    }

    @Test
    fun `rows of a table`() {
        ScriptedServer().use { server ->
            val printed = Received<String>()
            fun println(value: Any?) = printed.add(value.toString())
            FlagentSSEClient(server.http, null as String?).use { client ->
                val answering = thread {
                    server.acceptStream().run {
                        sse(connected(3))
                        sse("""{"type":"rows","rows":[{"key":{"id":1},"row":{"id":1,"total":1.10}}]}""")
                        sse("""{"type":"rows_end","id":"3@k","position":"3"}""")
                    }
                }
                runBlocking {
                    val orders = TableStore(client, "shop.orders", where = "tenant = $1", params = listOf(7), columns = listOf("id", "total"))
                    orders.ready(30.seconds)
                    println(orders[1]?.get("total"))
                }
                answering.join()
            }
            assertEquals("1.10", printed.next())
        }
    }

    @Test
    fun `the README shows what is run`() {
        fun String.code() = lines().map { it.substringBefore(" // ").trim() }
        val readme = Files.readString(Path.of("../README.md")).split("```kotlin\n").drop(1).flatMap { it.substringBefore("```").code() }
        val run = Files.readString(Path.of("src/test/kotlin/com/flagent/realtime/ReadmeTest.kt")).code()
            .map { it.removeSuffix(".join()") }.toSet()
        val shown = readme.filter { it.isNotEmpty() && !it.startsWith("import ") && it != "}" && !it.startsWith("suspend fun main") }
        assertEquals(19, shown.size)
        for (line in shown) assertTrue(line in run, line)
    }
}
