package com.flagent.realtime

/**
 * What a subscription or a store selects: the union of [flags], [flagIDs], [tags] and [segments] (all changes of segments and
 * distributions); if all are empty, everything. [types] and [schemas] narrow the result unless they are empty.
 */
public data class Selection(
    val flags: Set<String> = emptySet(),
    val flagIDs: Set<Int> = emptySet(),
    val tags: Set<String> = emptySet(),
    val segments: Boolean = false,
    val types: Set<EventType> = emptySet(),
    val schemas: Set<String> = emptySet(),
) {
    /** True if every flag is selected. */
    public val isEverything: Boolean
        get() = flags.isEmpty() && flagIDs.isEmpty() && tags.isEmpty() && !segments

    /** True if a snapshot of this selection holds the flag. */
    internal fun selectsFlag(flag: Flag): Boolean =
        (isEverything || flag.key in flags || flag.id in flagIDs || flag.tags.any { it.value in tags }) &&
            (schemas.isEmpty() || flag.schema == null || flag.schema in schemas)

    /** True if [types] or [schemas] exclude the event. */
    internal fun narrows(event: FlagentEvent): Boolean =
        (types.isNotEmpty() && event.type !in types) ||
            (schemas.isNotEmpty() && event.schema != null && event.schema !in schemas)

    public companion object {
        public val EVERYTHING: Selection = Selection()
    }
}
