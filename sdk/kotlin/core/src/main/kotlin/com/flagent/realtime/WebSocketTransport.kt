package com.flagent.realtime

import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonObjectBuilder
import kotlinx.serialization.json.put
import java.net.URI
import java.security.SecureRandom
import kotlin.io.encoding.Base64

/** JSON text frames over a WebSocket. */
internal class WebSocketTransport(
    private val address: URI,
    keys: ApiKeySource,
    private val http: SharedEngine,
    private val maxMessageBytes: Int,
) : Transport {
    private val handshake = Handshake(keys)

    override val limits get() = SelectionLimits.WEB_SOCKET

    override val servesWithoutSelection get() = true

    override suspend fun open(request: ConnectionRequest): Connection {
        val connection = handshake.perform(address, ::connect)
        try {
            if (!request.selection.isEmpty) {
                val start: (JsonObjectBuilder.() -> Unit)? = when {
                    request.snapshot != null -> snapshotRequest(request.snapshot)
                    request.lastEventId != null -> ({ put("lastEventId", request.lastEventId) })
                    else -> null
                }
                for (message in request.selection.subscribeMessages(start)) connection.send(message.toString())
            }
            return connection
        } catch (e: Throwable) {
            connection.abort()
            throw e
        }
    }

    /** Opens a connection and sends these messages. */
    suspend fun open(messages: List<JsonObject>): Connection {
        val connection = handshake.perform(address, ::connect)
        try {
            for (message in messages) connection.send(message.toString())
            return connection
        } catch (e: Throwable) {
            connection.abort()
            throw e
        }
    }

    override suspend fun probe(selection: ServerSelection) {
        val connection = handshake.perform(address, ::connect)
        try {
            connection.send("""{"type":"ping"}""")
            while (connection.receive().isEmpty()) Unit
        } finally {
            connection.abort()
        }
    }

    override fun close() = http.close()

    private suspend fun connect(uri: URI, key: String?): HandshakeResult<WebSocketConnection> {
        val nonce = Base64.encode(ByteArray(16).also(random::nextBytes))
        val headers = buildMap {
            put("Upgrade", "websocket")
            put("Connection", "Upgrade")
            put("Sec-WebSocket-Key", nonce)
            put("Sec-WebSocket-Version", "13")
            key?.let { put("X-API-Key", it) }
        }
        val response = handshake.upgrade(http.engine, EngineRequest("GET", uri.withKind("http"), headers))
        val socket = response.socket
        if (response.status != 101 || socket == null) {
            try {
                return handshake.refusal(response)
            } finally {
                response.body.close()
            }
        }
        if (response.header("Sec-WebSocket-Accept") != acceptFor(nonce)) {
            socket.close()
            throw ConnectionFailure(
                ConnectionLostException("The response to the handshake has a wrong Sec-WebSocket-Accept."),
                kind = TransportInput.FAILED,
            )
        }
        return HandshakeResult.Opened(WebSocketConnection(socket, maxMessageBytes))
    }

    private companion object {
        val random = SecureRandom()
    }
}

internal fun snapshotRequest(number: Int): JsonObjectBuilder.() -> Unit = {
    put("snapshot", true)
    put("requestId", SnapshotRequests.requestId(number))
}
