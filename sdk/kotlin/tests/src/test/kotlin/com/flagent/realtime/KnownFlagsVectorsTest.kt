package com.flagent.realtime

import com.flagent.realtime.openfeature.VariantValue
import dev.openfeature.sdk.exceptions.TypeMismatchError
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.contentOrNull
import kotlinx.serialization.json.doubleOrNull
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import java.net.URI
import java.nio.file.Files
import java.nio.file.Path
import kotlin.time.Duration.Companion.days
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Instant

/** The shared vectors of known flags, transports, baggage. */
class KnownFlagsVectorsTest {
    private val folder = Path.of(System.getProperty("flagent.vectors"))

    private fun file(name: String): JsonElement = Json.parseToJsonElement(Files.readString(folder.resolve(name)))

    private fun tests(cases: JsonElement?, run: (JsonObject) -> Unit) = cases!!.jsonArray.map { it.jsonObject }.map { case ->
        DynamicTest.dynamicTest("${case.text("id")} ${case.text("name").orEmpty()}") { run(case) }
    }

    private fun persistence(part: String, run: (JsonObject) -> Unit) = tests(file("persistence.json").jsonObject[part], run)

    private fun selection(json: JsonObject?) = Selection(
        json?.texts("flags").orEmpty().toSet(),
        (json?.list("ids") ?: json?.list("flagIDs")).orEmpty().map { it.jsonPrimitive.content.toInt() }.toSet(),
        json?.texts("tags").orEmpty().toSet(),
    )

    @TestFactory
    fun `keys of saved flags`() = persistence("keys") { case ->
        val url = URI(case.text("url")!!)
        val selection = selection(case.obj("selection"))
        assertEquals(case.text("normalUrl"), CacheKey.normalUrl(url))
        assertEquals(case.text("selectionText"), CacheKey.selectionText(selection))
        assertEquals(case.text("key"), CacheKey.of(url, selection, case.text("credential")))
    }

    private fun assertReading(case: JsonObject, reading: SavedFlags.Reading) {
        assertEquals(case.text("ignored"), reading.problem?.name?.lowercase())
        assertEquals(case.text("eventID"), reading.flags?.eventID)
        if (reading.flags != null) assertEquals(case.texts("flagKeys"), reading.flags.flags.map { it.key })
    }

    @TestFactory
    fun `saved documents`() = persistence("documents") { case ->
        val now = Instant.parse(case.text("now")!!)
        assertReading(case, SavedFlags.read(case.text("text")!!, case.text("key")!!, now, case.long("maxAgeMs")!!.milliseconds))
    }

    @TestFactory
    fun `what is saved`() = persistence("saves") { case ->
        val flags = case.objects("flags").map { Flag.of(it)!! }
        val digest = Digest()
        flags.forEach { digest.add(Canonical.crc(Canonical.canonicalFlag(it.raw))) }
        val text = SavedFlags.write(case.text("key")!!, Instant.parse(case.text("now")!!), case.text("eventID")!!, digest.toString(), flags)
        assertEquals(case["document"], JsonObject(Json.parseToJsonElement(text).jsonObject - "checksum"))
        assertTrue(text.startsWith("{\"format\":1,\"checksum\":\""), text)
    }

    @Test
    fun `a document with any character changed, or cut off anywhere, is not believed, or is the same (tc-cache-damaged)`() {
        val flags = listOf("""{"id":1,"key":"a","notes":"Grüße, {}"}""", """{"id":2,"key":"b"}""").map { Flag.of(Json.parseToJsonElement(it).jsonObject)!! }
        val digest = Digest()
        flags.forEach { digest.add(Canonical.crc(Canonical.canonicalFlag(it.raw))) }
        val now = Instant.fromEpochSeconds(0)
        val good = SavedFlags.write("k", now, "10@k", digest.toString(), flags)
        fun read(text: String) = SavedFlags.read(text, "k", now, 1.days)
        assertEquals(listOf("a", "b"), read(good).flags!!.flags.map { it.key })
        for (at in good.indices) {
            val other = if (good[at] == '1') "2" else "1"
            for (damaged in listOf(good.replaceRange(at, at + 1, other), good.take(at))) {
                // The name of the member `checksum` may be damaged: then the digest decides.
                val found = read(damaged).flags ?: continue
                assertEquals(listOf("10@k", "a", "b"), listOf(found.eventID) + found.flags.map { it.key }, damaged)
            }
        }
    }

    @TestFactory
    fun bootstraps() = persistence("bootstraps") { assertReading(it, SavedFlags.readBootstrap(it.text("text")!!)) }

    @TestFactory
    fun `cache or bootstrap`() = persistence("choices") { case ->
        val cache = case.text("cache")?.let { SavedFlags(it, emptyList()) }
        val bootstrap = case.obj("bootstrap")?.let { SavedFlags(it.text("eventID"), emptyList()) }
        assertEquals(case.text("source"), choose(cache, bootstrap)?.name?.lowercase())
    }

    @TestFactory
    fun `stores that begin with known flags`() = persistence("stores") { case ->
        val store = StoreCore(selection(case.obj("selection")))
        case.obj("start")?.let { start ->
            val flags = start.objects("flags").map { Flag.of(it)!! }
            store.begin(FlagSource.valueOf(start.text("source")!!.uppercase()), SavedFlags(start.text("id"), flags))
        }
        for (step in case.objects("steps")) play(store, step)
        val flags = case.getValue("flags").jsonObject.mapValues { (_, flag) -> flag.jsonObject - "schema" }
        assertEquals(flags, store.flags().associate { it.key to (it.raw - "schema") })
        assertEquals(case.text("digest"), store.digest)
        assertEquals(case.text("cursor"), store.lastEventId)
    }

    private fun play(store: StoreCore, step: JsonObject) {
        val at = step.long("at")!!.milliseconds
        var update = StoreUpdate(emptyList())
        when (val signal = step.text("signal")) {
            "tick" -> store.tick(at)
            "lost" -> store.connectionLost()
            "failed" -> store.clientFailed()
            null -> {
                val json = step.getValue("message").jsonObject
                var message = MessageDecoder.decodeMessage(json)
                if (message is Message.Connected) message = message.copy(resumed = json.bool("resumed") ?: false)
                update = store.receive(at, message)
            }
            else -> error("unknown signal $signal")
        }
        val where = "at ${step["at"]}"
        assertEquals(step.text("status"), store.status.name, where)
        assertEquals(step.text("source"), store.source?.name?.lowercase(), where)
        val changes = update.changes.map { listOfNotNull(it.kind.name.lowercase(), it.key, it.schema) }
        assertEquals(step.getValue("changes").jsonArray.map { change -> change.jsonArray.map { it.jsonPrimitive.content } }, changes, where)
        assertEquals(step.text("request") == "snapshot", update.requestsSnapshot, where)
    }

    @TestFactory
    fun `the choice of a transport`() = tests(file("transports.json")) { case ->
        val choice = TransportChoice()
        for (step in case.objects("steps")) {
            val name = step.text("input")!!
            val input = TransportInput.entries.first { it.name.replace("_", "").equals(name, ignoreCase = true) }
            val done = choice.step(input, step.long("at")!!.milliseconds)
            val where = "at ${step["at"]} $name"
            assertEquals(step.text("do") ?: "nothing", done.action.name.lowercase(), where)
            assertEquals(step.text("probe"), done.probe?.text, where)
            assertEquals(step.text("transport"), choice.transport.text, where)
        }
    }

    @TestFactory
    fun `baggage is read`() = tests(file("baggage.json").jsonObject["read"]) {
        assertEquals(it.text("value"), Baggage.read(it.text("header")))
    }

    @TestFactory
    fun `baggage is written`() = tests(file("baggage.json").jsonObject["write"]) {
        assertEquals(it.text("result"), Baggage.write(it.text("header"), it.text("value")))
    }

    @TestFactory
    fun `exposures of a window`() = tests(file("exposures.json").jsonObject["windows"]) { case ->
        val window = ExposureWindow(ExposureOptions(case.long("windowMs")!!, case.int("limit")!!))
        for (step in case.objects("steps")) {
            val isReported = window.add(step.long("at")!!, null, step.text("flagKey")!!, step.text("entityID")!!, step.text("variantKey"))
            assertEquals(step.bool("isReported"), isReported, step.toString())
        }
    }

    @TestFactory
    fun `bodies of reports`() = tests(file("exposures.json").jsonObject["batches"]) { case ->
        val counts = ExposureCounts(10)
        for ((flag, variant) in case.getValue("exposures").jsonArray.map { it.jsonArray }) {
            counts.add(ExposureCounts.Name(null, flag.jsonPrimitive.content, variant.jsonPrimitive.contentOrNull))
        }
        assertEquals(case["body"], ExposureCounts.body(counts.take()))
    }

    @TestFactory
    fun `numbers of attachments`() = tests(file("values.json").jsonObject["attachmentNumber"]) { case ->
        val text = case.text("text")!!
        assertEquals(case.getValue("number").jsonPrimitive.doubleOrNull, read { VariantValue.number(text) })
        assertEquals(case.text("integer"), read { VariantValue.integer(text).toString() })
    }

    private fun <T> read(action: () -> T): T? = try {
        action()
    } catch (_: TypeMismatchError) {
        null
    }
}
