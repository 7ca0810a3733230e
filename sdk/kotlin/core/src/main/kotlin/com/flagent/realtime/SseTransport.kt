package com.flagent.realtime

import java.io.IOException
import java.net.URI

/** An event stream over HTTP. The selection is part of the URL, so a new selection requires a new connection. */
internal class SseTransport(
    private val address: URI,
    keys: ApiKeySource,
    private val http: SharedEngine,
    private val maxMessageBytes: Int,
) : Transport {
    private val handshake = Handshake(keys)

    override val limits get() = SelectionLimits.EVENT_STREAM

    override val servesWithoutSelection get() = false

    override suspend fun open(request: ConnectionRequest): Connection = open(
        request.selection.query() + ("envelope" to "true") + listOfNotNull(if (request.snapshot != null) "snapshot" to "true" else null),
        request.lastEventId,
    )

    /** Opens a stream of this query, resumed after [lastEventId] unless that is `null`. */
    suspend fun open(query: List<Pair<String, String>>, lastEventId: String?): Connection = handshake.perform(urlFor(query, lastEventId)) { uri, key ->
        val response = handshake.send(http.engine, EngineRequest("GET", uri, headers(key, lastEventId)))
        var isOpen = false
        try {
            if (response.status != 200) return@perform handshake.refusal(response)
            if (!Policy.isEventStream(response.header("Content-Type"))) {
                val error = ConnectionRefusedException("The server did not respond with an event stream; check the url, and that the network needs no login.", status = 200)
                throw ConnectionFailure(error, isFatal = true)
            }
            isOpen = true
            HandshakeResult.Opened(SseConnection(response.body, maxMessageBytes))
        } finally {
            if (!isOpen) response.body.close()
        }
    }

    override suspend fun probe(selection: ServerSelection) {
        val connection = open(ConnectionRequest(selection, lastEventId = null, snapshot = null))
        try {
            while (connection.receive().none { it is Message.Connected }) Unit
        } finally {
            connection.close()
        }
    }

    override fun close() = http.close()

    private fun urlFor(query: List<Pair<String, String>>, lastEventId: String?): URI =
        address.withQuery(query + listOfNotNull(lastEventId?.takeIf { !it.isPlain }?.let { "lastEventId" to it }))

    private fun headers(key: String?, lastEventId: String?): Map<String, String> = buildMap {
        put("Accept", "text/event-stream")
        put("Cache-Control", "no-cache")
        key?.let { put("X-API-Key", it) }
        lastEventId?.takeIf { it.isPlain }?.let { put("Last-Event-ID", it) }
    }

    private val String.isPlain get() = all { it in ' '..'~' }
}

private class SseConnection(private val body: EngineBody, limit: Int) : Connection {
    private val parser = SseParser(limit)
    private var failure: ConnectionFailure? = null

    override suspend fun receive(): List<Message> {
        failure?.let { throw it }
        val bytes = try {
            body.read() ?: throw ConnectionFailure(ConnectionLostException("The server ended the stream."))
        } catch (e: IOException) {
            throw ConnectionFailure(ConnectionLostException("The connection broke: ${e.message ?: e}", cause = e))
        }
        val items = mutableListOf<SseItem>()
        try {
            parser.feed(bytes, items)
        } catch (e: MessageTooLarge) {
            // The messages before it are valid: the next call raises the failure.
            failure = ConnectionFailure(ConnectionLostException(e.message.orEmpty(), cause = e))
            body.close()
        }
        return items.map(MessageDecoder::decodeSseItem)
    }

    override suspend fun select(from: ServerSelection, to: ServerSelection) = from.query().toSet() == to.query().toSet()

    override suspend fun requestSnapshot(selection: ServerSelection, number: Int) = false

    override suspend fun send(text: String): Unit = error("An event stream is one-way.")

    override suspend fun close() = body.close()
}
