package com.flagent.realtime

import java.net.URI

/** The URL of a client, with the scheme of its kind: `http` and `ws`, `https` and `wss` are equivalent to a user. */
internal fun endpointUrl(url: String, kind: String): URI {
    val uri = URI(url)
    val scheme = when (uri.scheme?.lowercase()) {
        "ws", "http" -> kind
        "wss", "https" -> kind + "s"
        else -> throw IllegalArgumentException("The url is '$url'; it must begin with $kind:// or ${kind}s://.")
    }
    require(uri.host != null) { "The url '$url' has no host." }
    require(uri.userInfo == null) { "The url contains credentials; remove them and pass apiKey." }
    return URI(scheme + url.substring(uri.scheme.length))
}

/** The same URL with the scheme of another kind, `http` or `ws`. */
internal fun URI.withKind(kind: String): URI {
    val secure = if (scheme.lowercase() in setOf("https", "wss")) "s" else ""
    return URI(kind + secure + toString().substring(scheme.length))
}

/** The URL without its fragment, with these parameters added. */
internal fun URI.withQuery(query: List<Pair<String, String>>): URI {
    val text = toString().substringBefore('#')
    return if (query.isEmpty()) URI(text) else URI(text + (if ('?' in text) "&" else "?") + query.toQuery())
}
