package com.flagent.realtime

import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonObjectBuilder
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import kotlinx.serialization.json.putJsonArray
import java.net.URLEncoder

/**
 * What to hear of: the union of [flags], [flagIDs], [tags] and [segments] (all changes of segments and distributions);
 * with none of them given, everything. [types] and [schemas] narrow the result, empty = not.
 */
public data class EventFilter(
    val flags: Set<String> = emptySet(),
    val flagIDs: Set<Int> = emptySet(),
    val tags: Set<String> = emptySet(),
    val segments: Boolean = false,
    val types: Set<EventType> = emptySet(),
    val schemas: Set<String> = emptySet(),
) {
    /** True when every flag is selected. */
    public val isEverything: Boolean
        get() = flags.isEmpty() && flagIDs.isEmpty() && tags.isEmpty() && !segments

    /** True when a snapshot of this selection holds the flag. */
    internal fun selects(flag: Flag): Boolean =
        (isEverything || flag.key in flags || flag.id in flagIDs || flag.tags.any { it.value in tags }) &&
            (schemas.isEmpty() || flag.schema == null || flag.schema in schemas)

    internal fun narrows(event: FlagEvent): Boolean =
        (types.isNotEmpty() && event.type !in types) ||
            (schemas.isNotEmpty() && event.schema != null && event.schema !in schemas)

    public companion object {
        public val EVERYTHING: EventFilter = EventFilter()
    }
}

/** What is asked of the server: the union of the filters in use. Its empty value selects nothing. */
internal data class Selection(
    val all: Boolean = false,
    val flags: Set<String> = emptySet(),
    val flagIDs: Set<Int> = emptySet(),
    val tags: Set<String> = emptySet(),
    val segments: Boolean = false,
    val types: Set<EventType> = emptySet(),
    val schemas: Set<String> = emptySet(),
) {
    val isEmpty: Boolean get() = !all && flags.isEmpty() && flagIDs.isEmpty() && tags.isEmpty() && !segments

    /** The union. Narrowing stays only where both agree, since the server narrows the whole connection. */
    operator fun plus(other: Selection) = Selection(
        all || other.all,
        flags + other.flags,
        flagIDs + other.flagIDs,
        tags + other.tags,
        segments || other.segments,
        if (types == other.types) types else emptySet(),
        if (schemas == other.schemas) schemas else emptySet(),
    )

    operator fun minus(other: Selection) = Selection(
        all && !other.all,
        flags - other.flags,
        flagIDs - other.flagIDs,
        tags - other.tags,
        segments && !other.segments,
        types,
        schemas,
    )

    fun narrowsLike(other: Selection): Boolean = types == other.types && schemas == other.schemas

    fun message(type: String, more: JsonObjectBuilder.() -> Unit = {}): JsonObject = buildJsonObject {
        put("type", type)
        if (all) put("subscribeAll", true)
        texts("flags", flags)
        if (flagIDs.isNotEmpty()) putJsonArray("flagIDs") { flagIDs.forEach { add(JsonPrimitive(it)) } }
        texts("tags", tags)
        if (segments) put("segments", true)
        texts("types", types.map { it.wireName })
        texts("schemas", schemas)
        more()
    }

    /** The query of the event stream. There, nothing selected means everything. */
    fun query(): List<Pair<String, String>> = buildList {
        if (!all) {
            flags.forEach { add("flag" to it) }
            flagIDs.forEach { add("flagID" to it.toString()) }
            tags.forEach { add("tag" to it) }
            if (segments) add("segments" to "true")
        }
        types.forEach { add("type" to it.wireName) }
        schemas.forEach { add("schema" to it) }
    }

    private fun JsonObjectBuilder.texts(name: String, values: Collection<String>) {
        if (values.isNotEmpty()) putJsonArray(name) { values.forEach { add(JsonPrimitive(it)) } }
    }

    companion object {
        fun of(filter: EventFilter) = Selection(
            filter.isEverything,
            filter.flags,
            filter.flagIDs,
            filter.tags,
            filter.segments,
            filter.types.filter { it !== EventType.UNKNOWN && it !== EventType.RESYNC }.toSet(),
            filter.schemas,
        )
    }
}

internal fun List<Pair<String, String>>.toQuery(): String =
    joinToString("&") { (name, value) -> name + "=" + URLEncoder.encode(value, Charsets.UTF_8) }
