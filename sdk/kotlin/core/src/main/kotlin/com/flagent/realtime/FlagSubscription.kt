package com.flagent.realtime

/**
 * The flags as a handler last saw them, by canonical text, so that it is called once per difference.
 *
 * Events name their schema. Snapshots of a server with one schema do not; there, the events' schema applies.
 */
private class SeenFlags {
    private val texts = HashMap<Pair<String?, String>, String>()
    private var onlySchema: String? = null

    /** Whether the flag of an event differs from what the handler saw. */
    fun update(schema: String?, flag: Flag): Boolean {
        learn(schema)
        val text = Canonical.canonicalFlag(flag.raw)
        return texts.put(name(schema ?: flag.schema, flag.key), text) != text
    }

    fun remove(schema: String?, key: String) {
        learn(schema)
        texts.remove(name(schema, key))
    }

    /**
     * Replaces all flags; returns those that differ from what the handler saw.
     *
     * @param withNew whether flags that the handler has not seen count as different.
     */
    fun replace(flags: List<Flag>, withNew: Boolean): List<Flag> {
        val before = HashMap(texts)
        texts.clear()
        return flags.filter { flag ->
            val name = name(flag.schema, flag.key)
            val text = Canonical.canonicalFlag(flag.raw)
            texts[name] = text
            before[name] != text && (withNew || name in before)
        }
    }

    private fun learn(schema: String?) {
        if (onlySchema != null || schema == null) return
        onlySchema = schema
        val unnamed = texts.filterKeys { it.first == null }
        texts.keys.removeAll(unnamed.keys)
        unnamed.forEach { (name, text) -> texts[schema to name.second] = text }
    }

    private fun name(schema: String?, key: String) = (schema ?: onlySchema) to key
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
            seen.remove(event.schema, event.flagKey)
            return
        }
        if (!seen.update(event.schema, flag)) return
        due[event.schema to flag.key] = flag
        // Handlers of one flag are called for each difference, handlers of tags for each message.
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
        handler(flags)
    }
}
