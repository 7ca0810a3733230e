package com.flagent.realtime

import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.jsonObject

/**
 * A feature flag as of one commit.
 *
 * A field that is missing or of an unexpected type has its default. [raw] holds the flag as received, with unknown fields; it
 * does not take part in equality.
 */
public data class Flag(
    val key: String,
    val id: Int = 0,
    val enabled: Boolean = false,
    val description: String = "",
    val createdBy: String? = null,
    val updatedBy: String? = null,
    val snapshotID: Int = 0,
    val notes: String? = null,
    val dataRecordsEnabled: Boolean = false,
    val entityType: String? = null,
    val environmentId: Long? = null,
    val projectId: Long? = null,
    val dependsOn: List<String> = emptyList(),
    val segments: List<Segment> = emptyList(),
    val variants: List<Variant> = emptyList(),
    val tags: List<Tag> = emptyList(),
    /** The writer's local time without a zone. */
    val updatedAt: String? = null,
    val archived: Boolean = false,
    /** The tenant's schema; `null` unless the server watches several. */
    val schema: String? = null,
    /** The flag's size in bytes if the server sent it without its rules, because it is too large; otherwise `null`. */
    val tooLarge: Int? = null,
) {
    // The object, or its text: a tree of JSON takes ten times the memory of its text.
    @Volatile
    private var received: Any = JsonObject(emptyMap())

    /** The flag as received. For a flag of a store, its text is read at each call. */
    public val raw: JsonObject get() = received.let { it as? JsonObject ?: Json.parseToJsonElement(it as String).jsonObject }

    /** The JSON of [raw]. */
    internal val rawText: String get() = received.toString()

    /** Keeps only the text of [raw], for a flag that is kept for long. */
    internal fun compact() {
        received = rawText
    }

    internal fun withSchema(schema: String): Flag = copy(schema = schema).also { it.received = received }

    public companion object {
        /** The flag of a JSON object, `null` if `key` is not a string. */
        @JvmStatic
        public fun of(json: JsonObject): Flag? {
            val key = json.text("key") ?: return null
            return Flag(
                key = key,
                id = json.int("id") ?: 0,
                enabled = json.bool("enabled") ?: false,
                description = json.text("description").orEmpty(),
                createdBy = json.text("createdBy"),
                updatedBy = json.text("updatedBy"),
                snapshotID = json.int("snapshotID") ?: 0,
                notes = json.text("notes"),
                dataRecordsEnabled = json.bool("dataRecordsEnabled") ?: false,
                entityType = json.text("entityType"),
                environmentId = json.long("environmentId"),
                projectId = json.long("projectId"),
                dependsOn = json.texts("dependsOn"),
                segments = json.objects("segments").map(Segment::of),
                variants = json.objects("variants").map(Variant::of),
                tags = json.objects("tags").map(Tag::of),
                updatedAt = json.text("updatedAt"),
                archived = json.bool("archived") ?: false,
                schema = json.text("schema"),
                tooLarge = json.int("tooLarge"),
            ).also { it.received = json }
        }
    }
}

/** A rule of a flag: which entities it matches, and their variants. Segments are evaluated in the order of [rank]. */
public data class Segment(
    val id: Int,
    val flagID: Int = 0,
    val description: String? = null,
    val rank: Int = 999,
    val rolloutPercent: Int = 0,
    val constraints: List<Constraint> = emptyList(),
    val distributions: List<Distribution> = emptyList(),
) {
    internal companion object {
        fun of(json: JsonObject) = Segment(
            id = json.int("id") ?: 0,
            flagID = json.int("flagID") ?: 0,
            description = json.text("description"),
            rank = json.int("rank") ?: 999,
            rolloutPercent = json.int("rolloutPercent") ?: 0,
            constraints = json.objects("constraints").map(Constraint::of),
            distributions = json.objects("distributions").map(Distribution::of),
        )
    }
}

/** A condition of a segment. All constraints of a segment must hold. */
public data class Constraint(
    val id: Int,
    val segmentID: Int = 0,
    val property: String = "",
    val operator: String = "",
    val value: String = "",
) {
    internal companion object {
        fun of(json: JsonObject) = Constraint(
            id = json.int("id") ?: 0,
            segmentID = json.int("segmentID") ?: 0,
            property = json.text("property").orEmpty(),
            operator = json.text("operator").orEmpty(),
            value = json.text("value").orEmpty(),
        )
    }
}

/** A variant's share of a segment, in percent. */
public data class Distribution(
    val id: Int,
    val segmentID: Int = 0,
    val variantID: Int = 0,
    val variantKey: String? = null,
    val percent: Int = 0,
) {
    internal companion object {
        fun of(json: JsonObject) = Distribution(
            id = json.int("id") ?: 0,
            segmentID = json.int("segmentID") ?: 0,
            variantID = json.int("variantID") ?: 0,
            variantKey = json.text("variantKey"),
            percent = json.int("percent") ?: 0,
        )
    }
}

/** A value of a flag. [attachment] is `null` if the variant has none. */
public data class Variant(
    val id: Int,
    val flagID: Int = 0,
    val key: String = "",
    val attachment: Map<String, String>? = null,
) {
    internal companion object {
        fun of(json: JsonObject) = Variant(
            id = json.int("id") ?: 0,
            flagID = json.int("flagID") ?: 0,
            key = json.text("key").orEmpty(),
            attachment = json.obj("attachment")?.toTexts(),
        )
    }
}

public data class Tag(val id: Int, val value: String) {
    internal companion object {
        fun of(json: JsonObject) = Tag(json.int("id") ?: 0, json.text("value").orEmpty())
    }
}

/** The scalar members as strings. */
internal fun JsonObject.toTexts(): Map<String, String> =
    entries.mapNotNull { (name, value) -> (value as? JsonPrimitive)?.let { name to it.content } }.toMap()
