package com.flagent.realtime

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.asExecutor
import java.net.http.HttpClient
import java.util.concurrent.atomic.AtomicReference

/**
 * The HTTP client of one realtime client, created at first use.
 *
 * Its one thread (the selector) ends at [close] on Java 21 and later. Older versions cannot stop it: there it ends when the
 * client is garbage collected, which is why [close] releases the reference.
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
            // Java 17 to 20: see above.
        }
    }

    private fun make(): HttpClient = HttpClient.newBuilder()
        // Redirects are followed by Handshake, which keeps the API key with its origin.
        .followRedirects(HttpClient.Redirect.NEVER)
        .executor(Dispatchers.IO.asExecutor())
        .build()
}
