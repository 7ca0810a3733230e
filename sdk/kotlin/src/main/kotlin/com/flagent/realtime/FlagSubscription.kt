package com.flagent.realtime

/** The flags as a handler last saw them, by canonical text. */
private class SeenFlags {
    private val texts = HashMap<Pair<String?, String>, String>()

    fun add(flag: Flag) {
        texts[flag.schema to flag.key] = Canonical.canonicalFlag(flag.raw)
    }

    fun remove(schema: String?, key: String) {
        texts.remove(schema to key)
    }

    /**
     * Replaces all flags; returns those that differ from what the handler saw.
     *
     * @param withNew whether flags that the handler has not seen count as different.
     */
    fun replace(flags: List<Flag>, withNew: Boolean): List<Flag> {
        val before = HashMap(texts)
        texts.clear()
        flags.forEach(::add)
        return flags.filter { flag ->
            val name = flag.schema to flag.key
            val old = before[name]
            old != texts[name] && (withNew || old != null)
        }
    }
}

/** A handler of flags: by key, called with each flag, or by tag, called with the flags of one message. */
internal class FlagSubscription(val filter: Selection, private val handler: suspend (List<Flag>) -> Unit) :
    Registration(ServerSelection.of(filter)) {
    private val members = TagMembership(filter.tags)
    private val seen = SeenFlags()
    private val due = LinkedHashMap<Pair<String?, String>, Flag>()

    override fun matches(event: FlagentEvent): Boolean = members.matches(event) || event.flagKey in filter.flags

    override suspend fun onEvent(event: FlagentEvent) {
        val flag = event.flag
        if (flag == null || event.type === EventType.FLAG_DELETED) {
            seen.remove(flag?.schema, event.flagKey)
            return
        }
        due[event.schema to flag.key] = flag
        // Handlers of one flag are called for each event, handlers of tags for each message.
        if (filter.tags.isEmpty()) onMessageEnd()
    }

    override fun onSnapshot(snapshot: Snapshot, lost: Boolean) {
        members.replace(snapshot.flags)
        for (flag in seen.replace(snapshot.flags.filter(filter::selectsFlag), withNew = lost)) due[flag.schema to flag.key] = flag
    }

    override suspend fun onMessageEnd() {
        if (due.isEmpty()) return
        val flags = due.values.toList()
        due.clear()
        flags.forEach(seen::add)
        handler(flags)
    }
}
