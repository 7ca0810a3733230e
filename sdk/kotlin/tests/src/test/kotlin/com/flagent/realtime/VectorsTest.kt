package com.flagent.realtime

import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.booleanOrNull
import kotlinx.serialization.json.double
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNotNull
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.assertThrows
import java.net.URI
import java.nio.file.Files
import java.nio.file.Path
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Instant

/** Every case of the vectors that all SDKs share. */
class VectorsTest {
    private val folder = Path.of(System.getProperty("flagent.vectors"))

    private fun file(name: String): JsonElement = Json.parseToJsonElement(Files.readString(folder.resolve(name)))

    private fun tests(cases: JsonElement, run: (JsonObject) -> Unit): List<DynamicTest> {
        assertTrue(cases.jsonArray.isNotEmpty())
        return cases.jsonArray.map { it.jsonObject }.map { case ->
            DynamicTest.dynamicTest(case.text("id") + " " + case.text("name").orEmpty()) { run(case) }
        }
    }

    private fun JsonObject.ms(name: String): Duration? = long(name)?.milliseconds

    private fun config(case: JsonObject): ReconnectConfig {
        val config = case.getValue("config").jsonObject
        return ReconnectConfig(
            config.int("maxAttempts"),
            config.ms("initialDelayMs")!!,
            config.ms("maxDelayMs")!!,
            config.getValue("multiplier").jsonPrimitive.double,
            config.ms("stableAfterMs")!!,
        )
    }

    @TestFactory
    fun `event stream text`() = tests(file("sse.json")) { case ->
        val bytes = case.text("input")?.toByteArray() ?: case.text("inputHex")!!.chunked(2).map { it.toInt(16).toByte() }.toByteArray()
        val expected = case.getValue("outputs").jsonArray.map { it.jsonObject }.map { output ->
            when (val kind = output.text("kind")) {
                "event" -> SseItem.Event(output.text("event")!!, output.text("data")!!, output.text("lastEventId")!!)
                "comment" -> SseItem.Comment(output.text("text")!!)
                "retry" -> SseItem.Retry(output.long("ms")!!)
                "id" -> SseItem.Id(output.text("lastEventId")!!)
                else -> error("unknown kind $kind")
            }
        }
        val splits = listOf(listOf(bytes), bytes.map { byteArrayOf(it) }) +
            (0..bytes.size).map { listOf(bytes.copyOfRange(0, it), bytes.copyOfRange(it, bytes.size)) }
        for (split in splits) {
            val parser = SseParser()
            assertEquals(expected, split.flatMap(parser::feed))
            assertEquals(case.text("lastEventId"), parser.lastEventId)
        }
    }

    @TestFactory
    fun `keep-alive comments`() = tests(file("keepalive.json")) { case ->
        val heartbeat = MessageDecoder.parseKeepAlive(case.text("comment")!!)
        val expected = case.getValue("heartbeat")
        if (expected is JsonNull) {
            assertNull(heartbeat)
        } else {
            val fields = expected.jsonObject
            assertEquals(Message.Heartbeat(null, fields.text("position"), fields.bool("fresh"), fields.text("digest")), heartbeat)
        }
    }

    @TestFactory
    fun `delays of reconnecting`() = tests(file("backoff.json").jsonObject.getValue("delays")) { case ->
        val delay = config(case).reconnectDelay(
            case.int("attempt")!!,
            case.getValue("random").jsonPrimitive.double,
            case.ms("retryMs"),
            case.ms("retryAfterMs"),
            case.bool("feedsStore") ?: false,
        )
        assertDelay(case.ms("delayMs"), delay)
    }

    @TestFactory
    fun `sequences of reconnecting`() = tests(file("backoff.json").jsonObject.getValue("sequences")) { case ->
        var random = 0.0
        val backoff = Backoff(config(case)) { random }
        for (step in case.getValue("steps").jsonArray.map { it.jsonObject }) {
            val at = step.ms("at")!!
            when (val event = step.text("event")) {
                "connected" -> Unit
                "message" -> backoff.onMessage(at)
                "retry" -> backoff.onRetry(step.ms("ms")!!)
                "lost" -> {
                    random = step.getValue("random").jsonPrimitive.double
                    assertDelay(step.ms("delayMs"), backoff.onLost(at, step.ms("retryAfterMs")))
                }
                else -> error("unknown event $event")
            }
        }
    }

    private fun assertDelay(expected: Duration?, actual: Duration?) {
        if (expected == null) {
            assertNull(actual)
        } else {
            assertNotNull(actual)
            assertTrue((actual!! - expected).absoluteValue <= 1.milliseconds, "$actual instead of $expected")
        }
    }

    private fun policy(part: String, run: (JsonObject) -> Unit) = tests(file("policy.json").jsonObject.getValue(part), run)

    private fun outcome(case: JsonObject) = Outcome.valueOf(case.text("outcome")!!.uppercase())

    @TestFactory
    fun `HTTP statuses`() = policy("http") { assertEquals(outcome(it), Policy.statusOutcome(it.int("status")!!)) }

    @TestFactory
    fun `close codes`() = policy("close") { assertEquals(outcome(it), Policy.closeCodeOutcome(it.int("code")!!)) }

    @TestFactory
    fun `content types`() = policy("contentType") { assertEquals(it.bool("isStream"), Policy.isEventStream(it.text("value"))) }

    @TestFactory
    fun `values of Retry-After`() = policy("retryAfter") {
        assertEquals(it.ms("ms"), Policy.parseRetryAfter(it.text("value"), Instant.parse(it.text("now")!!).toEpochMilliseconds()))
    }

    @TestFactory
    fun redirects() = policy("redirect") { case ->
        val target = Policy.resolveRedirect(URI(case.text("from")!!), case.text("location"), case.int("hop")!!)
        val expected = case.getValue("outcome")
        if (expected is JsonNull) {
            assertNull(target)
        } else {
            assertEquals(URI(expected.jsonObject.text("url")!!) to expected.jsonObject.bool("sendKey"), target)
        }
    }

    @TestFactory
    fun `values of a context`() = tests(file("values.json").jsonObject.getValue("contextValue")) { case ->
        val literal = case["value"] as? JsonPrimitive
        val value: Any? = when {
            "integer" in case -> case.text("integer")!!.toBigInteger()
            "special" in case -> case.text("special")!!.toDouble()
            literal == null -> case["value"]
            literal.isString -> literal.content
            else -> literal.booleanOrNull ?: literal.content.toLongOrNull() ?: literal.double
        }
        val text = case.text("text")
        if (text == null) {
            val error = assertThrows<IllegalArgumentException> { ContextValue.jsonOf(mapOf("p" to value)) }
            assertTrue("'p' is" in error.message!!)
        } else {
            for (given in listOfNotNull(value, literal)) {
                val sent = ContextValue.jsonOf(mapOf("p" to given, "none" to null))
                assertEquals(mapOf("p" to text), sent.mapValues { it.value.jsonPrimitive.content })
            }
        }
    }

    @TestFactory
    fun digests() = tests(file("digest.json")) { case ->
        val texts = case.getValue("flags").jsonArray.map { Canonical.canonicalFlag(it.jsonObject) }
        // Vectors that are about the sum alone leave the texts out.
        (case["canonical"] as? JsonArray)?.let { expected -> assertEquals(expected.map { it.jsonPrimitive.content }, texts) }
        val digest = Digest()
        texts.forEach { digest.add(Canonical.crc(it)) }
        assertEquals(case.text("digest"), digest.toString())
    }

    @TestFactory
    fun `order of ids`() = tests(file("event_ids.json")) { case ->
        assertEquals(IdOrder.valueOf(case.text("aIs")!!.uppercase()), EventId.compare(case.text("a")!!, case.text("b")!!))
    }

    @TestFactory
    fun `typed events`() = tests(file("messages.json")) { case ->
        val event = (MessageDecoder.decodeMessage(case.getValue("message").jsonObject) as Message.Events).events.single()
        val data = event.data
        for ((field, expected) in case.getValue("event").jsonObject) {
            val actual: Any? = when (field) {
                "type" -> event.type.name.takeIf { event.type !== EventType.UNKNOWN }
                "typeName" -> event.typeName
                "id" -> event.id
                "flagKey" -> event.flagKey
                "flagID" -> event.flagID
                "segmentID" -> event.segmentID
                "variantID" -> event.variantID
                "committedAt" -> event.committedAt?.toString()
                "table" -> event.raw.text("table")
                "count" -> (data as List<*>).size
                "dataKey" -> (data as? Flag)?.key ?: data
                "dataKind" -> when (data) {
                    null -> "none"
                    is Flag -> "flag"
                    is String -> "key"
                    is Segment -> "segment"
                    is Variant -> "variant"
                    is List<*> -> "distributions"
                    is JsonObject -> "raw"
                    else -> data::class.simpleName
                }
                else -> error("unknown field $field")
            }
            assertEquals(expected, if (actual is Int) JsonPrimitive(actual) else (actual as String?)?.let(::JsonPrimitive) ?: JsonNull, field)
        }
    }

    @TestFactory
    fun `the store`() = tests(file("store.json")) { case ->
        val store = StoreCore(selection(case["selection"] as? JsonObject))
        for (step in case.getValue("steps").jsonArray.map { it.jsonObject }) play(store, step)
        val flags = case.getValue("flags").jsonObject.mapValues { (_, flag) -> flag.jsonObject - "schema" }
        assertEquals(flags, store.flags().associate { it.key to (it.raw - "schema") })
        assertEquals(case.text("digest"), store.digest)
        assertEquals(case.text("cursor"), store.lastEventId)
    }

    private fun selection(json: JsonObject?) = Selection(
        json?.texts("flags").orEmpty().toSet(),
        json?.list("flagIDs").orEmpty().map { it.jsonPrimitive.content.toInt() }.toSet(),
        json?.texts("tags").orEmpty().toSet(),
    )

    private fun play(store: StoreCore, step: JsonObject) {
        val at = step.ms("at")!!
        var changes = emptyList<FlagChange>()
        var requests = false
        var malformed = false
        when (val signal = step.text("signal")) {
            "tick" -> store.tick(at)
            "lost" -> store.connectionLost()
            "failed" -> store.clientFailed()
            "closed" -> store.close()
            null -> {
                val json = step.getValue("message").jsonObject
                var message = MessageDecoder.decodeMessage(json)
                if (message is Message.Connected) message = message.copy(resumed = json.bool("resumed") ?: false)
                malformed = message is Message.Malformed || (message is Message.Events && message.malformed.isNotEmpty())
                val update = store.receive(at, message)
                changes = update.changes
                requests = update.requestsSnapshot
            }
            else -> error("unknown signal $signal")
        }
        val where = "at ${step["at"]}"
        assertEquals(step.text("status"), store.status.name, where)
        assertEquals(
            step.getValue("changes").jsonArray.map { change -> change.jsonArray.map { it.jsonPrimitive.content } },
            changes.map { listOfNotNull(it.kind.name.lowercase(), it.key, it.schema) },
            where,
        )
        assertEquals(step.text("request") == "snapshot", requests, where)
        assertEquals(step.bool("error") ?: false, malformed, where)
        if (store.status == StoreStatus.READY) assertFalse(store.awaitsSnapshot, where)
    }
}
