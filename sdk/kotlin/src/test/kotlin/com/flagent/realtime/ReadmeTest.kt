package com.flagent.realtime

import kotlinx.coroutines.flow.take
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Timeout
import java.nio.file.Files
import java.nio.file.Path
import kotlin.concurrent.thread
import kotlin.time.Duration.Companion.seconds

/** The README's ten lines, run. The text itself is compared, so that the two cannot part. */
@Timeout(30)
class ReadmeTest {
    @Test
    fun `ten lines to a live flag`() {
        val printed = Heard<String>()
        fun println(value: Any?) = printed.add(value.toString())

        ScriptedServer().use { server ->
            val main = thread {
                runBlocking {
                    FlagentWebSocketClient(server.ws, apiKey = null).use { client ->
                        val store = FlagStore(client)
                        store.ready(5.seconds)
                        println(store["new_payment_flow"]?.enabled)
                        store.onChange { change -> println("${change.kind} ${change.key}: ${change.after?.enabled}") }
                        client.events.take(1).collect { event -> println("${event.type} ${event.flagKey}") }
                    }
                }
            }
            server.acceptWebSocket().run {
                receive()
                send(connected(1, type = "subscribed"))
                send(snapshot(1, """{"id":1,"key":"new_payment_flow","enabled":false}"""))
                assertEquals("false", printed.next())
                // The store selects everything already, so the flow of events asks for nothing new: change until it listens.
                var id = 2
                while (main.isAlive && id < 1000) {
                    val enabled = id % 2 == 0
                    try {
                        send(
                            """{"type":"flag_updated","id":"${id++}-0@k","flagKey":"new_payment_flow","flagID":1,""" +
                                """"flag":{"id":1,"key":"new_payment_flow","enabled":$enabled}}""",
                        )
                    } catch (_: java.io.IOException) {
                        break
                    }
                    Thread.sleep(5)
                }
                main.join()
            }
        }
        val lines = List(printed.size) { printed.next() }
        assertTrue("UPDATED new_payment_flow: true" in lines, lines.toString())
        assertEquals("FLAG_UPDATED new_payment_flow", lines.last())
    }

    @Test
    fun `the README shows what is run`() {
        fun String.code() = lines().map { it.trim() }
        val readme = Files.readString(Path.of("README.md")).substringAfter("```kotlin\n").substringBefore("```").code()
        val run = Files.readString(Path.of("src/test/kotlin/com/flagent/realtime/ReadmeTest.kt")).code().toSet()
        val shown = readme.filter { it.isNotEmpty() && !it.startsWith("import ") && it != "}" && !it.startsWith("suspend fun main") }
        assertEquals(5, shown.size)
        for (line in shown) assertTrue(line in run || line.replace(".events.collect", ".events.take(1).collect") in run, line)
    }
}
