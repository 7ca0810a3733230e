package com.flagent.realtime

/**
 * A handler of events.
 *
 * @param filter `null` = every event that arrives.
 */
internal class EventSubscription(private val filter: Selection?, private val handler: suspend (FlagentEvent) -> Unit) :
    Registration(filter?.let(ServerSelection::of)) {
    private val members = TagMembership(filter?.tags.orEmpty())

    override fun matches(event: FlagentEvent): Boolean {
        if (filter == null) return true
        val isTagged = members.matches(event)
        return !filter.narrows(event) && (
            filter.isEverything || isTagged || event.flagKey in filter.flags || event.flagID in filter.flagIDs ||
                (filter.segments && (event.type === EventType.SEGMENT_UPDATED || event.type === EventType.DISTRIBUTION_UPDATED))
            )
    }

    override suspend fun onEvent(event: FlagentEvent) = handler(event)

    override fun onSnapshot(snapshot: Snapshot, lost: Boolean) = members.replace(snapshot.flags)

    override suspend fun onResync(event: FlagentEvent) = handler(event)
}
