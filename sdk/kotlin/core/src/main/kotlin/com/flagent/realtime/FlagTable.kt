package com.flagent.realtime

/** What identifies a flag: its schema and id; a flag without an id is identified by its key. */
internal data class FlagIdentity(val schema: String, val id: Int, val keyWithoutId: String?) {
    companion object {
        fun of(schema: String, flag: Flag) = FlagIdentity(schema, flag.id, if (flag.id == 0) flag.key else null)
    }
}

/**
 * Flags by identity and by key, with their digest, and the changes since [startStep] was last called.
 *
 * If the server watches several schemas, keys and ids are unique within a schema. With one schema its name is empty here. Not
 * synchronized.
 */
internal class FlagTable {
    private data class Name(val schema: String, val key: String)

    private class FlagEntry(val identity: FlagIdentity, val flag: Flag, val crc: Long, val rank: Long) {
        /** Prepared at the first evaluation. */
        val compiled by lazy(LazyThreadSafetyMode.PUBLICATION) { CompiledFlag(flag) }

        // The canonical texts decide, but are not kept: they would double the memory.
        fun isSame(other: FlagEntry): Boolean =
            crc == other.crc && (flag.rawText == other.flag.rawText || Canonical.canonicalFlag(flag.raw) == Canonical.canonicalFlag(other.flag.raw))
    }

    private val byIdentity = HashMap<FlagIdentity, FlagEntry>()
    private val byName = LinkedHashMap<Name, FlagEntry>()
    private val sum = Digest()
    private var nextRank = 0L
    private var touched = LinkedHashMap<Name, FlagEntry?>()

    var hasSeveralSchemas = false
        private set

    val digest: String get() = sum.toString()
    val size: Int get() = byIdentity.size

    fun flags(): List<Flag> = byName.values.map { it.flag }

    operator fun get(schema: String, key: String): Flag? = byName[Name(schema, key)]?.flag

    /** The flag with that key, prepared for evaluation. */
    fun compiled(schema: String, key: String): CompiledFlag? = byName[Name(schema, key)]?.compiled

    fun compiled(schema: String, id: Int): CompiledFlag? = byIdentity[FlagIdentity(schema, id, null)]?.compiled

    /** The schemas that have a flag of that key. */
    fun schemasOf(key: String): List<String> = byName.keys.filter { it.key == key }.map { it.schema }

    /** Starts a step; [changes] returns its changes. */
    fun startStep() {
        touched = LinkedHashMap()
    }

    /** Replaces all flags. */
    fun replace(flags: List<Flag>, severalSchemas: Boolean) {
        byName.forEach { (name, entry) -> touch(name, entry) }
        byName.values.forEach { sum.remove(it.crc) }
        byName.clear()
        byIdentity.clear()
        hasSeveralSchemas = severalSchemas
        flags.forEach { put(if (hasSeveralSchemas) it.schema.orEmpty() else "", it) }
    }

    /** Stores a flag under its present key; a flag that had the key before is removed. */
    fun put(schema: String, flag: Flag) {
        val identity = FlagIdentity.of(schema, flag)
        val name = Name(schema, flag.key)
        val old = byIdentity[identity]
        old?.let(::remove)
        byName[name]?.let(::remove)
        touch(name, null)
        val entry = FlagEntry(identity, flag, Canonical.crc(Canonical.canonicalFlag(flag.raw)), old?.rank ?: nextRank++)
        flag.compact()
        byIdentity[identity] = entry
        byName[name] = entry
        sum.add(entry.crc)
    }

    /** Removes the flag with the identity of [flag]. */
    fun remove(schema: String, flag: Flag) {
        byIdentity[FlagIdentity.of(schema, flag)]?.let(::remove)
    }

    private fun remove(entry: FlagEntry) {
        val name = Name(entry.identity.schema, entry.flag.key)
        touch(name, entry)
        byIdentity.remove(entry.identity)
        byName.remove(name)
        sum.remove(entry.crc)
    }

    /** Remembers the flag under a name as it was before this step. */
    private fun touch(name: Name, entry: FlagEntry?) {
        // Not putIfAbsent, which treats a remembered null as absent.
        if (name !in touched) touched[name] = entry
    }

    /** The changes of this step, by canonical text: in the order of the old state, then of the new. */
    fun changes(): List<FlagChange> {
        val before = touched.entries.filter { it.value != null }.sortedBy { it.value?.rank }
        val created = touched.keys.filter { touched[it] == null }.mapNotNull { name -> byName[name]?.let { name to it } }
            .sortedBy { (_, entry) -> entry.rank }
        return buildList {
            for ((name, old) in before) {
                if (old == null) continue
                val new = byName[name]
                if (new == null) {
                    add(change(ChangeKind.DELETED, name, old.flag, null))
                } else if (!new.isSame(old)) {
                    add(change(ChangeKind.UPDATED, name, old.flag, new.flag))
                }
            }
            for ((name, new) in created) add(change(ChangeKind.CREATED, name, null, new.flag))
        }
    }

    private fun change(kind: ChangeKind, name: Name, before: Flag?, after: Flag?) =
        FlagChange(kind, name.key, before, after, name.schema.takeIf { hasSeveralSchemas })
}
