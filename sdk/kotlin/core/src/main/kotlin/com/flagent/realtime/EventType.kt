package com.flagent.realtime

/**
 * The type of an event about a flag, a segment, a variant or a watched row.
 *
 * The set is open: types of a newer server arrive as [UNKNOWN], with their name in `FlagentEvent.typeName`. This is therefore a
 * class with constants, not an `enum class`: Kotlin requires every `when` over an enum to name each entry, so an application
 * would no longer compile once a type is added.
 */
public class EventType private constructor(
    /** Upper-case name, such as `FLAG_UPDATED`. */
    public val name: String,
) {
    /** The name on the wire, such as `flag_updated`; empty for [UNKNOWN]. */
    public val wireName: String = if (name == "UNKNOWN") "" else name.lowercase()

    override fun toString(): String = name

    public companion object {
        /** The flag was created or restored. */
        @JvmField public val FLAG_CREATED: EventType = EventType("FLAG_CREATED")

        /** A content column, a tag or a variant of the flag changed. */
        @JvmField public val FLAG_UPDATED: EventType = EventType("FLAG_UPDATED")

        /** The flag was deleted or archived; data is its key. */
        @JvmField public val FLAG_DELETED: EventType = EventType("FLAG_DELETED")

        @JvmField public val FLAG_ENABLED: EventType = EventType("FLAG_ENABLED")
        @JvmField public val FLAG_DISABLED: EventType = EventType("FLAG_DISABLED")

        /** A segment or one of its constraints changed; data is the segment, `null` if it was removed. */
        @JvmField public val SEGMENT_UPDATED: EventType = EventType("SEGMENT_UPDATED")

        /** The distributions of a segment changed; data is their list. */
        @JvmField public val DISTRIBUTION_UPDATED: EventType = EventType("DISTRIBUTION_UPDATED")

        /** A variant changed; data is the variant, `null` if it was removed. */
        @JvmField public val VARIANT_UPDATED: EventType = EventType("VARIANT_UPDATED")

        @JvmField public val ROW_INSERTED: EventType = EventType("ROW_INSERTED")
        @JvmField public val ROW_UPDATED: EventType = EventType("ROW_UPDATED")
        @JvmField public val ROW_DELETED: EventType = EventType("ROW_DELETED")
        @JvmField public val TABLE_TRUNCATED: EventType = EventType("TABLE_TRUNCATED")

        /** The columns of a watched table changed, or its rows were rewritten; data is the message as JSON. */
        @JvmField public val SCHEMA_CHANGED: EventType = EventType("SCHEMA_CHANGED")

        /** Events were lost; data is a `Snapshot` that replaces the former state. */
        @JvmField public val RESYNC: EventType = EventType("RESYNC")

        /** A type that this version does not support; data is the message as JSON. */
        @JvmField public val UNKNOWN: EventType = EventType("UNKNOWN")

        /** Every type, in a fixed order. */
        @JvmField
        public val entries: List<EventType> = listOf(
            FLAG_CREATED, FLAG_UPDATED, FLAG_DELETED, FLAG_ENABLED, FLAG_DISABLED, SEGMENT_UPDATED,
            DISTRIBUTION_UPDATED, VARIANT_UPDATED, ROW_INSERTED, ROW_UPDATED, ROW_DELETED, TABLE_TRUNCATED,
            SCHEMA_CHANGED, RESYNC, UNKNOWN,
        )

        private val byWireName = entries.filter { it !== UNKNOWN && it !== RESYNC }.associateBy { it.wireName }

        /** The type with this name on the wire, otherwise [UNKNOWN]. */
        @JvmStatic
        public fun of(wireName: String): EventType = byWireName[wireName] ?: UNKNOWN
    }
}
