package com.flagent.realtime

/** An entity got a variant of a flag, or none: the first time within the window of an [ExposureOptions]. */
public data class Exposure(
    val flagKey: String,
    val flagID: Int,
    /** The tenant's schema; `null` unless the server watches several. */
    val schema: String?,
    /** `null` if the entity got no variant. */
    val variantKey: String?,
    val entityID: String,
    /** The last segment tried; `null` if there was none. */
    val segmentID: Int?,
    /** The store's position in the server's change log. */
    val position: Long?,
    /** The names of the context's values, sorted; never the values. */
    val contextKeys: List<String>,
    /** When, in milliseconds since 1970. */
    val timeMs: Long,
)

/** How often an exposure is repeated, and how much is remembered for that. */
public class ExposureOptions(
    /** In milliseconds. */
    public val windowMs: Long = 3_600_000,
    /** The number of exposures that are remembered; beyond it the least recently evaluated is forgotten. */
    public val limit: Int = 10_000,
) {
    init {
        require(windowMs > 0) { "windowMs is $windowMs; it must be positive." }
        require(limit > 0) { "limit is $limit; it must be positive." }
    }
}

/** The exposures of the window: the first per schema, flag, entity and variant. Times are in milliseconds. Not synchronized. */
internal class ExposureWindow(private val options: ExposureOptions) {
    private data class Name(val schema: String?, val flagKey: String, val entityID: String, val variantKey: String?)

    private val seen = object : LinkedHashMap<Name, Long>(16, 0.75f, true) {
        override fun removeEldestEntry(eldest: MutableMap.MutableEntry<Name, Long>) = size > options.limit
    }

    /** Whether this one is to be reported. */
    fun add(at: Long, schema: String?, flagKey: String, entityID: String, variantKey: String?): Boolean {
        val name = Name(schema, flagKey, entityID, variantKey)
        val since = seen[name]
        if (since != null && at - since < options.windowMs) return false
        seen[name] = at
        return true
    }
}
