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

    override suspend fun open(request: ConnectionRequest): Connection = handshake.perform(urlFor(request)) { uri, key ->
        val response = handshake.send(http.engine, EngineRequest("GET", uri, headers(key, request)))
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

    private fun urlFor(request: ConnectionRequest): URI {
        val query = buildList {
            addAll(request.selection.query())
            add("envelope" to "true")
            if (request.snapshot != null) add("snapshot" to "true")
            request.lastEventId?.takeIf { !it.isPlain }?.let { add("lastEventId" to it) }
        }
        return address.withQuery(query)
    }

    private fun headers(key: String?, request: ConnectionRequest): Map<String, String> = buildMap {
        put("Accept", "text/event-stream")
        put("Cache-Control", "no-cache")
        key?.let { put("X-API-Key", it) }
        request.lastEventId?.takeIf { it.isPlain }?.let { put("Last-Event-ID", it) }
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
