package com.flagent.realtime

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.asExecutor
import java.net.http.HttpClient
import java.util.concurrent.atomic.AtomicReference

/**
 * The HTTP client of one realtime client, made at first use.
 *
 * Its one thread (the selector) ends at [close] on Java 21 and later. Older versions have no way to say so: there it ends
 * when the garbage collector finds the client unused, which is why [close] lets go of it.
 */
internal class SharedHttp(private val given: HttpClient?) {
    private val made = AtomicReference<HttpClient?>()

    val client: HttpClient
        get() = given ?: made.get() ?: synchronized(this) { made.get() ?: make().also(made::set) }

    fun close() {
        val client = made.getAndSet(null) ?: return
        try {
            HttpClient::class.java.getMethod("shutdownNow").invoke(client)
        } catch (_: NoSuchMethodException) {
            // Before Java 21: see above.
        }
    }

    private fun make(): HttpClient = HttpClient.newBuilder()
        // Redirects are followed by Handshake, which keeps the API key with its origin.
        .followRedirects(HttpClient.Redirect.NEVER)
        .executor(Dispatchers.IO.asExecutor())
        .build()
}
