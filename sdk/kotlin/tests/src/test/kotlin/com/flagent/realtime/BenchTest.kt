package com.flagent.realtime

import kotlinx.coroutines.runBlocking
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import org.junit.jupiter.api.Tag
import org.junit.jupiter.api.Test
import java.io.File
import java.lang.management.ManagementFactory
import java.nio.file.Files
import kotlin.time.Duration.Companion.seconds
import kotlin.time.measureTime

/**
 * Measures the SDK, and writes the figures as one JSON object to `target/bench.json`; `./bench` runs it. Rates are per second of processor
 * time, as the machine may be busy; medians of five.
 *
 * The property `flagent.bench` is the address of a server, for the time to READY; without it that is left out.
 */
@Tag("bench")
class BenchTest {
    private val threads = ManagementFactory.getThreadMXBean()

    @Test
    fun figures() {
        val text = (1..FLAGS).joinToString(",", """{"id":"7@k","flags":[""", "]}", transform = ::flag)
        FlagentSSEClient("http://localhost:1", null as String?, options = ClientOptions(start = false)).use { client ->
            val before = usedBytes()
            val store = FlagStore(client, bootstrap = text)
            val bytes = usedBytes() - before
            val context = mapOf("country" to "US", "plan" to "pro")
            val users = Array(1000) { "user$it" }
            val keys = Array(1000) { "flag_${1 + it * 7 % FLAGS}" }
            var variants = 0
            val evaluations = rate { n -> if (store.evaluate(keys[n % 1000], users[n * 31 % 1000], context).variantKey != null) variants++ }
            val floor = HashMap<String, Flag>().apply { store.forEach { put(it.key, it) } }
            val lookups = rate { n -> if (floor[keys[n % 1000]]!!.enabled) variants++ }
            check(variants > 0)
            val figures = buildJsonObject {
                put("language", "kotlin")
                put("runtime", "Java ${Runtime.version().feature()}")
                put("flags", FLAGS)
                put("evaluationsPerSecond", evaluations)
                put("mapLookupsPerSecond", lookups)
                put("storeBytesPerFlag", bytes / FLAGS)
                put("readableFromCacheMs", median { fromCache(text) })
                System.getProperty("flagent.bench").orEmpty().takeIf { it.isNotEmpty() }?.let { url -> put("readyFromServerMs", median { fromServer(url) }) }
            }
            File("target/bench.json").writeText("$figures\n")
        }
    }

    private fun flag(n: Int) = """{"id":$n,"key":"flag_$n","description":"a flag of the benchmark","enabled":true,"snapshotID":$n,"dependsOn":[],""" +
        """"segments":[{"id":$n,"flagID":$n,"rank":0,"rolloutPercent":100,"constraints":[{"id":$n,"property":"country","operator":"EQ","value":"US"}],""" +
        """"distributions":[{"id":1,"variantID":1,"variantKey":"a","percent":50},{"id":2,"variantID":2,"variantKey":"b","percent":50}]}],""" +
        """"variants":[{"id":1,"key":"a","attachment":null},{"id":2,"key":"b","attachment":null}],"tags":[{"id":1,"value":"bench"}]}"""

    private fun rate(call: (Int) -> Unit): Long {
        repeat(CALLS) { call(it) }
        return CALLS * 1_000_000_000L / List(5) {
            val start = threads.currentThreadCpuTime
            for (n in 0 until CALLS) call(n)
            threads.currentThreadCpuTime - start
        }.sorted()[2].coerceAtLeast(1)
    }

    private fun median(measure: () -> Double): Double = List(5) { measure() }.sorted()[2]

    private fun usedBytes(): Long {
        repeat(3) { System.gc() }
        return Runtime.getRuntime().let { it.totalMemory() - it.freeMemory() }
    }

    /** From the making of the store to readable flags of a file. */
    private fun fromCache(bootstrap: String): Double {
        val directory = Files.createTempDirectory("flagent-bench").toFile()
        try {
            val saved = SavedFlags.readBootstrap(bootstrap).flags!!
            val digest = Digest().apply { saved.flags.forEach { add(Canonical.crc(Canonical.canonicalFlag(it.raw))) } }
            FlagentSSEClient("http://localhost:1", null as String?, options = ClientOptions(start = false)).use { client ->
                val key = CacheKey.of(client.address, Selection.EVERYTHING, null)
                FilePersistence(directory).save(key, SavedFlags.write(key, kotlin.time.Clock.System.now(), "7@k", digest.toString(), saved.flags))
                val took = measureTime { check(FlagStore(client, persistence = FilePersistence(File(directory.path))).size == FLAGS) }
                return took.inWholeMicroseconds / 1000.0
            }
        } finally {
            directory.deleteRecursively()
        }
    }

    private fun fromServer(url: String): Double = FlagentClient(url).use { client ->
        val took = measureTime { runBlocking { FlagStore(client).ready(30.seconds) } }
        took.inWholeMicroseconds / 1000.0
    }

    private companion object {
        const val FLAGS = 10_000
        const val CALLS = 200_000
    }
}
