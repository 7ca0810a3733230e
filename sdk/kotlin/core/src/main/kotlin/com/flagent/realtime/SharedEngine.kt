package com.flagent.realtime

import java.util.ServiceLoader
import kotlin.time.Duration

/** The engine of one realtime client, created at first use; one that was given stays open. */
internal class SharedEngine(private val given: HttpEngine?, private val connectTimeout: Duration) {
    private var made: HttpEngine? = null
    private var isClosed = false

    val engine: HttpEngine
        get() = given ?: synchronized(this) {
            if (isClosed) throw ClientClosedException()
            made ?: find(connectTimeout * CONNECT_SHARE).also { made = it }
        }

    fun close() {
        val engine = synchronized(this) {
            isClosed = true
            made.also { made = null }
        }
        engine?.close()
    }

    private companion object {
        // Less than the whole, so that a host that does not answer is told from one that takes the request and is silent.
        const val CONNECT_SHARE = 0.8

        fun find(connectTimeout: Duration): HttpEngine {
            // The loader of this class: on Android and in application servers, that of the thread may be another.
            val found = ServiceLoader.load(HttpEngineProvider::class.java, HttpEngineProvider::class.java.classLoader).toList()
            return when (found.size) {
                1 -> found.single().create(connectTimeout.inWholeMilliseconds)
                0 -> error("No HTTP engine: add flagent-realtime-jdk or flagent-realtime-okhttp, or pass ClientOptions.engine.")
                else -> error(
                    "Several HTTP engines (${found.joinToString { it.javaClass.name }}): keep one of their modules, or pass ClientOptions.engine.",
                )
            }
        }
    }
}
