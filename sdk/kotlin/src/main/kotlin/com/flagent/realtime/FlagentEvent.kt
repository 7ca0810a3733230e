package com.flagent.realtime

import kotlinx.serialization.json.JsonObject
import java.time.Instant

/**
 * One change, exactly as it was committed.
 *
 * [data] is a [Flag] for `FLAG_CREATED`, `FLAG_UPDATED`, `FLAG_ENABLED`, `FLAG_DISABLED`; the key as a `String` for
 * `FLAG_DELETED`; a [Segment] or `null` (removed) for `SEGMENT_UPDATED`; a `List<Distribution>` for
 * `DISTRIBUTION_UPDATED`; a [Variant] or `null` (removed) for `VARIANT_UPDATED`; a [Snapshot] for `RESYNC`; else [json].
 */
public class FlagEvent(
    public val type: EventType,
    /** Grows in commit order and is the same on every server; `null` where the server sent none. */
    public val id: String?,
    /** Empty for events that are about no flag (rows of watched tables, `RESYNC`). */
    public val flagKey: String,
    public val data: Any?,
    public val committedAt: Instant?,
    public val flagID: Int? = null,
    public val schema: String? = null,
    /** The whole flag as of the commit, with every event about a live flag. */
    public val flag: Flag? = null,
    public val segmentID: Int? = null,
    public val variantID: Int? = null,
    /** The name on the wire, of unknown types too. */
    public val typeName: String = type.wireName,
    /** The message as received. */
    public val json: JsonObject = JsonObject(emptyMap()),
) {
    override fun toString(): String = "FlagEvent($typeName, id=$id, flagKey=$flagKey)"
}

/** The selected flags as of a position of the server's log. */
public class Snapshot(
    /** Resumes after this snapshot; `null` where the server sent none. */
    public val id: String?,
    public val position: String?,
    public val flags: List<Flag>,
    /** Why the server had to start over (`pruned`, `ahead`, `overflow`, …); `null` where it was asked for. */
    public val reason: String? = null,
) {
    override fun toString(): String = "Snapshot(id=$id, ${flags.size} flags, reason=$reason)"
}
