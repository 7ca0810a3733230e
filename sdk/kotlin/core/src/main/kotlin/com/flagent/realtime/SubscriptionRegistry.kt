package com.flagent.realtime

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive

/**
 * The registered selections and handlers. Registering is safe from any thread; events are dispatched by one coroutine.
 *
 * @param limits what one connection can select.
 * @param report is called with exceptions of handlers.
 * @param isClosed is checked before every call of a handler.
 */
internal class SubscriptionRegistry(
    private val limits: SelectionLimits,
    private val report: (FlagentException) -> Unit,
    private val isClosed: () -> Boolean,
) {
    /** Signals that [selection] may have changed. */
    val changes = Channel<Unit>(Channel.CONFLATED)

    @Volatile
    private var registrations = emptyList<Registration>()
    private var hasEverSelected = false

    // Whether the selection is sent in parts, and therefore is wider for a moment.
    @Volatile
    private var isDivided = false

    /** Raises [IllegalArgumentException] if the connection cannot select this as well. */
    fun add(registration: Registration): Subscription {
        synchronized(this) {
            registration.selection?.let { added ->
                added.requireValues()
                limits.require(registrations.sumOf { it.selection?.count ?: 0 } + added.count) {
                    registrations.mapNotNull { it.selection } + added
                }
            }
            registrations = registrations + registration
            if (registration.selection != null) hasEverSelected = true
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

    /** The union of all selections. A client with handlers of `onEvent` alone selects everything. */
    fun selection(): ServerSelection = synchronized(this) {
        val selections = registrations.mapNotNull { it.selection }
        when {
            selections.isNotEmpty() -> ServerSelection.union(selections)
            registrations.isNotEmpty() && !hasEverSelected -> ServerSelection(all = true)
            else -> ServerSelection()
        }.also { isDivided = it.isDivided }
    }

    suspend fun onEvents(events: List<FlagentEvent>) {
        val current = registrations
        val selectsAll = current.any { it.selection?.all == true }
        for (event in events) {
            val chosen = current.filter { it.matches(event) }
            // The server sent the event, but no registration matches: the flag has just lost a tag that this client never saw.
            val isOrphan = !selectsAll && !isDivided && chosen.none { it.selection != null }
            for (registration in current) {
                if (registration in chosen || (isOrphan && registration.selection?.tags?.isNotEmpty() == true)) {
                    call(registration) { registration.onEvent(event) }
                }
            }
        }
        for (registration in current) call(registration) { registration.onMessageEnd() }
    }

    /** @param lost whether events may have been missed, so that handlers must also be called with flags they have not seen yet. */
    suspend fun onSnapshot(snapshot: Snapshot, lost: Boolean) {
        val event = FlagentEvent(EventType.RESYNC, snapshot.id, "", snapshot, null)
        for (registration in registrations) {
            registration.onSnapshot(snapshot, lost)
            if (lost) call(registration) { registration.onResync(event) }
            call(registration) { registration.onMessageEnd() }
        }
    }

    private suspend fun call(registration: Registration, handler: suspend () -> Unit) {
        if (isClosed() || !registration.isOpen) return
        callHandler(report, { registration.isOpen }, handler)
    }
}

/** Runs code of the application: exceptions are reported, only the cancellation of the caller itself passes through. */
internal suspend fun callHandler(report: (FlagentException) -> Unit, isOpen: () -> Boolean = { true }, handler: suspend () -> Unit) {
    try {
        handler()
    } catch (e: CancellationException) {
        currentCoroutineContext().ensureActive()
        if (isOpen()) report(HandlerFailedException(e))
    } catch (e: Throwable) {
        report(HandlerFailedException(e))
    }
}

/**
 * One entry of the registry.
 *
 * @property selection the part of the client's selection that this entry adds; `null` = none, it receives what the others select.
 */
internal abstract class Registration(val selection: ServerSelection?) {
    @Volatile
    var isOpen = true

    abstract fun matches(event: FlagentEvent): Boolean

    abstract suspend fun onEvent(event: FlagentEvent)

    /** Takes the present flags. Calls no handler. */
    open fun onSnapshot(snapshot: Snapshot, lost: Boolean) = Unit

    open suspend fun onResync(event: FlagentEvent) = Unit

    /** All events of one message have been passed in. */
    open suspend fun onMessageEnd() = Unit
}

/** The selection of a store. The store itself receives messages before any handler, as a [StoreDriver]. */
internal class StoreSubscription(selection: Selection) : Registration(ServerSelection.of(selection)) {
    override fun matches(event: FlagentEvent) = false

    override suspend fun onEvent(event: FlagentEvent) = Unit
}
