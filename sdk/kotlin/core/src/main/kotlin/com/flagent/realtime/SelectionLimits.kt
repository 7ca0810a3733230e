package com.flagent.realtime

/**
 * What one connection can select.
 *
 * @property isQuery whether the selection is the query of a URL.
 */
internal class SelectionLimits(private val selectors: Int, private val isQuery: Boolean) {
    /** Raises [IllegalArgumentException] if these selections are more than one connection carries. */
    fun require(upperBound: Int, selections: () -> List<ServerSelection>) {
        // Equal selectors of several subscriptions count once, but comparing them takes time.
        if (upperBound <= minOf(selectors, if (isQuery) SAFE_QUERY else selectors)) return
        val whole = ServerSelection.union(selections())
        val count = whole.count + if (isQuery) whole.types.size + whole.schemas.size else 0
        require(count <= selectors) {
            "This client would select $count flags, ids and tags, but the limit of one ${if (isQuery) "event stream" else "connection"} is " +
                "$selectors; select everything, or use ${if (isQuery) "FlagentWebSocketClient" else "another client for some"}."
        }
        if (!isQuery) return
        val bytes = whole.query().toQuery().length
        require(bytes <= MAX_QUERY_BYTES) {
            "The selection would be a query of $bytes bytes, but the limit is $MAX_QUERY_BYTES; select everything, or use FlagentWebSocketClient."
        }
    }

    companion object {
        // The server's limit is 10 000. A selection that is sent in parts takes one more for a moment.
        val WEB_SOCKET = SelectionLimits(9999, isQuery = false)
        val EVENT_STREAM = SelectionLimits(ServerSelection.MAX_VALUES, isQuery = true)

        // The server's limit is 64 KiB, with the parameters that are not the selection.
        private const val MAX_QUERY_BYTES = 60_000

        // So many of the longest selectors always fit: 256 characters of 12 bytes.
        private const val SAFE_QUERY = 18
    }
}
