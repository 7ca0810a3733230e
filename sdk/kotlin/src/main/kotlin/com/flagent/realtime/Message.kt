package com.flagent.realtime

import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import java.time.Instant
import java.time.format.DateTimeParseException
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds

/** What a server can say, the same over WebSocket and SSE. */
internal sealed interface Message {
    /**
     * SSE's `connected`, WebSocket's `subscribed`. Not on the wire: the client adds whether it [resumed] and whether this
     * is an [isRepeat], a further one on the same connection.
     */
    data class Connected(
        val id: String?,
        val position: String?,
        val fresh: Boolean?,
        val heartbeat: Duration?,
        val resumed: Boolean = false,
        val isRepeat: Boolean = false,
    ) : Message

    /** [request] is not on the wire: the client adds which of its requests (1, 2, …) the snapshot answers. */
    data class SnapshotTaken(val snapshot: Snapshot, val requestId: String?, val request: Int = 0) : Message

    data class Resync(val snapshot: Snapshot, val json: JsonObject) : Message

    data class Events(val events: List<FlagEvent>, val malformed: List<Malformed>) : Message

    data class Heartbeat(val id: String?, val position: String?, val fresh: Boolean?, val digest: String?) : Message

    /** Moves the resume id and says nothing else. */
    data class Mark(val id: String) : Message

    data class Retry(val wait: Duration) : Message

    data class Evaluated(val requestId: String?, val position: String?, val results: List<JsonObject>) : Message

    data class Problem(val requestId: String?, val code: String, val text: String) : Message

    data class Malformed(val reason: String) : Message

    /** Well-formed and of no interest. */
    data object Ignored : Message
}

/** Text and event stream items to [Message]s. Never raises: what cannot be read is [Message.Malformed]. */
internal object MessageReader {
    private val needsFlag =
        setOf(EventType.FLAG_CREATED, EventType.FLAG_UPDATED, EventType.FLAG_ENABLED, EventType.FLAG_DISABLED)

    fun read(text: String): Message = when (val json = parse(text)) {
        is JsonObject -> read(json)
        null -> Message.Malformed("A message is not JSON: ${text.take(80)}")
        else -> Message.Malformed("A message is not a JSON object: ${text.take(80)}")
    }

    fun read(item: SseItem): Message = when (item) {
        is SseItem.Comment -> keepAlive(item.text) ?: Message.Ignored
        is SseItem.Retry -> Message.Retry(item.ms.coerceAtMost(MAX_RETRY_MS).milliseconds)
        is SseItem.Id -> if (item.lastEventId.isEmpty()) Message.Ignored else Message.Mark(item.lastEventId)
        is SseItem.Event -> when (val json = parse(item.data)) {
            is JsonObject -> read(envelope(item, json))
            else -> Message.Malformed("The data of '${item.name}' is not a JSON object: ${item.data.take(80)}")
        }
    }

    /** The heartbeat that a comment stands for. Words that cannot be read are left out. */
    fun keepAlive(comment: String): Message.Heartbeat? {
        val words = comment.split(' ')
        if (words.first() != "keep-alive") return null
        val fields = words.drop(1).mapNotNull { word ->
            word.split('=', limit = 2).takeIf { it.size == 2 }?.let { (name, value) -> name to value }
        }.toMap()
        return Message.Heartbeat(null, fields["position"], fields["fresh"]?.toBooleanStrictOrNull(), fields["digest"])
    }

    fun read(json: JsonObject): Message {
        val type = json.text("type") ?: return Message.Malformed("A message has no type: ${json.toString().take(80)}")
        return when (type) {
            "connected", "subscribed" -> Message.Connected(
                json.text("id"),
                json.text("position"),
                json.bool("fresh"),
                json.long("heartbeatMs")?.takeIf { it > 0 }?.milliseconds,
            )
            "snapshot" -> snapshot(json, json, null)?.let { Message.SnapshotTaken(it, json.text("requestId")) }
                ?: Message.Malformed("A snapshot has no flags.")
            "resync" -> json.obj("snapshot")?.let { snapshot(it, json, json.text("reason") ?: "unknown") }
                ?.let { Message.Resync(it, json) }
                ?: Message.Malformed("A resync has no snapshot.")
            "batch" -> batch(json)
            "heartbeat" ->
                Message.Heartbeat(json.text("id"), json.text("position"), json.bool("fresh"), json.text("digest"))
            "evaluation_result" -> Message.Evaluated(
                json.text("requestId"),
                json.text("position"),
                json.obj("result")?.let { listOf(it) } ?: json.objects("results"),
            )
            "error" -> Message.Problem(json.text("requestId"), json.text("code") ?: "unknown", json.text("message").orEmpty())
            "pong", "unsubscribed" -> Message.Ignored
            else -> event(type, json)
        }
    }

    private fun batch(json: JsonObject): Message {
        val items = json.list("events") ?: return Message.Malformed("A batch has no events.")
        val read = items.map { if (it is JsonObject) read(it) else Message.Malformed("An event of a batch is no object.") }
        return Message.Events(
            read.filterIsInstance<Message.Events>().flatMap { it.events },
            read.filterIsInstance<Message.Malformed>(),
        )
    }

    private fun event(typeName: String, json: JsonObject): Message {
        val type = EventType.of(typeName)
        if (type === EventType.UNKNOWN && json.text("id") == null && json.text("flagKey") == null) return Message.Ignored
        val flag = when (val value = json["flag"]) {
            null, JsonNull -> null
            is JsonObject -> Flag.of(value) ?: return Message.Malformed("The flag of a $typeName has no key.")
            else -> return Message.Malformed("The flag of a $typeName is no object.")
        }
        if (flag == null && type in needsFlag) return Message.Malformed("A $typeName carries no flag.")
        val key = json.text("flagKey") ?: flag?.key
        if (key == null && type === EventType.FLAG_DELETED) return Message.Malformed("A $typeName names no flag.")
        val event = FlagEvent(
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
            json = json,
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

    /** The WebSocket's form of an event stream item, whether its data is an envelope or the flag alone. */
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

    private fun instant(text: String): Instant? = try {
        Instant.parse(text)
    } catch (_: DateTimeParseException) {
        null
    }

    private const val MAX_RETRY_MS = 86_400_000L
}
