package com.flagent.realtime

import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive

/**
 * A feature flag as the server shows it.
 *
 * Reading is tolerant: a field that is missing or of an unexpected type has its default here. [json] holds the flag
 * exactly as it was received, unknown fields too; it takes no part in equality.
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
    /** Local time of the writing server without a zone, as stored. */
    val updatedAt: String? = null,
    val archived: Boolean = false,
    /** The database schema; known only where several are attached. */
    val schema: String? = null,
) {
    /** The flag as received. */
    public var json: JsonObject = JsonObject(emptyMap())
        private set

    internal fun withSchema(schema: String): Flag = copy(schema = schema).also { it.json = json }

    public companion object {
        /** The flag that a JSON object describes, `null` when it has no text under `key`. */
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
            ).also { it.json = json }
        }
    }
}

/** A group of entities that a flag serves, tried in the order of [rank]. */
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

/** One condition of a segment; all of them must hold. */
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

/** The share of a segment, in percent, that gets a variant. */
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

/** A value that a flag can have. [attachment] is `null` when the variant has none. */
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

/** The scalar members as text. */
internal fun JsonObject.toTexts(): Map<String, String> =
    entries.mapNotNull { (name, value) -> (value as? JsonPrimitive)?.let { name to it.content } }.toMap()
