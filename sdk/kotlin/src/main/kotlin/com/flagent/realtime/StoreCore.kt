package com.flagent.realtime

import java.math.BigInteger
import kotlin.time.Duration

/** What kind of difference a [FlagChange] is. */
public enum class ChangeKind { CREATED, UPDATED, DELETED }

/** A difference that one message made to a store. [before] is `null` for a created, [after] for a deleted flag. */
public data class FlagChange(
    val kind: ChangeKind,
    val key: String,
    val before: Flag?,
    val after: Flag?,
    /** Known only where several schemas are attached. */
    val schema: String? = null,
)

/** How far the flags of a [FlagStore] can be trusted. They stay readable in every status. */
public enum class StoreStatus {
    /** No snapshot yet. */
    INITIALIZING,

    /** Equal to the server as far as both can prove. */
    READY,

    /** The connection, the server's freshness or the self-check failed; the flags may be old. */
    STALE,

    /** The client gave up; nothing will change any more. */
    ERROR,

    /** The store or its client was closed. */
    CLOSED,
}

/**
 * The state machine of a store: messages and signals in, changes and status out. Pure: times come from the caller.
 *
 * Feed it every message of a client in order; it drops what it has already seen. When [Step.requestsSnapshot] is true
 * the caller must see to it that a snapshot, taken from now on, is passed in: by asking for one, or by a connection that
 * does not resume. Not synchronized.
 */
internal class Replica(private val filter: EventFilter = EventFilter.EVERYTHING) {
    class Step(val changes: List<FlagChange>, val requestsSnapshot: Boolean = false)

    private data class Name(val schema: String, val key: String)

    private data class Identity(val schema: String, val id: Int, val keyWithoutId: String?)

    private class Entry(val identity: Identity, val flag: Flag, val text: String, val crc: Long, val rank: Long)

    private val byIdentity = HashMap<Identity, Entry>()
    private val byName = LinkedHashMap<Name, Entry>()
    private val sum = Digest()
    private var nextRank = 0L
    private var touched = LinkedHashMap<Name, Entry?>()

    private val cursor = Cursor()
    private val pending = mutableListOf<FlagEvent>()
    private var hasState = false
    private var awaiting = true
    private var severalSchemas = false
    private var onlySchema: String? = null

    private var live = false
    private var fresh = true
    private var silent = false
    private var behind = false
    private var head: BigInteger? = null
    private var closed = false
    private var failed = false

    private val heartbeats = Heartbeats()
    private var lastAt = Duration.ZERO

    private var digestDiffers = false
    private var healings = 0
    private var heartbeatsToSkip = 0

    /** True while a snapshot is needed. */
    val isAwaiting: Boolean get() = awaiting

    val cursorId: String? get() = cursor.id
    val digest: String get() = sum.toString()
    val size: Int get() = byIdentity.size

    val status: StoreStatus
        get() = when {
            closed -> StoreStatus.CLOSED
            failed -> StoreStatus.ERROR
            !hasState -> StoreStatus.INITIALIZING
            live && fresh && !silent && !behind && !awaiting && !digestDiffers -> StoreStatus.READY
            else -> StoreStatus.STALE
        }

    fun flags(): List<Flag> = byName.values.map { it.flag }

    /** The flags of that key, one per schema that has it. */
    fun find(key: String, schema: String?): List<Flag> = when {
        schema != null && severalSchemas -> listOfNotNull(byName[Name(schema, key)]?.flag)
        schema != null && onlySchema != null && schema != onlySchema -> emptyList()
        !severalSchemas -> listOfNotNull(byName[Name("", key)]?.flag)
        else -> byName.values.filter { it.flag.key == key }.map { it.flag }
    }

    fun onMessage(at: Duration, message: Message): Step {
        if (closed || failed) return Step(emptyList())
        lastAt = at
        var requests = false
        touched = LinkedHashMap()
        when (message) {
            is Message.Connected -> onConnected(message)
            is Message.Events -> message.events.forEach { requests = onEvent(it) || requests }
            is Message.SnapshotTaken -> onSnapshot(message.snapshot)
            is Message.Resync -> onResync(message.snapshot)
            is Message.Heartbeat -> requests = onHeartbeat(at, message)
            is Message.Mark -> {
                cursor.advance(message.id)
                checkHead()
            }
            is Message.Retry, is Message.Evaluated, is Message.Problem, is Message.Malformed, Message.Ignored -> Unit
        }
        return Step(differences(), requests)
    }

    /** Time passed. */
    fun onTick(at: Duration) {
        if (live && at - lastAt > heartbeats.patience) silent = true
    }

    fun onLost() {
        live = false
    }

    fun onFailed() {
        failed = true
    }

    fun onClosed() {
        closed = true
    }

    private fun onConnected(message: Message.Connected) {
        if (message.isRepeat && live) return
        live = true
        silent = false
        fresh = message.fresh ?: true
        heartbeats.onConnected(message.heartbeat)
        if (message.resumed && !awaiting) {
            head = message.position?.toBigIntegerOrNull()
            behind = true
            checkHead()
        } else {
            awaiting = true
            behind = false
        }
    }

    private fun onHeartbeat(at: Duration, message: Message.Heartbeat): Boolean {
        silent = false
        heartbeats.onHeartbeat(at)
        message.fresh?.let { fresh = it }
        message.id?.let(cursor::advance)
        if (message.fresh == true) behind = false
        checkHead()
        return compareDigest(message)
    }

    private fun compareDigest(message: Message.Heartbeat): Boolean {
        val theirs = message.digest?.takeIf(Digest::isReadable) ?: return false
        if (awaiting || !filter.isEverything || filter.schemas.isNotEmpty()) return false
        val position = message.position?.toBigIntegerOrNull()
        if (position == null || cursor.position?.let { it > position } == true) return false
        if (theirs == digest) {
            digestDiffers = false
            healings = 0
            heartbeatsToSkip = 0
            return false
        }
        digestDiffers = true
        if (heartbeatsToSkip > 0) {
            heartbeatsToSkip--
            return false
        }
        healings++
        heartbeatsToSkip = if (healings > 6) 64 else 1 shl (healings - 1)
        return awaitSnapshot()
    }

    private fun awaitSnapshot(): Boolean {
        if (awaiting) return false
        awaiting = true
        return true
    }

    private fun onEvent(event: FlagEvent): Boolean {
        val id = event.id
        if (id != null && cursor.covers(id)) return false
        var requests = false
        if (id != null && hasState && cursor.isForeign(id)) {
            // Another log without a resync: what lies between is unknown.
            requests = awaitSnapshot()
            pending += event
            return requests
        }
        if (id != null) cursor.advance(id)
        if (event.concernsFlag && isOtherSchema(event)) {
            requests = awaitSnapshot()
            pending += event
        } else {
            if (awaiting) pending += event
            if (hasState) fold(event)
        }
        if (pending.size > MAX_PENDING) {
            // Memory before completeness: the digest finds and heals what this may lose.
            pending.clear()
            requests = true
        }
        checkHead()
        return requests
    }

    private val FlagEvent.concernsFlag get() = flag != null || type === EventType.FLAG_DELETED

    private fun isOtherSchema(event: FlagEvent): Boolean {
        val schema = event.schema ?: return false
        if (!hasState || severalSchemas) return false
        if (onlySchema == null) onlySchema = schema
        return schema != onlySchema
    }

    private fun fold(event: FlagEvent) {
        if (filter.schemas.isNotEmpty() && event.schema != null && event.schema !in filter.schemas) return
        val schema = if (severalSchemas) event.schema ?: event.flag?.schema.orEmpty() else ""
        val flag = event.flag?.let { if (severalSchemas) it.withSchema(schema) else it }
        when {
            flag != null && event.type !== EventType.FLAG_DELETED && filter.selects(flag) -> put(schema, flag)
            flag != null && event.type !== EventType.FLAG_DELETED ->
                byIdentity[identity(schema, flag)]?.let(::remove)
            event.type === EventType.FLAG_DELETED -> {
                val entry = byName[Name(schema, event.flagKey)]
                if (entry != null && (event.flagID == null || entry.flag.id == 0 || entry.flag.id == event.flagID)) remove(entry)
            }
        }
    }

    private fun onSnapshot(snapshot: Snapshot) {
        val id = snapshot.id
        val older = id != null && cursor.id?.let { EventId.compare(id, it) } == IdOrder.BEFORE
        if (!awaiting && older) return
        val after = pending.toList()
        replace(snapshot)
        if (id != null) cursor.replace(id)
        if (healings <= 1) digestDiffers = false
        for (event in after) {
            if (event.id != null && id != null) {
                if (cursor.covers(event.id) || cursor.isForeign(event.id)) continue
                cursor.replace(event.id)
            }
            if (!isOtherSchema(event)) fold(event)
        }
    }

    private fun onResync(snapshot: Snapshot) {
        replace(snapshot)
        cursor.replace(snapshot.id)
        digestDiffers = false
    }

    private fun replace(snapshot: Snapshot) {
        pending.clear()
        live = true
        awaiting = false
        hasState = true
        behind = false
        byName.forEach { (name, entry) -> touch(name, entry) }
        byName.values.forEach { sum.remove(it.crc) }
        byName.clear()
        byIdentity.clear()
        severalSchemas = snapshot.flags.any { it.schema != null }
        onlySchema = null
        snapshot.flags.filter(filter::selects).forEach { put(if (severalSchemas) it.schema.orEmpty() else "", it) }
    }

    private fun put(schema: String, flag: Flag) {
        val identity = identity(schema, flag)
        val name = Name(schema, flag.key)
        val old = byIdentity[identity]
        old?.let(::remove)
        byName[name]?.let(::remove)
        touch(name, null)
        val text = Canonical.of(flag.json)
        val entry = Entry(identity, flag, text, Canonical.crc(text), old?.rank ?: nextRank++)
        byIdentity[identity] = entry
        byName[name] = entry
        sum.add(entry.crc)
    }

    private fun remove(entry: Entry) {
        val name = Name(entry.identity.schema, entry.flag.key)
        touch(name, entry)
        byIdentity.remove(entry.identity)
        byName.remove(name)
        sum.remove(entry.crc)
    }

    /** Remembers what a name stood for before this step. */
    private fun touch(name: Name, entry: Entry?) {
        // Not putIfAbsent, for which a remembered null is no entry.
        if (name !in touched) touched[name] = entry
    }

    private fun identity(schema: String, flag: Flag) =
        Identity(schema, flag.id, if (flag.id == 0) flag.key else null)

    private fun checkHead() {
        val target = head ?: return
        if (cursor.position?.let { it >= target } == true) behind = false
    }

    private fun differences(): List<FlagChange> {
        val before = touched.entries.filter { it.value != null }.sortedBy { it.value?.rank }
        val created = touched.keys.filter { touched[it] == null }.mapNotNull { name -> byName[name]?.let { name to it } }
            .sortedBy { (_, entry) -> entry.rank }
        return buildList {
            for ((name, old) in before) {
                val new = byName[name]
                if (new == null) {
                    add(change(ChangeKind.DELETED, name, old?.flag, null))
                } else if (new.text != old?.text) {
                    add(change(ChangeKind.UPDATED, name, old?.flag, new.flag))
                }
            }
            for ((name, new) in created) add(change(ChangeKind.CREATED, name, null, new.flag))
        }
    }

    private fun change(kind: ChangeKind, name: Name, before: Flag?, after: Flag?) =
        FlagChange(kind, name.key, before, after, name.schema.takeIf { severalSchemas })

    private companion object {
        const val MAX_PENDING = 10_000
    }
}
