package com.flagent.realtime

import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Instant

/** Decodes text and event stream items. Never raises: a message that cannot be decoded is [Message.Malformed]. */
internal object MessageDecoder {
    private val needsFlag =
        setOf(EventType.FLAG_CREATED, EventType.FLAG_UPDATED, EventType.FLAG_ENABLED, EventType.FLAG_DISABLED)

    fun decodeMessage(text: String): Message = when (val json = parse(text)) {
        is JsonObject -> decodeMessage(json)
        null -> Message.Malformed("A message is not JSON: ${text.take(80)}")
        else -> Message.Malformed("A message is not a JSON object: ${text.take(80)}")
    }

    fun decodeSseItem(item: SseItem): Message = when (item) {
        is SseItem.Comment -> parseKeepAlive(item.text) ?: Message.Ignored
        is SseItem.Retry -> Message.Retry(item.ms.coerceAtMost(MAX_RETRY_MS).milliseconds)
        is SseItem.Id -> if (item.lastEventId.isEmpty()) Message.Ignored else Message.IdUpdate(item.lastEventId)
        is SseItem.Event -> when (val json = parse(item.data)) {
            is JsonObject -> decodeMessage(envelope(item, json))
            else -> Message.Malformed("The data of '${item.name}' is not a JSON object: ${item.data.take(80)}")
        }
    }

    /** Parses a keep-alive comment; `null` for any other comment. Words of unknown form are skipped. */
    fun parseKeepAlive(comment: String): Message.Heartbeat? {
        val words = comment.split(' ')
        if (words.first() != "keep-alive") return null
        val fields = words.drop(1).mapNotNull { word ->
            word.split('=', limit = 2).takeIf { it.size == 2 }?.let { (name, value) -> name to value }
        }.toMap()
        return Message.Heartbeat(null, fields["position"], fields["fresh"]?.toBooleanStrictOrNull(), fields["digest"])
    }

    fun decodeMessage(json: JsonObject): Message {
        val type = json.text("type") ?: return Message.Malformed("A message has no type: ${json.toString().take(80)}")
        return when (type) {
            "connected", "subscribed" -> Message.Connected(
                json.text("id"),
                json.text("position"),
                json.bool("fresh"),
                json.long("heartbeatMs")?.takeIf { it > 0 }?.milliseconds,
            )
            "snapshot" -> snapshot(json, json, null)?.let { Message.SnapshotMessage(it, json.text("requestId")) }
                ?: Message.Malformed("A snapshot has no flags.")
            "resync" -> json.obj("snapshot")?.let { snapshot(it, json, json.text("reason") ?: "unknown") }
                ?.let { Message.Resync(it, json) }
                ?: Message.Malformed("A resync has no snapshot.")
            "batch" -> batch(json)
            "heartbeat" ->
                Message.Heartbeat(json.text("id"), json.text("position"), json.bool("fresh"), json.text("digest"))
            "evaluation_result" -> Message.Response(
                json.text("requestId"),
                json.text("position"),
                json.obj("result")?.let { listOf(it) } ?: json.objects("results"),
            )
            "error" -> Message.ErrorMessage(json.text("requestId"), json.text("code") ?: "unknown", json.text("message").orEmpty())
            "pong", "unsubscribed" -> Message.Ignored
            "rows" -> Message.TableRows(json.objects("rows"))
            "rows_end" -> Message.RowsEnd(json.text("id"), json.text("position"))
            "backfill_failed" -> Message.BackfillFailed(json.text("code") ?: "unknown", json.text("message").orEmpty())
            else -> decodeEvent(type, json)
        }
    }

    private fun batch(json: JsonObject): Message {
        val items = json.list("events") ?: return Message.Malformed("A batch has no events.")
        val read = items.map { if (it is JsonObject) decodeMessage(it) else Message.Malformed("An event of a batch is not a JSON object.") }
        return Message.Events(
            read.filterIsInstance<Message.Events>().flatMap { it.events },
            read.filterIsInstance<Message.Malformed>(),
        )
    }

    private fun decodeEvent(typeName: String, json: JsonObject): Message {
        val type = EventType.of(typeName)
        if (type === EventType.UNKNOWN && listOf("id", "flagKey", "table").all { json.text(it) == null }) return Message.Ignored
        val flag = when (val value = json["flag"]) {
            null, JsonNull -> null
            is JsonObject -> Flag.of(value) ?: return Message.Malformed("The flag of a $typeName event has no key.")
            else -> return Message.Malformed("The flag of a $typeName event is not a JSON object.")
        }
        if (flag == null && type in needsFlag) return Message.Malformed("A $typeName event has no flag.")
        val key = json.text("flagKey") ?: flag?.key
        if (key == null && type === EventType.FLAG_DELETED) return Message.Malformed("A $typeName event has no flag key.")
        val event = FlagentEvent(
            type = type,
            id = json.text("id"),
            flagKey = key.orEmpty(),
            data = data(type, key, flag, json),
            committedAt = json.text("committedAt")?.let(::instant),
            flagID = json.int("flagID") ?: flag?.id?.takeIf { it != 0 },
            schema = json.text("schema"),
            flag = flag,
            segmentID = json.int("segmentID"),
            variantID = json.int("variantID"),
            typeName = typeName,
            raw = json,
        )
        return Message.Events(listOf(event), emptyList())
    }

    private fun data(type: EventType, key: String?, flag: Flag?, json: JsonObject): Any? = when (type) {
        in needsFlag -> flag
        EventType.FLAG_DELETED -> key
        EventType.SEGMENT_UPDATED -> json.obj("segment")?.let(Segment::of)
        EventType.DISTRIBUTION_UPDATED -> json.objects("distributions").map(Distribution::of)
        EventType.VARIANT_UPDATED -> json.obj("variant")?.let(Variant::of)
        else -> json
    }

    private fun snapshot(body: JsonObject, outer: JsonObject, reason: String?): Snapshot? {
        val flags = body.list("flags") ?: return null
        return Snapshot(
            outer.text("id"),
            body.text("position"),
            flags.mapNotNull { (it as? JsonObject)?.let(Flag::of) },
            reason,
        )
    }

    /** The answer of `GET /api/v1/snapshot` as a message; `null` if it has no list of flags. */
    fun pollingSnapshot(json: JsonObject, position: String?): Message.Resync? {
        val outer = if (json.text("id") == null && position != null) JsonObject(json + ("id" to JsonPrimitive(position))) else json
        return snapshot(json, outer, "polling")?.let { Message.Resync(it, json) }
    }

    /** Converts an event stream item to the WebSocket's form; its data is an envelope or the flag alone. */
    private fun envelope(item: SseItem.Event, data: JsonObject): JsonObject {
        val id = item.lastEventId.takeIf { it.isNotEmpty() && item.name != "connected" }?.let { JsonPrimitive(it) }
        val body: Map<String, JsonElement> = when {
            data.text("type") != null -> data
            !EventType.of(item.name).wireName.startsWith("flag_") -> data + ("type" to JsonPrimitive(item.name))
            else -> buildMap {
                put("type", JsonPrimitive(item.name))
                data["key"]?.let { put("flagKey", it) }
                data["id"]?.let { put("flagID", it) }
                if (item.name != EventType.FLAG_DELETED.wireName) put("flag", data)
            }
        }
        return JsonObject(if (id == null || body["id"] != null) body else body + ("id" to id))
    }

    private fun parse(text: String): JsonElement? = try {
        Json.parseToJsonElement(text)
    } catch (_: SerializationException) {
        null
    }

    private fun instant(text: String): Instant? = Instant.parseOrNull(text)

    private const val MAX_RETRY_MS = 86_400_000L
}
