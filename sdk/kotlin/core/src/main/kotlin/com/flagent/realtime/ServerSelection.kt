package com.flagent.realtime

import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonObjectBuilder
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import kotlinx.serialization.json.putJsonArray
import java.net.URLEncoder

/**
 * The selection that the client sends to the server: the union of all selections. An empty one selects nothing.
 *
 * A message holds 1 000 values at most; a larger selection is sent in parts. Where it resumes or needs a snapshot, the first
 * message selects everything, so that the replay or the snapshot arrives in one piece and in order, and the last one takes that
 * back. Meanwhile the client narrows.
 */
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

    /** The number of selectors. */
    val count: Int get() = flags.size + flagIDs.size + tags.size + (if (all) 1 else 0) + (if (segments) 1 else 0)

    /** Whether it takes more than one message. */
    val isDivided: Boolean get() = parts().size > 1

    operator fun minus(other: ServerSelection) = ServerSelection(
        all && !other.all,
        flags - other.flags,
        flagIDs - other.flagIDs,
        tags - other.tags,
        segments && !other.segments,
        types,
        schemas,
    )

    /** Selections of one message each that add up to this one. Types and schemas are in each. */
    fun parts(): List<ServerSelection> {
        val texts = types.map { it.wireName } + schemas
        val room = MAX_VALUES - texts.size
        val roomBytes = MAX_PART_BYTES - texts.sumOf(::jsonBytes)
        val values = flags.map { Value(flag = it) } + flagIDs.map { Value(id = it) } + tags.map { Value(tag = it) }
        val divided = mutableListOf<MutableList<Value>>(mutableListOf())
        var bytes = 0
        for (value in values) {
            val part = divided.last()
            if (part.isNotEmpty() && (part.size >= room || bytes + value.bytes > roomBytes)) {
                divided += mutableListOf<Value>()
                bytes = 0
            }
            divided.last() += value
            bytes += value.bytes
        }
        return divided.mapIndexed { n, part ->
            ServerSelection(
                all = all && n == 0,
                flags = part.mapNotNull { it.flag }.toSet(),
                flagIDs = part.mapNotNull { it.id }.toSet(),
                tags = part.mapNotNull { it.tag }.toSet(),
                segments = segments && n == 0,
                types,
                schemas,
            )
        }
    }

    private class Value(val flag: String? = null, val id: Int? = null, val tag: String? = null) {
        val bytes = jsonBytes(flag ?: tag ?: id.toString())
    }

    /** The messages that subscribe; [start] adds `lastEventId` or `snapshot` to the first, `null` = neither. */
    fun subscribeMessages(start: (JsonObjectBuilder.() -> Unit)? = null): List<JsonObject> {
        val parts = parts()
        if (parts.size == 1 || start == null) {
            return parts.mapIndexed { n, part -> part.message("subscribe", start.takeIf { n == 0 } ?: {}) }
        }
        val wide = ServerSelection(all = true, types = types, schemas = schemas)
        val narrow = if (all) emptyList() else listOf(wide.message("unsubscribe"))
        return listOf(wide.message("subscribe", start)) + parts.map { it.message("subscribe") } + narrow
    }

    /** Raises [IllegalArgumentException] for a value that the server would refuse. */
    fun requireValues() {
        for ((name, texts) in listOf("flags" to flags, "tags" to tags, "schemas" to schemas)) {
            for (text in texts) {
                require(text.isNotEmpty() && text.codePointCount(0, text.length) <= MAX_TEXT) {
                    "$name contains '${text.take(60)}'; it must be a string of 1 to $MAX_TEXT characters."
                }
            }
        }
        for (id in flagIDs) require(id > 0) { "flagIDs contains $id; it must be 1 or more." }
        require(types.size + schemas.size <= MAX_NARROWING) {
            "A subscription has ${types.size + schemas.size} types and schemas, but the limit is $MAX_NARROWING."
        }
    }

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
        /** The server's limit of one message, and of one event stream. */
        const val MAX_VALUES = 1000

        // Half of the server's limit of one message: the other fields need some of it.
        private const val MAX_PART_BYTES = 64 * 1024

        // The types and schemas of one subscription.
        private const val MAX_NARROWING = 100
        private const val MAX_TEXT = 256

        /** As JSON in UTF-8, at most, in quotes and with a comma. */
        private fun jsonBytes(text: String): Int = 3 + text.sumOf { c ->
            val bytes: Int = when {
                c < ' ' -> 6
                c == '"' || c == '\\' -> 2
                c < '\u0080' -> 1
                else -> 3
            }
            bytes
        }

        /** The union. Narrowing is kept only if all are equal in it, because the server narrows the whole connection. */
        fun union(selections: Collection<ServerSelection>): ServerSelection {
            val first = selections.firstOrNull() ?: return ServerSelection()
            return ServerSelection(
                selections.any { it.all },
                selections.flatMapTo(LinkedHashSet()) { it.flags },
                selections.flatMapTo(LinkedHashSet()) { it.flagIDs },
                selections.flatMapTo(LinkedHashSet()) { it.tags },
                selections.any { it.segments },
                if (selections.all { it.types == first.types }) first.types else emptySet(),
                if (selections.all { it.schemas == first.schemas }) first.schemas else emptySet(),
            )
        }

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
    joinToString("&") { (name, value) -> name + "=" + URLEncoder.encode(value, "UTF-8") }
