package com.flagent.realtime

import kotlinx.serialization.json.JsonObject
import kotlin.time.Duration

/** The messages of a server, the same over WebSocket and SSE. */
internal sealed interface Message {
    /**
     * SSE's `connected`, WebSocket's `subscribed`. Two members are set by the client, never on the wire: whether it [resumed],
     * and [isRepeat], whether this is a further one on the same connection.
     */
    data class Connected(
        val id: String?,
        val position: String?,
        val fresh: Boolean?,
        val heartbeat: Duration?,
        val resumed: Boolean = false,
        val isRepeat: Boolean = false,
    ) : Message

    /** [request] is set by the client, never on the wire: the number of the request (1, 2, …) that the snapshot answers. */
    data class SnapshotMessage(val snapshot: Snapshot, val requestId: String?, val request: Int = 0) : Message

    data class Resync(val snapshot: Snapshot, val json: JsonObject) : Message

    data class Events(val events: List<FlagentEvent>, val malformed: List<Malformed>) : Message

    data class Heartbeat(val id: String?, val position: String?, val fresh: Boolean?, val digest: String?) : Message

    /** Moves the id to resume after, without any other content. */
    data class IdUpdate(val id: String) : Message

    data class Retry(val wait: Duration) : Message

    data class Response(val requestId: String?, val position: String?, val results: List<JsonObject>) : Message

    data class ErrorMessage(val requestId: String?, val code: String, val text: String) : Message

    /** Rows of a table, before [RowsEnd]. */
    data class TableRows(val rows: List<JsonObject>) : Message

    /** All rows of a table were sent. */
    data class RowsEnd(val id: String?, val position: String?) : Message

    data class BackfillFailed(val code: String, val text: String) : Message

    data class Malformed(val reason: String) : Message

    /** Well-formed, without content for the client. */
    data object Ignored : Message
}
