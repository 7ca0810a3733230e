package com.flagent.realtime

import java.math.BigInteger
import kotlin.time.Duration

/** What one message changed in a [StoreCore], and whether the caller must request a snapshot. */
internal class StoreUpdate(val changes: List<FlagChange>, val requestsSnapshot: Boolean = false)

/**
 * The state machine of a store: messages and signals in, changes and status out. Pure: times come from the caller.
 *
 * Pass it every message of a client in order; it drops duplicates. When [StoreUpdate.requestsSnapshot] is true the caller must
 * pass in a snapshot taken from now on: by requesting one, or by a connection that does not resume. Not synchronized.
 */
internal class StoreCore(private val selection: Selection = Selection.EVERYTHING) {
    private val flags = FlagTable()
    private val cursor = Cursor()
    private val liveness = Liveness()
    private val digestCheck = DigestCheck()

    private val pendingEvents = mutableListOf<FlagentEvent>()
    private var hasState = false
    private var onlySchema: String? = null

    private var isConnected = false
    private var isFresh = true
    private var isSilent = false
    private var isBehind = false
    private var head: BigInteger? = null
    private var headID: String? = null
    private var isClosed = false
    private var hasFailed = false
    private var lastAt = Duration.ZERO

    /** True while a snapshot is needed. */
    var awaitsSnapshot = true
        private set

    /** What the flags come from; `null` before there are any. */
    var source: FlagSource? = null
        private set

    val lastEventId: String? get() = cursor.id

    /** The position up to which the flags are complete, in digits. */
    val position: String? get() = cursor.position?.toString()
    val digest: String get() = flags.digest
    val size: Int get() = flags.size

    val status: StoreStatus
        get() = when {
            isClosed -> StoreStatus.CLOSED
            hasFailed -> StoreStatus.ERROR
            !hasState -> StoreStatus.INITIALIZING
            isConnected && isFresh && !isSilent && !isBehind && !awaitsSnapshot && !digestCheck.differs -> StoreStatus.READY
            else -> StoreStatus.STALE
        }

    fun flags(): List<Flag> = flags.flags()

    /** The flags with that key, one per schema that has it. */
    fun find(key: String, schema: String?): List<Flag> = when {
        schema != null && flags.hasSeveralSchemas -> listOfNotNull(flags[schema, key])
        schema != null && onlySchema != null && schema != onlySchema -> emptyList()
        !flags.hasSeveralSchemas -> listOfNotNull(flags["", key])
        else -> flags.flags().filter { it.key == key }
    }

    /** The schema to look up in when the caller names [schema]; `null` if that one has no flags here. */
    fun lookUpSchema(schema: String?): String? = when {
        !flags.hasSeveralSchemas -> if (schema == null || onlySchema == null || schema == onlySchema) "" else null
        else -> schema ?: ""
    }

    val hasSeveralSchemas: Boolean get() = flags.hasSeveralSchemas

    /** The flag with that key, prepared for evaluation. With several schemas and none named, raises [AmbiguousFlagException]. */
    fun compiled(key: String, schema: String?): CompiledFlag? {
        if (schema == null && flags.hasSeveralSchemas) {
            val schemas = flags.schemasOf(key)
            if (schemas.size > 1) throw AmbiguousFlagException(key, schemas)
            return schemas.firstOrNull()?.let { flags.compiled(it, key) }
        }
        return lookUpSchema(schema)?.let { flags.compiled(it, key) }
    }

    /** The enabled flag whose id, or else whose key, is [name]: as Flagent looks a flag up. */
    fun enabled(name: String, schema: String?): CompiledFlag? {
        val id = if (isId(name)) name.toIntOrNull() else null
        val byId = if (id == null || (schema == null && flags.hasSeveralSchemas)) null else lookUpSchema(schema)?.let { flags.compiled(it, id) }
        return byId?.takeIf { it.flag.enabled } ?: compiled(name, schema)?.takeIf { it.flag.enabled }
    }

    // "07" and "+7" are keys.
    private fun isId(name: String): Boolean {
        val digits = name.removePrefix("-")
        return name == "0" || (digits.isNotEmpty() && digits[0] in '1'..'9' && digits.all { it in '0'..'9' })
    }

    fun receive(at: Duration, message: Message): StoreUpdate {
        if (isClosed || hasFailed) return StoreUpdate(emptyList())
        lastAt = at
        var requestsSnapshot = false
        flags.startStep()
        when (message) {
            is Message.Connected -> onConnected(message)
            is Message.Events -> message.events.forEach { requestsSnapshot = onEvent(it) || requestsSnapshot }
            is Message.SnapshotMessage -> onSnapshot(message.snapshot)
            is Message.Resync -> onResync(message.snapshot)
            is Message.Heartbeat -> requestsSnapshot = onHeartbeat(at, message)
            is Message.IdUpdate -> {
                cursor.advance(message.id)
                checkHead()
            }
            is Message.Retry, is Message.Response, is Message.ErrorMessage, is Message.TableRows, is Message.RowsEnd,
            is Message.BackfillFailed, is Message.Malformed, Message.Ignored -> Unit
        }
        if (status == StoreStatus.READY) source = FlagSource.SERVER
        return StoreUpdate(flags.changes(), requestsSnapshot)
    }

    /** Begins with flags of a former run or of the application, before any message. */
    fun begin(from: FlagSource, saved: SavedFlags) {
        source = from
        hasState = true
        awaitsSnapshot = saved.eventID == null
        cursor.replace(saved.eventID)
        flags.startStep()
        flags.replace(saved.flags.filter(selection::selectsFlag), saved.flags.any { it.schema != null })
    }

    /**
     * Whether the flags are complete up to an id or a position. `null` if that cannot be said: they are of another log. Raises
     * [IllegalArgumentException] if [target] cannot be read.
     */
    fun hasReached(target: String): Boolean? {
        val wanted = target.toBigIntegerOrNull()
        require(wanted == null && EventId.parse(target) != null || wanted != null && wanted.signum() >= 0) {
            "'${target.take(60)}' is neither an event id nor a position."
        }
        val id = cursor.id
        if (!hasState || id == null) return false
        if (wanted == null) return cursor.covers(target) || (if (cursor.isForeign(target)) return null else false)
        val reached = cursor.position ?: return false
        // An id with an index is one event of the commit: others may follow.
        return reached > wanted || (reached == wanted && EventId.parse(id)?.isWholeCommit == true)
    }

    /** Time passed. */
    fun tick(at: Duration) {
        if (isConnected && at - lastAt > liveness.silenceLimit) isSilent = true
    }

    fun connectionLost() {
        isConnected = false
    }

    fun clientFailed() {
        hasFailed = true
    }

    fun close() {
        isClosed = true
    }

    private fun onConnected(message: Message.Connected) {
        if (message.isRepeat && isConnected) return
        isConnected = true
        isSilent = false
        isFresh = message.fresh ?: true
        liveness.onConnected(message.heartbeat)
        if (message.resumed && !awaitsSnapshot) {
            head = message.position?.toBigIntegerOrNull()
            headID = message.id
            isBehind = true
            checkHead()
        } else {
            awaitsSnapshot = true
            isBehind = false
        }
    }

    private fun onHeartbeat(at: Duration, message: Message.Heartbeat): Boolean {
        isSilent = false
        liveness.onHeartbeat(at)
        message.fresh?.let { isFresh = it }
        message.id?.let(cursor::advance)
        if (message.fresh == true) isBehind = false
        checkHead()
        return compareDigest(message) && requestSnapshot()
    }

    private fun compareDigest(message: Message.Heartbeat): Boolean {
        val theirs = message.digest?.takeIf(Digest::isReadable) ?: return false
        if (awaitsSnapshot || !selection.isEverything || selection.schemas.isNotEmpty()) return false
        val position = message.position?.toBigIntegerOrNull()
        if (position == null || cursor.position?.let { it > position } == true) return false
        return digestCheck.compare(theirs, digest)
    }

    /** False if a snapshot is already awaited. */
    private fun requestSnapshot(): Boolean {
        if (awaitsSnapshot) return false
        awaitsSnapshot = true
        return true
    }

    private fun onEvent(event: FlagentEvent): Boolean {
        val id = event.id
        if (id != null && cursor.covers(id)) return false
        var requestsSnapshot = false
        if (id != null && hasState && cursor.isForeign(id)) {
            // Another log without a resync: the events between the two are unknown.
            requestsSnapshot = requestSnapshot()
            pendingEvents += event
            return requestsSnapshot
        }
        if (id != null) cursor.advance(id)
        if (event.concernsFlag && isOtherSchema(event)) {
            requestsSnapshot = requestSnapshot()
            pendingEvents += event
        } else {
            if (awaitsSnapshot) pendingEvents += event
            if (hasState) apply(event)
        }
        if (pendingEvents.size > MAX_PENDING_EVENTS) {
            // Bounded memory takes precedence: the digest detects what this loses, and a snapshot repairs it.
            pendingEvents.clear()
            requestsSnapshot = true
        }
        checkHead()
        return requestsSnapshot
    }

    private val FlagentEvent.concernsFlag get() = flag != null || type === EventType.FLAG_DELETED

    private fun isOtherSchema(event: FlagentEvent): Boolean {
        val schema = event.schema ?: return false
        if (!hasState || flags.hasSeveralSchemas) return false
        if (onlySchema == null) onlySchema = schema
        return schema != onlySchema
    }

    private fun apply(event: FlagentEvent) {
        if (selection.schemas.isNotEmpty() && event.schema != null && event.schema !in selection.schemas) return
        val schema = if (flags.hasSeveralSchemas) event.schema ?: event.flag?.schema.orEmpty() else ""
        val flag = event.flag?.let { if (flags.hasSeveralSchemas) it.withSchema(schema) else it }
        when {
            event.type === EventType.FLAG_DELETED -> {
                val former = flags[schema, event.flagKey]
                if (former != null && (event.flagID == null || former.id == 0 || former.id == event.flagID)) flags.remove(schema, former)
            }
            flag != null && selection.selectsFlag(flag) -> flags.put(schema, flag)
            flag != null -> flags.remove(schema, flag)
        }
    }

    private fun onSnapshot(snapshot: Snapshot) {
        val id = snapshot.id
        val isOlder = id != null && cursor.id?.let { EventId.compare(id, it) } == IdOrder.BEFORE
        if (!awaitsSnapshot && isOlder) return
        val events = pendingEvents.toList()
        replace(snapshot)
        if (id != null) cursor.replace(id)
        digestCheck.onSnapshot()
        for (event in events) {
            if (event.id != null && id != null) {
                if (cursor.covers(event.id) || cursor.isForeign(event.id)) continue
                cursor.replace(event.id)
            }
            if (!isOtherSchema(event)) apply(event)
        }
    }

    private fun onResync(snapshot: Snapshot) {
        replace(snapshot)
        cursor.replace(snapshot.id)
        digestCheck.onResync()
    }

    private fun replace(snapshot: Snapshot) {
        pendingEvents.clear()
        source = FlagSource.SERVER
        isConnected = true
        awaitsSnapshot = false
        hasState = true
        isBehind = false
        onlySchema = null
        flags.replace(snapshot.flags.filter(selection::selectsFlag), snapshot.flags.any { it.schema != null })
    }

    private fun checkHead() {
        val target = head ?: return
        // Positions of another log say nothing: a resync follows.
        if (headID?.let(cursor::isForeign) == true) return
        if (cursor.position?.let { it >= target } == true) isBehind = false
    }

    private companion object {
        const val MAX_PENDING_EVENTS = 10_000
    }
}
