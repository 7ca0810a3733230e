package com.flagent.realtime

import com.flagent.realtime.openfeature.FlagentProvider
import dev.openfeature.sdk.ErrorCode
import dev.openfeature.sdk.ImmutableContext
import dev.openfeature.sdk.OpenFeatureAPI
import dev.openfeature.sdk.ProviderEvent
import dev.openfeature.sdk.Value
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.util.concurrent.atomic.AtomicInteger
import java.util.function.Supplier
import kotlin.concurrent.thread

/** The provider behind OpenFeature's own API. Names in parentheses are the cases of the behaviour table. */
class OpenFeatureTest {
    private val server = ScriptedServer()
    private val api = OpenFeatureAPI.getInstance()
    private val made = mutableListOf<RealtimeClient>()

    @AfterEach
    fun close() {
        api.shutdown()
        made.forEach { it.close() }
        server.close()
    }

    private fun client() = FlagentWebSocketClient(server.ws, "k", eager).also(made::add)

    private fun variants(key: String, id: Int, attachment: String, more: String = "", segment: String = "") =
        """{"id":$id,"key":"$key","enabled":true,"snapshotID":9,"segments":[{"id":3,"rank":0,"rolloutPercent":100,"constraints":[],""" +
            """"distributions":[{"id":1,"variantID":5,"percent":100}]$segment}],"variants":[{"id":5,"key":"on","attachment":$attachment}]$more}"""

    private fun set(provider: FlagentProvider, vararg flags: String): Peer {
        var peer: Peer? = null
        val serving = thread {
            peer = server.acceptWebSocket().apply {
                receive()
                send(connected(3, type = "subscribed"))
                send(snapshot(3, *flags))
            }
        }
        api.setProviderAndWait(provider)
        serving.join()
        return peer!!
    }

    private val user = ImmutableContext("user1", mapOf("country" to Value("US")))

    @Test
    fun `values, reasons and errors (tc-targeting-key)`() {
        set(
            FlagentProvider(Supplier { client() }),
            variants("bool", 1, "null"),
            variants("number", 2, """{"value":"3.0","color":"red"}"""),
            variants("text", 4, """{"value":"hello"}"""),
            """{"id":5,"key":"off","enabled":false,"segments":[],"variants":[]}""",
            """{"id":6,"key":"big","enabled":true,"tooLarge":2000000,"segments":[],"variants":[]}""",
        )
        val client = api.client
        val bool = client.getBooleanDetails("bool", false, user)
        assertEquals(listOf(true, "on", "STATIC"), listOf(bool.value, bool.variant, bool.reason))
        assertEquals(1, bool.flagMetadata.getInteger("flagID"))
        assertEquals(3, client.getIntegerValue("number", 0, user))
        assertEquals(3.0, client.getDoubleValue("number", 0.0, user))
        assertEquals("red", client.getObjectValue("number", Value(), user).asStructure().getValue("color").asString())
        assertEquals("hello", client.getStringValue("text", "", user))
        assertEquals("DISABLED", client.getStringDetails("off", "default", user).reason)
        fun code(key: String, context: ImmutableContext = user) = client.getIntegerDetails(key, 7, context).also { assertEquals(7, it.value) }.errorCode
        assertEquals(ErrorCode.TYPE_MISMATCH, code("text"))
        assertEquals(ErrorCode.FLAG_NOT_FOUND, code("missing"))
        assertEquals(ErrorCode.TARGETING_KEY_MISSING, code("number", ImmutableContext(" ")))
        assertEquals(ErrorCode.TARGETING_KEY_MISSING, code("number", ImmutableContext()))
        assertEquals(ErrorCode.GENERAL, code("big"))
    }

    @Test
    fun `changes are events, and a provider that is set again follows again (tc-provider-again)`() {
        val closed = AtomicInteger()
        val provider = FlagentProvider(Supplier { client().also { closed.incrementAndGet() } })
        val changed = Received<String>()
        val client = api.client
        client.on(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED) { changed.add(it.flagsChanged.joinToString()) }
        val stale = Received<String>()
        client.on(ProviderEvent.PROVIDER_STALE) { stale.add(it.message) }
        val peer = set(provider, variants("a", 1, "null"))
        peer.send(changed("b", "4-0@k"))
        assertEquals("b", changed.next())
        peer.close()
        assertTrue("freshness" in stale.next())
        val again = set2(provider)
        again.send(changed("c", "9-0@k"))
        assertEquals("c", changed.next())
        assertEquals(2, closed.get())
        assertEquals(ConnectionState.CLOSED, made.first().state.value)
    }

    private fun set2(provider: FlagentProvider): Peer {
        api.setProviderAndWait(dev.openfeature.sdk.NoOpProvider())
        eventually("the first client is closed") { made.first().state.value == ConnectionState.CLOSED }
        // Connections of the first client may still wait to be accepted.
        val serving = Received<Peer>()
        val answering = thread {
            while (true) {
                val peer = try {
                    server.acceptWebSocket().apply {
                        receive()
                        send(connected(8, type = "subscribed"))
                        send(snapshot(8, variants("a", 1, "null")))
                    }
                } catch (_: java.io.IOException) {
                    continue
                }
                serving.add(peer)
                break
            }
        }
        api.setProviderAndWait(provider)
        answering.join()
        return serving.next()
    }
}
