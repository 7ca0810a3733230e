package com.flagent.realtime

/** The flags that carry certain tags, remembered so that the event that takes a tag away still matches. */
internal class TagMembership(private val tags: Set<String>) {
    private val members = HashSet<Pair<String?, String>>()

    /** Whether the flag of an event carries one of the tags, or did before. */
    fun matches(event: FlagentEvent): Boolean {
        if (tags.isEmpty()) return false
        val name = event.schema to event.flagKey
        val had = name in members || (null to event.flagKey) in members
        val has = event.flag?.tags?.any { it.value in tags } == true
        if (has) {
            members += name
        } else if (event.flag != null || event.type === EventType.FLAG_DELETED) {
            members -= name
            members -= null to event.flagKey
        }
        return had || has
    }

    fun replace(flags: List<Flag>) {
        members.clear()
        for (flag in flags) if (flag.tags.any { it.value in tags }) members += flag.schema to flag.key
    }
}
