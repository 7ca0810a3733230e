package com.flagent.realtime.okhttp

import com.flagent.realtime.EmptyBody
import com.flagent.realtime.EngineRequest
import com.flagent.realtime.EngineResponse
import com.flagent.realtime.EngineSocket
import com.flagent.realtime.HttpEngine
import com.flagent.realtime.HttpEngineProvider
import com.flagent.realtime.StreamBody
import kotlinx.coroutines.suspendCancellableCoroutine
import okhttp3.Call
import okhttp3.OkHttpClient
import okhttp3.Protocol
import okhttp3.Request
import okhttp3.RequestBody.Companion.toRequestBody
import okhttp3.Response
import okio.Socket
import okio.buffer
import java.io.IOException
import java.io.InputStream
import java.io.OutputStream
import java.util.concurrent.TimeUnit
import kotlin.concurrent.thread
import kotlin.coroutines.resumeWithException

/**
 * OkHttp 5, for Android from API level 24 and for the JVM.
 *
 * @param given supplies proxy, certificates, DNS and interceptors; it is never shut down. Its read, write and call time limits and
 * its redirects do not apply to this engine: a stream is silent between two keep-alives, and redirects are the client's. `null` =
 * one with OkHttp's defaults, which [close] shuts down.
 */
public class OkHttpEngine private constructor(given: OkHttpClient?, connectTimeoutMs: Long?) : HttpEngine {
    @JvmOverloads
    public constructor(given: OkHttpClient? = null) : this(given, null)

    internal constructor(connectTimeoutMs: Long) : this(null, connectTimeoutMs)

    private val isOwn = given == null
    private val streams = (given?.newBuilder() ?: OkHttpClient.Builder())
        .apply { connectTimeoutMs?.let { connectTimeout(it, TimeUnit.MILLISECONDS) } }
        .followRedirects(false)
        .followSslRedirects(false)
        .readTimeout(0, TimeUnit.MILLISECONDS)
        .callTimeout(0, TimeUnit.MILLISECONDS)
        .pingInterval(0, TimeUnit.MILLISECONDS)
        .build()
    // Only HTTP/1.1 has upgrades.
    private val upgrades = streams.newBuilder().protocols(listOf(Protocol.HTTP_1_1)).build()

    override suspend fun send(request: EngineRequest): EngineResponse = execute(streams, request) { call, response ->
        val body = response.body
        EngineResponse(response.code, response.headers.toMap(), StreamBody(body.byteStream()) { call.cancel() })
    }

    override suspend fun upgrade(request: EngineRequest): EngineResponse = execute(upgrades, request) { call, response ->
        val socket = response.socket
        if (response.code == 101 && socket != null) {
            EngineResponse(101, response.headers.toMap(), EmptyBody, OkHttpSocket(socket))
        } else {
            EngineResponse(response.code, response.headers.toMap(), StreamBody(response.body.byteStream()) { call.cancel() })
        }
    }

    override fun close() {
        if (!isOwn) return
        streams.dispatcher.executorService.shutdown()
        streams.connectionPool.evictAll()
    }

    // On a thread of its own: OkHttp's dispatcher would allow five streams of one host.
    private suspend fun execute(
        client: OkHttpClient,
        request: EngineRequest,
        convert: (Call, Response) -> EngineResponse,
    ): EngineResponse {
        val call = client.newCall(okHttpRequest(request))
        return suspendCancellableCoroutine { continuation ->
            continuation.invokeOnCancellation { call.cancel() }
            thread(name = "flagent-realtime-connect", isDaemon = true) {
                try {
                    val response = convert(call, call.execute())
                    continuation.resume(response) { _, late, _ ->
                        late.body.close()
                        late.socket?.close()
                    }
                } catch (e: Exception) {
                    continuation.resumeWithException(e as? IOException ?: IOException(e.message ?: e.toString(), e))
                }
            }
        }
    }

    private fun okHttpRequest(request: EngineRequest): Request = Request.Builder()
        .url(request.uri.toString())
        .apply { request.headers.forEach { (name, value) -> header(name, value) } }
        .method(request.method, request.body?.toRequestBody())
        .build()
}

/** Found by `ServiceLoader`. */
public class OkHttpEngineProvider : HttpEngineProvider {
    override fun create(connectTimeoutMs: Long): HttpEngine = OkHttpEngine(connectTimeoutMs)
}

private class OkHttpSocket(private val socket: Socket) : EngineSocket {
    override val input: InputStream = socket.source.buffer().inputStream()
    override val output: OutputStream = socket.sink.buffer().outputStream()

    override fun close() = socket.cancel()
}
