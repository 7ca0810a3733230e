package com.flagent.realtime

import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonObjectBuilder
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import kotlinx.serialization.json.putJsonArray
import java.net.URLEncoder

/** The selection that the client sends to the server: the union of all selections. An empty one selects nothing. */
internal data class ServerSelection(
    val all: Boolean = false,
    val flags: Set<String> = emptySet(),
    val flagIDs: Set<Int> = emptySet(),
    val tags: Set<String> = emptySet(),
    val segments: Boolean = false,
    val types: Set<EventType> = emptySet(),
    val schemas: Set<String> = emptySet(),
) {
    val isEmpty: Boolean get() = !all && flags.isEmpty() && flagIDs.isEmpty() && tags.isEmpty() && !segments

    /** The union. Narrowing is kept only if both are equal in it, because the server narrows the whole connection. */
    operator fun plus(other: ServerSelection) = ServerSelection(
        all || other.all,
        flags + other.flags,
        flagIDs + other.flagIDs,
        tags + other.tags,
        segments || other.segments,
        if (types == other.types) types else emptySet(),
        if (schemas == other.schemas) schemas else emptySet(),
    )

    operator fun minus(other: ServerSelection) = ServerSelection(
        all && !other.all,
        flags - other.flags,
        flagIDs - other.flagIDs,
        tags - other.tags,
        segments && !other.segments,
        types,
        schemas,
    )

    fun narrowsLike(other: ServerSelection): Boolean = types == other.types && schemas == other.schemas

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

    /** The query of the event stream, where an empty selection means everything. */
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
        fun of(selection: Selection) = ServerSelection(
            selection.isEverything,
            selection.flags,
            selection.flagIDs,
            selection.tags,
            selection.segments,
            selection.types.filter { it !== EventType.UNKNOWN && it !== EventType.RESYNC }.toSet(),
            selection.schemas,
        )
    }
}

internal fun List<Pair<String, String>>.toQuery(): String =
    joinToString("&") { (name, value) -> name + "=" + URLEncoder.encode(value, Charsets.UTF_8) }
