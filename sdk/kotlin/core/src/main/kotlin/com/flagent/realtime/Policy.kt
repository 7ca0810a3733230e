package com.flagent.realtime

import java.net.URI
import java.text.ParsePosition
import java.text.SimpleDateFormat
import java.util.Locale
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds

/** What a response of the server means for the connection. */
internal enum class Outcome { STREAM, REDIRECT, RETRY, FATAL }

/** The outcomes of statuses, close codes and redirects. */
internal object Policy {
    const val MAX_REDIRECTS = 5
    private val retried = setOf(408, 425, 429)
    private val fatalCodes = setOf(1010, 3000, 3003)

    /** Errors that need an operator are fatal: a retry does not fix a wrong key or URL. */
    fun statusOutcome(status: Int): Outcome = when (status) {
        200 -> Outcome.STREAM
        301, 302, 303, 307, 308 -> Outcome.REDIRECT
        in retried, in 500..599 -> Outcome.RETRY
        else -> Outcome.FATAL
    }

    /** Whether the server, or a proxy, asks to come back later: it says nothing about the transport. */
    fun isUnavailable(status: Int): Boolean = status in retried || (status in 500..599 && status != 501 && status != 505)

    /** Codes 4400 to 4499 are 4000 plus an HTTP status; 3000 and 3003 are IANA's Unauthorized and Forbidden. */
    fun closeCodeOutcome(code: Int): Outcome = when {
        code in fatalCodes -> Outcome.FATAL
        code in 4400..4499 -> statusOutcome(code - 4000)
        else -> Outcome.RETRY
    }

    fun isEventStream(contentType: String?): Boolean =
        contentType?.substringBefore(';')?.trim()?.equals("text/event-stream", ignoreCase = true) == true

    /** Seconds or an HTTP date, at most one hour; `null` if it cannot be parsed. */
    fun parseRetryAfter(value: String?, nowMs: Long): Duration? {
        val text = value?.trim().orEmpty()
        if (text.isNotEmpty() && text.all { it in '0'..'9' }) {
            return minOf((text.toLongOrNull() ?: Long.MAX_VALUE).coerceAtMost(3600).seconds, MAX_RETRY_AFTER)
        }
        // Not java.time, which Android has since API level 26 only.
        val format = SimpleDateFormat("EEE, dd MMM yyyy HH:mm:ss z", Locale.US).apply { isLenient = false }
        val end = ParsePosition(0)
        val at = format.parse(text, end)?.takeIf { end.index == text.length } ?: return null
        return (at.time - nowMs).coerceAtLeast(0).milliseconds.coerceAtMost(MAX_RETRY_AFTER)
    }

    /**
     * The target of redirect number [hop] (1 = the first), and whether the API key may be sent there; `null` = not followed. The
     * scheme stays of the same kind (`ws` stays `ws`, `https` after `wss` becomes `wss`). The query is the selection, without
     * which the target would be another stream: a target without a query keeps it.
     */
    fun resolveRedirect(from: URI, location: String?, hop: Int): Pair<URI, Boolean>? {
        if (location == null || hop > MAX_REDIRECTS) return null
        val target = try {
            from.resolve(location)
        } catch (_: IllegalArgumentException) {
            return null
        }
        val secure = when (target.scheme?.lowercase()) {
            "https", "wss" -> true
            "http", "ws" -> false
            else -> return null
        }
        if (target.host == null || (from.isSecure && !secure)) return null
        val scheme = (if (from.scheme.startsWith("ws", ignoreCase = true)) "ws" else "http") + if (secure) "s" else ""
        val path = target.toString().substringBefore('#').substringBefore('?').replaceFirst(target.scheme, scheme)
        val sendKey = sameOrigin(from, URI(path))
        val own = target.rawQuery.orEmpty()
        val query = own.ifEmpty { from.rawQuery.orEmpty().let { if (sendKey) it else withoutToken(it) } }
        return URI(if (query.isEmpty()) path else "$path?$query") to sendKey
    }

    /** A token is a credential: it stays with its origin, as the key does. */
    private fun withoutToken(query: String) = query.split('&').filter { it.substringBefore('=') != "token" }.joinToString("&")

    private fun sameOrigin(from: URI, to: URI): Boolean {
        if (!from.host.equals(to.host, ignoreCase = true)) return false
        val upgraded = to.isSecure && !from.isSecure
        return if (upgraded) from.effectivePort == 80 && to.effectivePort == 443 else from.effectivePort == to.effectivePort
    }

    private val URI.isSecure get() = scheme.lowercase() in setOf("https", "wss")
    private val URI.effectivePort get() = if (port >= 0) port else if (isSecure) 443 else 80
}
