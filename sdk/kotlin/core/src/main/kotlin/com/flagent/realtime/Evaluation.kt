package com.flagent.realtime

import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonObjectBuilder
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import kotlinx.serialization.json.putJsonArray
import kotlin.time.Instant

/**
 * The result of a flag for an entity. [variantKey] is `null` if the entity gets no variant.
 *
 * A result of the server has all parts in [raw]; of a local evaluation it is empty.
 */
public class EvaluationResult private constructor(
    public val flagID: Int,
    public val flagKey: String,
    public val flagSnapshotID: Int,
    public val flagTags: List<String>,
    public val segmentID: Int?,
    public val variantID: Int?,
    public val variantKey: String?,
    public val variantAttachment: Map<String, String>?,
    private val entity: EvaluationEntity?,
    private val message: String?,
    private val timestampMs: Long,
    /** The position in the server's change log that the result was evaluated at; `null` if the server sent none. */
    public val position: String?,
    /** The tenant's schema of a local evaluation; `null` unless the server watches several. */
    public val schema: String?,
    /** The result as received. */
    public val raw: JsonObject,
) {
    /** The entity's id, generated if none was given. */
    public val entityID: String? get() = if (entity != null) entity.entityID else evalContext?.text("entityID")

    /** The entity as it was evaluated. */
    public val evalContext: JsonObject? get() = entity?.let { buildJsonObject { it.writeTo(this) } } ?: raw.obj("evalContext")

    /** `msg` says why there is no variant. More only if debugging was enabled. */
    public val evalDebugLog: JsonObject?
        get() = message?.let { buildJsonObject { put("msg", it) } } ?: raw.obj("evalDebugLog")

    /** ISO-8601 in UTC. */
    public val timestamp: String?
        get() = if (entity == null) raw.text("timestamp") else Instant.fromEpochMilliseconds(timestampMs).toString()

    override fun toString(): String = "EvaluationResult($flagKey -> $variantKey)"

    internal companion object {
        fun of(json: JsonObject, position: String?) = EvaluationResult(
            flagID = json.int("flagID") ?: 0,
            flagKey = json.text("flagKey").orEmpty(),
            flagSnapshotID = json.int("flagSnapshotID") ?: 0,
            flagTags = json.texts("flagTags"),
            segmentID = json.int("segmentID"),
            variantID = json.int("variantID"),
            variantKey = json.text("variantKey"),
            variantAttachment = json.obj("variantAttachment")?.toTexts(),
            entity = null,
            message = null,
            timestampMs = 0,
            position = position,
            schema = null,
            raw = json,
        )

        fun local(
            found: CompiledFlag?,
            requestedID: Int?,
            requestedKey: String?,
            decision: CompiledFlag.Decision,
            entity: EvaluationEntity,
            message: String?,
            timestampMs: Long,
            position: String?,
        ) = EvaluationResult(
            flagID = found?.flag?.id ?: requestedID ?: 0,
            flagKey = found?.flag?.key ?: requestedKey.orEmpty(),
            flagSnapshotID = found?.flag?.snapshotID ?: 0,
            flagTags = found?.tags.orEmpty(),
            segmentID = decision.segmentID,
            variantID = decision.variantID,
            variantKey = decision.variant?.key,
            variantAttachment = decision.variant?.attachment,
            entity = entity,
            message = message,
            timestampMs = timestampMs,
            position = position,
            schema = found?.flag?.schema,
            raw = JsonObject(emptyMap()),
        )
    }
}

/** The entity that a flag is evaluated for. Values of [entityContext] are strings, finite numbers, booleans, or `null` (missing). */
public data class EvaluationEntity(
    val entityID: String? = null,
    val entityType: String? = null,
    val entityContext: Map<String, Any?>? = null,
) {
    internal fun writeTo(builder: JsonObjectBuilder): Unit = with(builder) {
        entityID?.let { put("entityID", it) }
        entityType?.let { put("entityType", it) }
        entityContext?.let { put("entityContext", ContextValue.jsonOf(it)) }
    }
}

/** Several flags for several entities in one request; the flags are the union of keys, ids and tags. */
public data class BatchEvaluation(
    val entities: List<EvaluationEntity>,
    val flagKeys: List<String> = emptyList(),
    val flagIDs: List<Int> = emptyList(),
    val flagTags: List<String> = emptyList(),
    /** `ANY` or `ALL` of [flagTags]. */
    val flagTagsOperator: String = "ANY",
    val enableDebug: Boolean = false,
    /** Evaluate a state at this position or later. */
    val minPosition: String? = null,
) {
    internal fun message(): JsonObject = buildJsonObject {
        put("type", "evaluate_batch")
        putJsonArray("entities") { entities.forEach { add(buildJsonObject { it.writeTo(this) }) } }
        if (flagKeys.isNotEmpty()) putJsonArray("flagKeys") { flagKeys.forEach { add(JsonPrimitive(it)) } }
        if (flagIDs.isNotEmpty()) putJsonArray("flagIDs") { flagIDs.forEach { add(JsonPrimitive(it)) } }
        if (flagTags.isNotEmpty()) {
            putJsonArray("flagTags") { flagTags.forEach { add(JsonPrimitive(it)) } }
            put("flagTagsOperator", flagTagsOperator)
        }
        if (enableDebug) put("enableDebug", true)
        minPosition?.let { put("minPosition", it) }
    }
}
