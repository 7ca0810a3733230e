package com.flagent.realtime

import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonObjectBuilder
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import kotlinx.serialization.json.putJsonArray

/** The result of a flag for an entity. [variantKey] is `null` if the entity gets no variant. */
public class EvaluationResult internal constructor(
    public val flagID: Int,
    public val flagKey: String,
    public val flagSnapshotID: Int,
    public val flagTags: List<String>,
    public val segmentID: Int?,
    public val variantID: Int?,
    public val variantKey: String?,
    public val variantAttachment: Map<String, String>?,
    /** The entity as the server evaluated it, with a generated id if none was given. */
    public val evalContext: JsonObject?,
    /** Only if debugging was enabled. */
    public val evalDebugLog: JsonObject?,
    public val timestamp: String?,
    /** The position in the server's change log that the result was evaluated at; `null` if the server sent none. */
    public val position: String?,
    /** The result as received. */
    public val raw: JsonObject,
) {
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
            evalContext = json.obj("evalContext"),
            evalDebugLog = json.obj("evalDebugLog"),
            timestamp = json.text("timestamp"),
            position = position,
            raw = json,
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
