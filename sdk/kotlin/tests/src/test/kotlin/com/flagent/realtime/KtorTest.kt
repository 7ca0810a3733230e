package com.flagent.realtime

import com.flagent.realtime.ktor.FlagentPosition
import com.flagent.realtime.ktor.flagentBaggage
import com.flagent.realtime.ktor.flagentPosition
import io.ktor.client.request.get
import io.ktor.client.request.header
import io.ktor.client.statement.bodyAsText
import io.ktor.server.application.install
import io.ktor.server.response.respondText
import io.ktor.server.routing.get
import io.ktor.server.routing.routing
import io.ktor.server.testing.testApplication
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import kotlin.concurrent.thread
import kotlin.time.Duration.Companion.seconds

/** The plugin for Ktor (tc-baggage). */
class KtorTest {
    @Test
    fun `a request waits for the flags that its caller has seen, and passes its own position on`() {
        ScriptedServer().use { server ->
            FlagentWebSocketClient(server.ws, null, eager).use { client ->
                val flags = FlagStore(client)
                val peer = server.acceptWebSocket().apply {
                    receive()
                    send(connected(3, type = "subscribed"))
                    send(snapshot(3, flag("a")))
                }
                evaluating { flags.ready(deadline) }
                val late = Received<String>()
                testApplication {
                    application {
                        install(FlagentPosition) {
                            store = flags
                            timeout = 5.seconds
                            onLate = { _, error -> late.add(error::class.simpleName!!) }
                        }
                        routing {
                            get("/") { call.respondText("${flags.position} ${call.flagentPosition} ${call.flagentBaggage(flags)}") }
                        }
                    }
                    suspend fun ask(baggage: String?) = this.client.get("/") { baggage?.let { header("baggage", it) } }.bodyAsText()
                    assertEquals("3 null flagent-position=3@k", ask(null))
                    val changing = thread { peer.send(changed("a", "4-0@k")) }
                    assertEquals("4 4-0@k user=7,flagent-position=4-0@k", ask("user=7,flagent-position=4-0@k"))
                    changing.join()
                    assertTrue(late.isQuiet(1))
                    assertEquals("4 9@k flagent-position=9@k", ask("flagent-position=9@k"))
                    assertEquals("NotReadyException", late.next())
                    assertEquals("4 9@other flagent-position=4-0@k", ask("flagent-position=9@other"))
                    assertEquals("IllegalArgumentException", late.next())
                }
            }
        }
    }
}
