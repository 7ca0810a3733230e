package com.flagent.realtime

import kotlinx.serialization.json.JsonObject
import kotlin.time.Instant

/**
 * One typed event, as of its commit.
 *
 * [data] is a [Flag] for `FLAG_CREATED`, `FLAG_UPDATED`, `FLAG_ENABLED`, `FLAG_DISABLED`; the key as a `String` for
 * `FLAG_DELETED`; a [Segment] or `null` (removed) for `SEGMENT_UPDATED`; a `List<Distribution>` for
 * `DISTRIBUTION_UPDATED`; a [Variant] or `null` (removed) for `VARIANT_UPDATED`; a [Snapshot] for `RESYNC`; otherwise [raw].
 */
public class FlagentEvent(
    public val type: EventType,
    /** Ascends in commit order and is the same on every server; `null` if the server sent none. */
    public val id: String?,
    /** Empty for events without a flag (rows of watched tables, `RESYNC`). */
    public val flagKey: String,
    public val data: Any?,
    public val committedAt: Instant?,
    public val flagID: Int? = null,
    public val schema: String? = null,
    /** The whole flag as of the commit; `null` after a deletion and for events without a flag. */
    public val flag: Flag? = null,
    public val segmentID: Int? = null,
    public val variantID: Int? = null,
    /** The type as the server sent it, also of unknown types. */
    public val typeName: String = type.wireName,
    /** The message as received. */
    public val raw: JsonObject = JsonObject(emptyMap()),
) {
    /** The table of a row, with its schema; `null` for events about flags. */
    public val table: String? get() = raw.text("table")

    /** The columns of a row's key; `null` for events about flags, and where the table has no key. */
    public val key: JsonObject? get() = raw.obj("key")

    /** The row before the change; `null` if there was none, or if it is [unreadable]. Numbers keep all their digits. */
    public val before: JsonObject? get() = raw.obj("before")

    /** The row after the change; `null` if there is none, or if it is [unreadable]. */
    public val after: JsonObject? get() = raw.obj("after")

    /** Why the values of a row could not be delivered, such as `too_large`; `null` if they were. */
    public val unreadable: String? get() = raw.text("unreadable")

    override fun toString(): String = "FlagentEvent($typeName, id=$id, flagKey=$flagKey)"
}

/** The selected flags as of a position of the server's change log. */
public class Snapshot(
    /** The id to resume after; `null` if the server sent none. */
    public val id: String?,
    public val position: String?,
    public val flags: List<Flag>,
    /** Why a resync replaces the state (`pruned`, `ahead`, `overflow`, …); `null` for a requested snapshot. */
    public val reason: String? = null,
) {
    override fun toString(): String = "Snapshot(id=$id, ${flags.size} flags, reason=$reason)"
}
