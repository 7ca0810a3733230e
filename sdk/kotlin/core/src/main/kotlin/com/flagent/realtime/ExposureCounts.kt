package com.flagent.realtime

import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.addJsonObject
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import kotlinx.serialization.json.putJsonArray

/** Counts exposures per schema, flag and variant, at most [limit] different ones. Not synchronized. */
internal class ExposureCounts(private val limit: Int) {
    data class Name(val schema: String?, val flagKey: String, val variantKey: String?)

    private val counts = LinkedHashMap<Name, Long>()
    private val rest = LinkedHashMap<Name, Long>()

    /** Exposures of the names that were dropped because there were too many. */
    var dropped = 0L
        private set

    /** The number of different ones. */
    val size: Int get() = counts.size

    fun add(name: Name, count: Long = 1) {
        val before = counts[name]
        if (before == null && counts.size >= limit) {
            val oldest = counts.entries.iterator()
            dropped += oldest.next().value
            oldest.remove()
        }
        counts[name] = (before ?: 0) + count
    }

    /** Takes the oldest, as many as one request carries. */
    fun take(): Map<Name, Long> {
        val batch = LinkedHashMap<Name, Long>()
        val items = counts.entries.iterator()
        while (items.hasNext() && batch.size < MAX_ENTRIES) {
            val (name, count) = items.next()
            batch[name] = minOf(count, MAX_COUNT)
            items.remove()
            if (count > MAX_COUNT) rest[name] = count - MAX_COUNT
        }
        rest.forEach { (name, count) -> add(name, count) }
        rest.clear()
        return batch
    }

    /** What [take] returned could not be sent: it is the oldest again. */
    fun putBack(batch: Map<Name, Long>) {
        val later = LinkedHashMap(counts)
        counts.clear()
        batch.forEach { (name, count) -> add(name, count) }
        later.forEach { (name, count) -> add(name, count) }
    }

    companion object {
        /** The server's limits of one request. */
        const val MAX_ENTRIES = 1000
        const val MAX_COUNT = 1_000_000L

        /** The body of a request. */
        fun body(batch: Map<Name, Long>): JsonObject = buildJsonObject {
            putJsonArray("exposures") {
                for ((name, count) in batch) {
                    addJsonObject {
                        put("flagKey", name.flagKey)
                        put("variantKey", name.variantKey)
                        put("count", count)
                        name.schema?.let { put("schema", it) }
                    }
                }
            }
        }
    }
}
