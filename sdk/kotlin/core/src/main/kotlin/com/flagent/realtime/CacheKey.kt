package com.flagent.realtime

import java.net.URI
import java.security.MessageDigest

/** The key of saved flags: server, selection and user, so that one user's flags are never shown to another. */
internal object CacheKey {
    /** 64 hex digits. [credential] is the API key, or what identifies its user; `null` = none. */
    fun of(url: URI, selection: Selection, credential: String?): String =
        sha256(listOf(normalUrl(url), selectionText(selection), credential?.let(::sha256) ?: "-").joinToString("\n"))

    /** `http` or `https`, host in lower case, without default port, query, user, fragment and slash at the end. */
    fun normalUrl(url: URI): String {
        val isSecure = url.scheme.lowercase() in setOf("https", "wss")
        val port = url.port.takeIf { it >= 0 && it != (if (isSecure) 443 else 80) }
        return (if (isSecure) "https://" else "http://") + url.host.lowercase() + (port?.let { ":$it" } ?: "") + url.rawPath.orEmpty().trimEnd('/')
    }

    fun selectionText(selection: Selection): String = buildString {
        append("{\"all\":").append(selection.isEverything)
        append(",\"flags\":").append(texts(selection.flags))
        append(",\"ids\":[").append(selection.flagIDs.sorted().joinToString(",")).append(']')
        // Segments alone select no flag, so a store of them holds none.
        append(",\"schemas\":").append(texts(selection.schemas))
        append(",\"tags\":").append(texts(selection.tags))
        append(",\"types\":[]}")
    }

    private fun texts(values: Set<String>) = values.sortedWith(Canonical.byCodePoint).joinToString(",", "[", "]", transform = Canonical::quoted)

    private fun sha256(text: String): String =
        MessageDigest.getInstance("SHA-256").digest(text.toByteArray()).joinToString("") { (it.toInt() and 0xff).toString(16).padStart(2, '0') }
}
