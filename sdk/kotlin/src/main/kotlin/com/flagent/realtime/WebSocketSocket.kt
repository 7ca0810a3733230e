package com.flagent.realtime

import java.io.BufferedInputStream
import java.io.Closeable
import java.io.EOFException
import java.io.IOException
import java.io.InputStream
import java.io.OutputStream
import java.net.InetAddress
import java.net.InetSocketAddress
import java.net.Proxy
import java.net.ProxySelector
import java.net.Socket
import java.net.URI
import java.net.http.HttpClient
import java.security.SecureRandom
import java.util.Base64
import javax.net.ssl.SSLContext
import javax.net.ssl.SSLSocket

/**
 * The socket below a WebSocket: connecting, TLS and the opening handshake. Blocks; [close] from any thread interrupts every
 * operation.
 *
 * It replaces the WebSocket of java.net.http: on Java 17 that one does not report the end of a connection that follows directly
 * after a frame, neither to its listener nor when aborted (a test ends a hundred connections in that way).
 */
internal class WebSocketSocket(private val uri: URI, private val settings: HttpClient?) : Closeable {
    private val isSecure = uri.scheme == "wss"
    private val port = if (uri.port >= 0) uri.port else if (isSecure) 443 else 80

    @Volatile
    private var raw: Socket? = null

    @Volatile
    private var isClosed = false

    lateinit var input: InputStream
        private set
    private lateinit var output: OutputStream

    /** Connects and requests the upgrade. Unless the result is [HandshakeResult.Opened], the socket is closed. */
    fun open(key: String?): HandshakeResult<WebSocketSocket> {
        var isOpen = false
        try {
            val socket = secure(connect())
            input = BufferedInputStream(socket.getInputStream())
            output = socket.getOutputStream()
            val nonce = Base64.getEncoder().encodeToString(ByteArray(16).also(random::nextBytes))
            write(request(nonce, key))
            val (status, headers) = readHead()
            if (status != 101) return HandshakeResult.Refused(status, headers["location"], headers["retry-after"])
            if (headers["sec-websocket-accept"] != acceptFor(nonce)) {
                throw IOException("The response to the handshake has a wrong Sec-WebSocket-Accept.")
            }
            isOpen = true
            return HandshakeResult.Opened(this)
        } finally {
            if (!isOpen) close()
        }
    }

    /** Writes all bytes, one caller at a time. */
    @Synchronized
    fun write(bytes: ByteArray) {
        output.write(bytes)
        output.flush()
    }

    fun frame(opcode: Int, payload: ByteArray): Unit =
        write(clientFrame(opcode, payload, ByteArray(4).also(random::nextBytes)))

    // Closes the socket below TLS: closing the TLS socket would wait for a blocked writer.
    override fun close() {
        isClosed = true
        raw?.close()
    }

    private fun connect(): Socket {
        val asHttp = URI(if (isSecure) "https" else "http", null, uri.host, port, "/", null, null)
        val selector = settings?.proxy()?.orElse(null) ?: ProxySelector.getDefault()
        val proxy = selector?.select(asHttp)?.firstOrNull()?.takeIf { it.type() != Proxy.Type.DIRECT }
        if (proxy != null) return connect(Socket(proxy), InetSocketAddress.createUnresolved(uri.host, port))
        var failure: IOException? = null
        for (address in InetAddress.getAllByName(uri.host)) {
            try {
                return connect(Socket(), InetSocketAddress(address, port))
            } catch (e: IOException) {
                failure = e
            }
        }
        throw failure ?: IOException("The host ${uri.host} has no address.")
    }

    private fun connect(socket: Socket, address: InetSocketAddress): Socket {
        raw = socket
        if (isClosed) socket.close()
        socket.tcpNoDelay = true
        socket.keepAlive = true
        socket.connect(address)
        return socket
    }

    private fun secure(socket: Socket): Socket {
        if (!isSecure) return socket
        val context = settings?.sslContext() ?: SSLContext.getDefault()
        val secured = context.socketFactory.createSocket(socket, uri.host.trim('[', ']'), port, true) as SSLSocket
        secured.sslParameters = (settings?.sslParameters() ?: secured.sslParameters).apply {
            endpointIdentificationAlgorithm = "HTTPS"
            applicationProtocols = arrayOf("http/1.1")
        }
        secured.startHandshake()
        return secured
    }

    private fun request(nonce: String, key: String?): ByteArray {
        val path = (uri.rawPath.orEmpty().ifEmpty { "/" }) + (uri.rawQuery?.let { "?$it" } ?: "")
        val host = uri.host + if (uri.port >= 0) ":${uri.port}" else ""
        val lines = listOfNotNull(
            "GET $path HTTP/1.1",
            "Host: $host",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: $nonce",
            "Sec-WebSocket-Version: 13",
            key?.let { "X-API-Key: $it" },
        )
        require(lines.none { line -> line.any { it < ' ' } }) { "The API key contains a control character." }
        return (lines.joinToString("\r\n") + "\r\n\r\n").toByteArray()
    }

    private fun readHead(): Pair<Int, Map<String, String>> {
        val head = StringBuilder()
        while (!head.endsWith("\r\n\r\n")) {
            val b = input.read()
            if (b < 0) throw EOFException("The server ended the connection during the handshake.")
            head.append(b.toChar())
            if (head.length > MAX_HEAD) throw IOException("The response to the handshake is too long.")
        }
        val lines = head.lines()
        val status = lines.first().split(' ').getOrNull(1)?.toIntOrNull()
            ?: throw IOException("The response to the handshake is not HTTP.")
        return status to lines.drop(1).filter { ':' in it }
            .associate { it.substringBefore(':').trim().lowercase() to it.substringAfter(':').trim() }
    }

    private companion object {
        const val MAX_HEAD = 64 * 1024
        val random = SecureRandom()
    }
}
