package com.flagent.realtime.jdk

import com.flagent.realtime.EmptyBody
import com.flagent.realtime.EngineRequest
import com.flagent.realtime.EngineResponse
import com.flagent.realtime.EngineSocket
import com.flagent.realtime.StreamBody
import java.io.BufferedInputStream
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
import javax.net.ssl.SSLContext
import javax.net.ssl.SSLSocket

/**
 * The socket of one upgrade: connecting, TLS and the request. [open] blocks; [close] from any thread interrupts every operation.
 *
 * It replaces the WebSocket of java.net.http: on Java 17 that one does not report the end of a connection that follows directly
 * after a frame, neither to its listener nor when aborted (a test ends a hundred connections in that way).
 */
internal class UpgradeSocket(private val request: EngineRequest, private val settings: HttpClient?, private val connectTimeoutMs: Int) : EngineSocket {
    private val uri = request.uri
    private val isSecure = uri.isSecure
    private val port = if (uri.port >= 0) uri.port else if (isSecure) 443 else 80

    @Volatile
    private var raw: Socket? = null

    @Volatile
    private var isClosed = false

    override lateinit var input: InputStream
        private set
    override lateinit var output: OutputStream
        private set

    /** Connects and sends the request. Unless the result has a body or a socket to close, the connection is closed. */
    fun open(): EngineResponse {
        var isOpen = false
        try {
            val socket = secure(connect())
            input = BufferedInputStream(socket.getInputStream())
            output = socket.getOutputStream()
            output.write(head())
            output.flush()
            val (status, headers) = readHead()
            isOpen = true
            if (status == 101) return EngineResponse(status, headers, EmptyBody, this)
            val length = headers["content-length"]?.toIntOrNull() ?: MAX_HEAD
            return EngineResponse(status, headers, StreamBody(Refusal(length), ::close))
        } finally {
            if (!isOpen) close()
        }
    }

    // Closes the socket below TLS: closing the TLS socket would wait for a blocked writer.
    override fun close() {
        isClosed = true
        raw?.close()
    }

    /** The body of a response without an upgrade: it ends at its length, or with the connection. */
    private inner class Refusal(private var left: Int) : InputStream() {
        override fun read(): Int = if (left-- <= 0) -1 else input.read()

        override fun read(bytes: ByteArray, from: Int, count: Int): Int {
            if (left <= 0) return -1
            return input.read(bytes, from, minOf(left, count)).also { left -= maxOf(it, 0) }
        }
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
        socket.connect(address, connectTimeoutMs)
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

    private fun head(): ByteArray {
        val path = (uri.rawPath.orEmpty().ifEmpty { "/" }) + (uri.rawQuery?.let { "?$it" } ?: "")
        val host = uri.host + if (uri.port >= 0) ":${uri.port}" else ""
        val lines = listOf("${request.method} $path HTTP/1.1", "Host: $host") + request.headers.map { (name, value) -> "$name: $value" }
        require(lines.none { line -> line.any { it < ' ' } }) { "A header contains a control character." }
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
    }
}
