package com.flagent.realtime

import kotlinx.serialization.ExperimentalSerializationApi
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.JsonUnquotedLiteral
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.intOrNull
import kotlinx.serialization.json.put
import java.util.zip.CRC32
import kotlin.time.Duration
import kotlin.time.Duration.Companion.minutes
import kotlin.time.Instant

/** Flags that a store may begin with. [eventID] is the id to resume after, `null` = a snapshot is needed. */
internal class SavedFlags(val eventID: String?, val flags: List<Flag>) {
    /** Either the flags, or why there are none. */
    class Reading private constructor(val flags: SavedFlags?, val problem: SavedProblem?) {
        constructor(flags: SavedFlags) : this(flags, null)

        constructor(problem: SavedProblem) : this(null, problem)
    }

    companion object {
        private const val FORMAT = 1
        private const val MAX_CHARS = 256 * 1024 * 1024
        private val MAX_AHEAD = 5.minutes

        private const val START = "{\"format\":1,\"checksum\":\""
        private const val CHECKSUM_DIGITS = 8

        /** The document that is saved. */
        @OptIn(ExperimentalSerializationApi::class)
        fun write(key: String, now: Instant, eventID: String, digest: String, flags: List<Flag>): String {
            val members = buildJsonObject {
                put("key", key)
                put("savedAt", text(now))
                put("id", eventID)
                put("position", EventId.parse(eventID)?.position?.toString())
                put("digest", digest)
                put("flags", JsonArray(flags.map { JsonUnquotedLiteral(it.rawText) }))
            }.toString().drop(1)
            return "$START${checksum(members)}\",$members"
        }

        // Of the text after it: the digest covers the flags alone.
        private fun checksum(text: String): String =
            CRC32().apply { update(text.toByteArray()) }.value.toString(16).padStart(CHECKSUM_DIGITS, '0')

        /** Whether the checksum is that of the text after it. */
        private fun isAsWritten(text: String): Boolean {
            if (!text.startsWith(START)) return false
            val end = START.length + CHECKSUM_DIGITS
            return text.startsWith("\",", end) && text.substring(START.length, end) == checksum(text.substring(end + 2))
        }

        // Always with milliseconds, which Instant leaves out if they are zero.
        private fun text(now: Instant): String {
            val milliseconds = now.toEpochMilliseconds().mod(1000L).toString().padStart(3, '0')
            return Instant.fromEpochSeconds(now.epochSeconds).toString().removeSuffix("Z") + ".${milliseconds}Z"
        }

        /** Reads a saved document of [key] and checks every part of it. */
        fun read(text: String, key: String, now: Instant, maxAge: Duration): Reading =
            document(text) { json ->
                val savedAt = json.text("savedAt")?.let(Instant::parseOrNull)
                when {
                    json.text("key") == null || savedAt == null -> SavedProblem.WRONG_TYPES
                    !isComplete(json) -> SavedProblem.WRONG_TYPES
                    json.text("key") != key -> SavedProblem.OTHER_KEY
                    now - savedAt > maxAge -> SavedProblem.TOO_OLD
                    savedAt - now > MAX_AHEAD -> SavedProblem.IN_THE_FUTURE
                    "checksum" in json && !isAsWritten(text) -> SavedProblem.DIGEST
                    else -> null
                }
            }

        /**
         * Reads what an application brings: a saved document, whose key and age are not checked, a `snapshot` message, or a list of
         * flags.
         */
        fun readBootstrap(text: String): Reading {
            if (text.length > MAX_CHARS) return Reading(SavedProblem.TOO_LARGE)
            return when (val json = parse(text)) {
                null -> Reading(SavedProblem.NOT_JSON)
                is JsonArray -> flagsOf(json)?.let { Reading(SavedFlags(null, it)) } ?: Reading(SavedProblem.WRONG_TYPES)
                is JsonObject -> if ("format" in json) {
                    document(text) { if (isComplete(it)) null else SavedProblem.WRONG_TYPES }
                } else {
                    message(json)
                }
                is JsonPrimitive -> Reading(SavedProblem.WRONG_TYPES)
            }
        }

        private fun message(json: JsonObject): Reading {
            val type = json["type"] ?: JsonPrimitive("snapshot")
            val id = json["id"]
            val flags = flagsOf(json["flags"])
            val isReadable = type == JsonPrimitive("snapshot") && (id == null || json.text("id") != null)
            return if (isReadable && flags != null) Reading(SavedFlags(json.text("id"), flags)) else Reading(SavedProblem.WRONG_TYPES)
        }

        private fun document(text: String, check: (JsonObject) -> SavedProblem?): Reading {
            if (text.length > MAX_CHARS) return Reading(SavedProblem.TOO_LARGE)
            val json = parse(text) ?: return Reading(SavedProblem.NOT_JSON)
            if (json !is JsonObject) return Reading(SavedProblem.WRONG_TYPES)
            val format = (json["format"] as? JsonPrimitive)?.takeIf { !it.isString }?.intOrNull
            if (format != FORMAT) return Reading(SavedProblem.FORMAT)
            check(json)?.let { return Reading(it) }
            val flags = flagsOf(json["flags"]) ?: return Reading(SavedProblem.WRONG_TYPES)
            val digest = Digest()
            flags.forEach { digest.add(Canonical.crc(Canonical.canonicalFlag(it.raw))) }
            if (digest.toString() != json.text("digest")) return Reading(SavedProblem.DIGEST)
            return Reading(SavedFlags(json.text("id"), flags))
        }

        private fun isComplete(json: JsonObject) =
            !json.text("id").isNullOrEmpty() && json.text("digest") != null && flagsOf(json["flags"]) != null

        private fun flagsOf(json: JsonElement?): List<Flag>? {
            val items = json as? JsonArray ?: return null
            return items.map { item ->
                (item as? JsonObject)?.takeIf { it.int("id") != null }?.let(Flag::of) ?: return null
            }
        }

        private fun parse(text: String): JsonElement? = try {
            // The parser takes any word for a value.
            Json.parseToJsonElement(text).takeIf { it !is JsonPrimitive || it.isString || it.content == "null" || it.content[0] in "-0123456789tf" }
        } catch (_: SerializationException) {
            null
        }
    }
}

/** Which of two to begin with: the one with the higher id of the same log, else the cache. */
internal fun choose(cache: SavedFlags?, bootstrap: SavedFlags?): FlagSource? = when {
    cache == null -> if (bootstrap == null) null else FlagSource.BOOTSTRAP
    cache.eventID != null && bootstrap?.eventID != null &&
        EventId.compare(cache.eventID, bootstrap.eventID) == IdOrder.BEFORE -> FlagSource.BOOTSTRAP
    else -> FlagSource.CACHE
}
