package com.flagent.realtime

import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Tag
import org.junit.jupiter.api.Test
import kotlin.time.Duration.Companion.seconds

/**
 * Runs the Kotlin samples of the feature description, verbatim except for the URL. They must compile: `when` statements that name some of the types only, casts of `event.data`, and `1.second`.
 */
@Tag("engine")
class SeedSamplesTest {
    private val server = ScriptedServer()
    private val opened = mutableListOf<AutoCloseable>()
    private val seen = Received<String>()

    private val localCache = object {
        fun update(flag: Flag) = seen.add("update ${flag.key} ${flag.enabled}")

        fun remove(flagKey: String) = seen.add("remove $flagKey")
    }

    private val logger = object {
        fun debug(text: String) = seen.add(text)
    }

    private val monitoringSystem = object {
        fun recordFlagChange(flag: Flag) = seen.add("record ${flag.key}")
    }

    private fun updateLocalFlag(flag: Flag) = localCache.update(flag)

    private fun updateConfiguration(flag: Flag) = localCache.update(flag)

    private fun handleEvent(event: FlagentEvent) = seen.add("event ${event.type}")

    private fun handleFlagUpdated(flag: Flag) = seen.add("updated ${flag.key}")

    private fun handleFlagEnabled(flagKey: String) = seen.add("enabled $flagKey")

    private fun handleFlagDisabled(flagKey: String) = seen.add("disabled $flagKey")

    private fun handleSegmentUpdated(segment: Segment) = seen.add("segment ${segment.id}")

    private fun enableNewPaymentFlow() = seen.add("on")

    private fun disableNewPaymentFlow() = seen.add("off")

    private fun <T : AutoCloseable> T.closedLater(): T = also(opened::add)

    @AfterEach
    fun close() {
        opened.forEach { it.close() }
        server.close()
    }

    private val subscribed = connected(1, type = "subscribed")

    private val enabled = ""","enabled":true"""

    private fun flagUpdated(key: String, id: String, more: String = "") =
        """{"type":"flag_updated","id":"$id","flagKey":"$key","flag":{"id":1,"key":"$key"$more}}"""

    @Test
    fun `websocket client, subscription and evaluation`() {
        val url = server.ws
        val wsClient = FlagentWebSocketClient(
            url = url,
            apiKey = "your-api-key"
        ).closedLater()

        // Подписка на обновления флага
        wsClient.subscribe("new_payment_flow") { flag ->
            println("Flag updated: ${flag.key} - enabled: ${flag.enabled}")
            // Обновить локальный кэш
            localCache.update(flag)
        }

        // Отправка evaluation requests
        wsClient.evaluate(
            flagKey = "new_payment_flow",
            entityID = "user123",
            entityContext = mapOf("country" to "US")
        ) { result ->
            println("Evaluation result: ${result.variantKey}")
            seen.add("result ${result.variantKey}")
        }

        val peer = server.acceptWebSocket()
        val messages = List(2) { peer.receive() }
        assertEquals(listOf("subscribe", "evaluate"), messages.map { it.text("type") })
        peer.send(subscribed)
        peer.send(flagUpdated("new_payment_flow", "2-0@k", enabled))
        assertEquals("update new_payment_flow true", seen.next())
        peer.send(
            """{"type":"evaluation_result","requestId":"${messages[1].text("requestId")}",""" +
                """"result":{"flagID":1,"flagKey":"new_payment_flow","variantID":2,"variantKey":"treatment"}}""",
        )
        assertEquals("result treatment", seen.next())
    }

    @Test
    fun `event stream client`() {
        val url = server.http
        val sseClient = FlagentSSEClient(
            url = url,
            apiKey = "your-api-key"
        ).closedLater()

        sseClient.subscribe { event ->
            when (event.type) {
                EventType.FLAG_UPDATED -> {
                    val flag = event.data as Flag
                    println("Flag updated: ${flag.key}")
                    localCache.update(flag)
                }
                EventType.FLAG_DELETED -> {
                    val flagKey = event.data as String
                    println("Flag deleted: $flagKey")
                    localCache.remove(flagKey)
                }
            }
        }

        // The promised response, verbatim.
        server.acceptStream(
            "event: flag_updated\ndata: {\"key\": \"new_payment_flow\", \"enabled\": true}\n\n" +
                "event: flag_created\ndata: {\"key\": \"new_feature\", \"enabled\": false}\n\n" +
                "event: flag_deleted\ndata: {\"key\": \"old_feature\"}\n\n",
        )
        assertEquals(listOf("update new_payment_flow true", "remove old_feature"), List(2) { seen.next() })
    }

    @Test
    fun `kinds of subscriptions`() {
        val wsClient = FlagentWebSocketClient(url = server.ws).closedLater()

        // Подписка на конкретный флаг
        wsClient.subscribeFlag("new_payment_flow") { flag ->
            // Handle update
            updateLocalFlag(flag)
        }

        // Подписка на флаги по тегам
        wsClient.subscribeTags(listOf("payment", "experiment")) { flags ->
            flags.forEach { flag ->
                localCache.update(flag)
            }
        }

        // Подписка на все изменения
        wsClient.subscribeAll { event ->
            // Handle all flag changes
            handleEvent(event)
        }

        server.acceptWebSocket().run {
            receive()
            send(subscribed)
            send(flagUpdated("new_payment_flow", "2-0@k"))
            send(flagUpdated("other", "3-0@k", ""","tags":[{"id":1,"value":"experiment"}]"""))
        }
        assertEquals(
            listOf("update new_payment_flow false", "event FLAG_UPDATED", "event FLAG_UPDATED", "update other false"),
            List(4) { seen.next() },
        )
    }

    @Test
    fun `reconnect configuration`() {
        val wsClient = FlagentWebSocketClient(
            url = server.ws,
            reconnectConfig = ReconnectConfig(
                maxAttempts = 10,
                initialDelay = 1.second,
                maxDelay = 60.seconds,
                multiplier = 2.0
            )
        ).closedLater()
        wsClient.subscribe("new_payment_flow") { flag ->
            if (flag.enabled) {
                enableNewPaymentFlow()
            } else {
                disableNewPaymentFlow()
            }
        }
        server.acceptWebSocket().run {
            receive()
            send(subscribed)
            close()
        }
        server.acceptWebSocket().run {
            receive()
            send(flagUpdated("new_payment_flow", "2-0@k", enabled))
            send(flagUpdated("new_payment_flow", "3-0@k"))
        }
        assertEquals(listOf("on", "off"), List(2) { seen.next() })
        assertEquals(ReconnectConfig(10, 1.seconds, 60.seconds, 2.0), ReconnectConfig())
    }

    @Test
    fun `event types`() {
        val wsClient = FlagentWebSocketClient(url = server.ws).closedLater()
        wsClient.onEvent { event ->
            when (event.type) {
                EventType.FLAG_UPDATED -> handleFlagUpdated(event.data as Flag)
                EventType.FLAG_ENABLED -> handleFlagEnabled(event.flagKey)
                EventType.FLAG_DISABLED -> handleFlagDisabled(event.flagKey)
                EventType.SEGMENT_UPDATED -> handleSegmentUpdated(event.data as Segment)
            }
        }
        server.acceptWebSocket().run {
            receive()
            send(subscribed)
            send(changed("a", "2-0@k"))
            send(changed("a", "2-1@k", type = "flag_enabled"))
            send(changed("a", "2-2@k", type = "flag_disabled"))
            send("""{"type":"segment_updated","id":"2-3@k","flagKey":"a","flag":${flag("a")},"segmentID":3,"segment":{"id":3}}""")
        }
        assertEquals(listOf("updated a", "enabled a", "disabled a", "segment 3"), List(4) { seen.next() })
    }

    @Test
    fun `use cases`() {
        val wsClient = FlagentWebSocketClient(url = server.ws).closedLater()
        wsClient.subscribeAll { event ->
            when (event.type) {
                EventType.FLAG_UPDATED -> {
                    val flag = event.data as Flag
                    updateConfiguration(flag)
                }
            }
        }
        wsClient.subscribe("debug_flag") { flag ->
            logger.debug("Flag updated: ${flag.key} - ${flag.enabled}")
            // Send to monitoring system
            monitoringSystem.recordFlagChange(flag)
        }
        server.acceptWebSocket().run {
            receive()
            send(subscribed)
            send(flagUpdated("debug_flag", "2-0@k"))
        }
        assertEquals(
            listOf("update debug_flag false", "Flag updated: debug_flag - false", "record debug_flag"),
            List(3) { seen.next() },
        )
    }
}
