package com.flagent.realtime

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive

/** A handler's place at a client. [close] ends it. */
public interface Subscription : AutoCloseable {
    override fun close()
}

/**
 * Who wants to hear what. Registering is safe from any thread; dispatching is done by one coroutine.
 *
 * @param report is told of handlers that raised.
 * @param isClosed is asked before every call of a handler.
 */
internal class Subscriptions(private val report: (FlagentException) -> Unit, private val isClosed: () -> Boolean) {
    /** Signals that [selection] may have changed. */
    val changes = Channel<Unit>(Channel.CONFLATED)

    @Volatile
    private var registrations = emptyList<Registration>()
    private var everSelected = false

    fun add(registration: Registration): Subscription {
        synchronized(this) {
            registrations = registrations + registration
            if (registration.selection != null) everSelected = true
        }
        changes.trySend(Unit)
        return object : Subscription {
            override fun close() = remove { it === registration }
        }
    }

    fun remove(which: (Registration) -> Boolean) {
        synchronized(this) {
            registrations.filter(which).forEach { it.isOpen = false }
            registrations = registrations.filterNot(which)
        }
        changes.trySend(Unit)
    }

    /** The union of what is registered. A client with nothing but event listeners hears everything. */
    fun selection(): Selection = synchronized(this) {
        val selections = registrations.mapNotNull { it.selection }
        when {
            selections.isNotEmpty() -> selections.reduce(Selection::plus)
            registrations.isNotEmpty() && !everSelected -> Selection(all = true)
            else -> Selection()
        }
    }

    suspend fun onEvents(events: List<FlagEvent>) {
        val current = registrations
        val selectsAll = current.any { it.selection?.all == true }
        for (event in events) {
            val chosen = current.filter { it.wants(event) }
            // Sent to us and chosen by nobody: the flag has just lost its tag, and this client never saw it with the tag.
            val left = !selectsAll && chosen.none { it.selection != null }
            for (registration in current) {
                if (registration in chosen || (left && registration.selection?.tags?.isNotEmpty() == true)) {
                    call(registration) { registration.onEvent(event) }
                }
            }
        }
        for (registration in current) call(registration) { registration.onMessageEnd() }
    }

    /** @param lost whether events may have been missed, so that handlers must hear of flags they have not seen yet. */
    suspend fun onSnapshot(snapshot: Snapshot, lost: Boolean) {
        val event = FlagEvent(EventType.RESYNC, snapshot.id, "", snapshot, null)
        for (registration in registrations) {
            registration.onSnapshot(snapshot, lost)
            if (lost) call(registration) { registration.onResync(event) }
            call(registration) { registration.onMessageEnd() }
        }
    }

    private suspend fun call(registration: Registration, handler: suspend () -> Unit) {
        if (isClosed() || !registration.isOpen) return
        guard(report, { registration.isOpen }, handler)
    }
}

/** Runs foreign code: what it raises is reported, only the caller's own cancellation passes through. */
internal suspend fun guard(report: (FlagentException) -> Unit, isOpen: () -> Boolean = { true }, handler: suspend () -> Unit) {
    try {
        handler()
    } catch (e: CancellationException) {
        currentCoroutineContext().ensureActive()
        if (isOpen()) report(HandlerException(e))
    } catch (e: Throwable) {
        report(HandlerException(e))
    }
}

/** @property selection what the server is asked for; `null` = whatever others ask for. */
internal abstract class Registration(val selection: Selection?) {
    @Volatile
    var isOpen = true

    abstract fun wants(event: FlagEvent): Boolean

    abstract suspend fun onEvent(event: FlagEvent)

    /** Learns what flags there are. Calls no handler. */
    open fun onSnapshot(snapshot: Snapshot, lost: Boolean) = Unit

    open suspend fun onResync(event: FlagEvent) = Unit

    /** Everything of one message was passed in. */
    open suspend fun onMessageEnd() = Unit
}

/** Which flags a filter's tags select, remembered so that a flag is still chosen by the event that takes its tag away. */
private class TagMembers(private val tags: Set<String>) {
    private val members = HashSet<Pair<String?, String>>()

    fun choose(event: FlagEvent): Boolean {
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

/** @param filter `null` = every event that arrives. */
internal class EventRegistration(private val filter: EventFilter?, private val handler: suspend (FlagEvent) -> Unit) :
    Registration(filter?.let(Selection::of)) {
    private val members = TagMembers(filter?.tags.orEmpty())

    override fun wants(event: FlagEvent): Boolean {
        if (filter == null) return true
        val tagged = members.choose(event)
        return !filter.narrows(event) && (
            filter.isEverything || tagged || event.flagKey in filter.flags || event.flagID in filter.flagIDs ||
                (filter.segments && (event.type === EventType.SEGMENT_UPDATED || event.type === EventType.DISTRIBUTION_UPDATED))
            )
    }

    override suspend fun onEvent(event: FlagEvent) = handler(event)

    override fun onSnapshot(snapshot: Snapshot, lost: Boolean) = members.replace(snapshot.flags)

    override suspend fun onResync(event: FlagEvent) = handler(event)
}

/** Handlers of flags: by key, called with each flag, or by tag, called with the flags of one message. */
internal class FlagRegistration(val filter: EventFilter, private val handler: suspend (List<Flag>) -> Unit) :
    Registration(Selection.of(filter)) {
    private val members = TagMembers(filter.tags)
    private val seen = HashMap<Pair<String?, String>, String>()
    private val due = LinkedHashMap<Pair<String?, String>, Flag>()

    override fun wants(event: FlagEvent): Boolean = members.choose(event) || event.flagKey in filter.flags

    override suspend fun onEvent(event: FlagEvent) {
        val flag = event.flag
        if (flag == null || event.type === EventType.FLAG_DELETED) {
            seen.remove(flag?.schema to event.flagKey)
            return
        }
        due[event.schema to flag.key] = flag
        // Handlers of one flag hear of each event, handlers of tags of each message.
        if (filter.tags.isEmpty()) onMessageEnd()
    }

    override fun onSnapshot(snapshot: Snapshot, lost: Boolean) {
        members.replace(snapshot.flags)
        val before = HashMap(seen)
        seen.clear()
        for (flag in snapshot.flags.filter(filter::selects)) {
            val name = flag.schema to flag.key
            val text = Canonical.of(flag.json)
            val old = before[name]
            if (old != text && (lost || old != null)) due[name] = flag
            seen[name] = text
        }
    }

    override suspend fun onMessageEnd() {
        if (due.isEmpty()) return
        val flags = due.values.toList()
        due.clear()
        for (flag in flags) seen[flag.schema to flag.key] = Canonical.of(flag.json)
        handler(flags)
    }
}
