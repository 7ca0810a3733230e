package com.flagent.realtime

import kotlinx.coroutines.delay
import kotlinx.coroutines.withTimeoutOrNull
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import java.io.ByteArrayOutputStream
import java.io.IOException
import java.net.URI
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlin.time.TimeSource

/**
 * Polling of a snapshot as a transport, for networks that let no stream through. A response with flags counts as a `resync`, one without
 * changes as a heartbeat. The server holds a request until the next commit, so a change arrives almost as fast as on a stream.
 *
 * @param interval for a server that does not hold requests.
 */
internal class PollingTransport(
    private val address: URI,
    keys: ApiKeySource,
    private val http: SharedEngine,
    private val maxMessageBytes: Int,
    private val connectTimeout: Duration,
    private val interval: Duration,
    private val time: TimeSource,
) : Transport {
    private val handshake = Handshake(keys)

    override val limits get() = SelectionLimits.EVENT_STREAM

    override val servesWithoutSelection get() = false

    override suspend fun open(request: ConnectionRequest): Connection = PollingConnection(request.selection).apply { pollFirst() }

    override suspend fun probe(selection: ServerSelection) {
        PollingConnection(selection).pollFirst()
    }

    override fun close() = http.close()

    private inner class PollingConnection(private val selection: ServerSelection) : Connection {
        private var etag: String? = null
        private var first: List<Message>? = null
        private var lastStart = time.markNow()
        private var pause = Duration.ZERO

        suspend fun pollFirst() {
            first = poll()
        }

        override suspend fun receive(): List<Message> {
            first?.let {
                first = null
                return it
            }
            delay(pause - lastStart.elapsedNow())
            return poll()
        }

        private suspend fun poll(): List<Message> {
            lastStart = time.markNow()
            val isFirst = etag == null
            val limit = connectTimeout + if (isFirst) Duration.ZERO else WAIT
            val messages = withTimeoutOrNull(limit) { request(isFirst) } ?: throw ConnectionFailure(
                ConnectionLostException("No answer within $limit."),
                kind = TransportInput.SILENT,
            )
            val isEarly = messages.size == 1 && lastStart.elapsedNow() < WAIT / 2
            pause = if (isEarly) interval else SHORTEST_INTERVAL
            return messages
        }

        private suspend fun request(isFirst: Boolean): List<Message> = handshake.perform(urlFor(isFirst)) { uri, key ->
            val response = handshake.send(http.engine, EngineRequest("GET", uri, headers(key)))
            try {
                when (response.status) {
                    304 -> HandshakeResult.Opened(listOf(heartbeat(response.header("Flagent-Position"), response)))
                    200 -> HandshakeResult.Opened(snapshot(response, isFirst))
                    else -> handshake.refusal(response)
                }
            } finally {
                response.body.close()
            }
        }

        private suspend fun snapshot(response: EngineResponse, isFirst: Boolean): List<Message> {
            val type = response.header("Content-Type").orEmpty()
            if (!type.substringBefore(';').trim().equals("application/json", ignoreCase = true)) {
                throw failed("The response is '${type.take(60)}', not a snapshot; check the url, and that the network needs no login.", 200)
            }
            val json = read(response.body)
            val resync = MessageDecoder.pollingSnapshot(json, response.header("Flagent-Position"))
                ?: throw failed("The snapshot has no list of flags.", 200)
            etag = response.header("ETag") ?: etag
            val state = heartbeat(resync.snapshot.id, response)
            if (!isFirst) return listOf(resync, state)
            // Silence is measured by the interval between two answers.
            return listOf(Message.Connected(state.id, state.position, state.fresh, maxOf(interval, WAIT)), resync)
        }

        private suspend fun read(body: EngineBody): JsonObject {
            val bytes = ByteArrayOutputStream()
            try {
                while (true) {
                    bytes.write(body.read() ?: break)
                    if (bytes.size() > maxMessageBytes) throw failed("The snapshot exceeds maxMessageBytes ($maxMessageBytes).")
                }
                return Json.parseToJsonElement(bytes.toByteArray().decodeToString()) as? JsonObject
                    ?: throw failed("The snapshot is not a JSON object.", 200)
            } catch (e: IOException) {
                throw ConnectionFailure(ConnectionLostException("The snapshot broke off: ${e.message ?: e}", cause = e), kind = TransportInput.LOST)
            } catch (_: SerializationException) {
                throw failed("The snapshot is not JSON.", 200)
            }
        }

        private fun failed(message: String, status: Int? = null) =
            ConnectionFailure(ConnectionLostException(message, status = status), kind = TransportInput.FAILED)

        private fun heartbeat(id: String?, response: EngineResponse) =
            Message.Heartbeat(id, id?.let(EventId::parse)?.position?.toString(), response.header("Flagent-Stale") == null, null)

        private fun headers(key: String?): Map<String, String> = buildMap {
            put("Accept", "application/json")
            put("Cache-Control", "no-cache")
            key?.let { put("X-API-Key", it) }
            etag?.let { put("If-None-Match", it) }
        }

        private fun urlFor(isFirst: Boolean): URI {
            val query = selection.query().filter { it.first in SELECTORS }
            return address.withQuery(if (isFirst) query else query + ("waitMs" to WAIT.inWholeMilliseconds.toString()))
        }

        // The selection is part of the URL, and a first poll answers a request for a snapshot.
        override suspend fun select(from: ServerSelection, to: ServerSelection) = from.query().toSet() == to.query().toSet()

        override suspend fun requestSnapshot(selection: ServerSelection, number: Int) = false

        override suspend fun send(text: String): Unit = error("Polling is one-way.")

        override suspend fun close() = Unit
    }

    companion object {
        /** How long the server may hold a request; proxies commonly end one without an answer after 10 s or more. */
        val WAIT = 8_000.milliseconds
        val DEFAULT_INTERVAL = 10.seconds
        private val SHORTEST_INTERVAL = 1.seconds
        private val SELECTORS = setOf("flag", "flagID", "tag", "schema")
    }
}
