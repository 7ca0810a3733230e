package com.flagent.realtime

import kotlinx.coroutines.runBlocking
import kotlinx.serialization.json.JsonObjectBuilder
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import org.junit.jupiter.api.Tag
import org.junit.jupiter.api.Test
import java.io.File
import java.lang.management.ManagementFactory
import java.nio.file.Files
import kotlin.time.Duration.Companion.seconds
import kotlin.time.TimeSource

/**
 * Measures the SDK, and writes the figures as one JSON object to `target/bench.json`: `bench/sdk/kotlin` runs it. The members are named as
 * those of the other SDKs, and the flags are the same. Rates are per second of processor time, as the machine may be busy; medians.
 */
@Tag("bench")
class BenchTest {
    private val threads = ManagementFactory.getThreadMXBean()

    @Test
    fun figures() {
        val text = (1..FLAGS).joinToString(",", """{"type":"snapshot","id":"1@bench","position":"1","flags":[""", "]}", transform = ::flag)
        val figures = buildJsonObject {
            put("java", Runtime.version().toString())
            put("flags", FLAGS)
            put("snapshotBytes", text.length)
            evaluation(text)
            System.getProperty("flagent.server").orEmpty().takeIf { it.isNotEmpty() }?.let { command -> RealServer(command).use { start(it) } }
        }
        File("target/bench.json").writeText("$figures\n")
    }

    private fun flag(n: Int): String {
        fun segment(id: Int, country: String) =
            """{"id":$id,"flagID":$n,"description":"","rank":$id,"rolloutPercent":100,"constraints":[""" +
                """{"id":$id,"segmentID":$id,"property":"country","operator":"EQ","value":"$country"},""" +
                """{"id":${id + 1},"segmentID":$id,"property":"age","operator":"GTE","value":"18"}],"distributions":[""" +
                """{"id":$id,"segmentID":$id,"variantID":${2 * n},"variantKey":"on","percent":50},""" +
                """{"id":${id + 1},"segmentID":$id,"variantID":${2 * n + 1},"variantKey":"off","percent":50}]}"""
        return """{"id":$n,"key":"flag_$n","description":"a flag of the benchmark","createdBy":null,"updatedBy":null,"enabled":true,"snapshotID":1,""" +
            """"notes":null,"dataRecordsEnabled":false,"entityType":"user","environmentId":null,"projectId":null,"dependsOn":[],""" +
            """"tags":[{"id":1,"value":"bench"}],"updatedAt":"2026-11-23T08:00:00","archived":false,"segments":[${segment(3 * n, "US")},${segment(3 * n + 2, "DE")}],""" +
            """"variants":[{"id":${2 * n},"flagID":$n,"key":"on","attachment":{"value":"1"}},{"id":${2 * n + 1},"flagID":$n,"key":"off","attachment":null}]}"""
    }

    private fun JsonObjectBuilder.evaluation(text: String) {
        FlagentSSEClient("http://localhost:1", null as String?, options = ClientOptions(start = false)).use { client ->
            val before = usedBytes()
            val store = FlagStore(client, bootstrap = text)
            put("memoryOfStoreBytes", usedBytes() - before)
            val context = mapOf("country" to "DE", "age" to 33)
            val users = Array(1000) { "user$it" }
            val keys = Array(FLAGS) { "flag_${it + 1}" }
            val map = HashMap<String, Flag>().apply { store.forEach { put(it.key, it) } }
            var variants = 0
            put("evaluationsPerSecond", rate { n -> if (store.evaluate(keys[n % FLAGS], users[n % 1000], context).variantID != null) variants++ })
            put("oneFlagEvaluationsPerSecond", rate { n -> if (store.evaluate("flag_1", users[n % 1000], context).variantID != null) variants++ })
            put("storeLookUpsPerSecond", rate { n -> if (store[keys[n % FLAGS]]!!.enabled) variants++ })
            put("mapLookUpsPerSecond", rate { n -> if (map[keys[n % FLAGS]]!!.enabled) variants++ })
            check(variants > 0)
        }
    }

    private class Run(val readableMs: Double, val readyMs: Double, val size: Int)

    private fun JsonObjectBuilder.start(server: RealServer) {
        server.connect().use { database ->
            database.createStatement().use {
                it.execute("insert into flags (key, description, enabled, created_at) select 'flag_' || n, 'a flag of the benchmark', true, now() from generate_series(1, $FLAGS) n")
            }
        }
        fun run(persistence: Persistence?): Run {
            val began = TimeSource.Monotonic.markNow()
            FlagentWebSocketClient("ws://127.0.0.1:${server.port}/ws").use { client ->
                val store = FlagStore(client, persistence = persistence)
                val readable = began.elapsedNow()
                runBlocking { store.ready(60.seconds) }
                return Run(readable.inWholeMicroseconds / 1000.0, began.elapsedNow().inWholeMicroseconds / 1000.0, store.size)
            }
        }
        while (run(null).size < FLAGS) Unit
        val directory = Files.createTempDirectory("flagent-bench").toFile()
        try {
            run(FilePersistence(directory))
            val fromServer = List(ROUNDS) { run(null) }
            val fromCache = List(ROUNDS) { run(FilePersistence(directory)) }
            put("readyFromServerMs", median(fromServer.map { it.readyMs }))
            put("readableFromCacheMs", median(fromCache.map { it.readableMs }))
            put("readyFromCacheMs", median(fromCache.map { it.readyMs }))
        } finally {
            directory.deleteRecursively()
        }
    }

    /** The first rounds compile. */
    private fun rate(call: (Int) -> Unit): Long = median(
        List(ROUNDS + 2) {
            val start = threads.currentThreadCpuTime
            for (n in 0 until CALLS) call(n)
            CALLS * 1e9 / (threads.currentThreadCpuTime - start).coerceAtLeast(1)
        }.drop(2),
    ).toLong()

    private fun median(numbers: List<Double>): Double = numbers.sorted()[numbers.size / 2]

    private fun usedBytes(): Long {
        repeat(3) { System.gc() }
        return Runtime.getRuntime().let { it.totalMemory() - it.freeMemory() }
    }

    private companion object {
        const val FLAGS = 10_000
        const val CALLS = 200_000
        const val ROUNDS = 7
    }
}
