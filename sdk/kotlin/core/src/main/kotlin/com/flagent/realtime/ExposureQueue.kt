package com.flagent.realtime

import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.channels.BufferOverflow
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.launch
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.atomic.AtomicLong
import kotlin.coroutines.CoroutineContext

/** Delivers exposures to handlers, in order and behind the evaluation, which never waits. Safe from any thread. */
internal class ExposureQueue(private val report: (FlagentException) -> Unit) {
    /** @property count called at once, for what only counts. */
    private class Handler(val handle: suspend (Exposure) -> Unit, options: ExposureOptions, val count: ((Exposure) -> Unit)? = null) {
        val window = ExposureWindow(options)
    }

    private class Item(val handler: Handler, val exposure: Exposure)

    private val handlers = CopyOnWriteArrayList<Handler>()
    private val dropped = AtomicLong()
    private val queue = Channel<Item>(CAPACITY, BufferOverflow.DROP_OLDEST) { dropped.incrementAndGet() }
    private var isStarted = false

    /** Exposures that were dropped because handlers were slow. */
    val droppedCount: Long get() = dropped.get()

    val isUsed: Boolean get() = handlers.isNotEmpty()

    fun add(scope: CoroutineScope, context: CoroutineContext, options: ExposureOptions, handle: suspend (Exposure) -> Unit): Subscription {
        val handler = Handler(handle, options)
        handlers += handler
        synchronized(this) {
            if (!isStarted) {
                scope.launch(context) { for (item in queue) if (item.handler in handlers) callHandler(report) { item.handler.handle(item.exposure) } }
            }
            isStarted = true
        }
        return subscription(handler)
    }

    /** Calls [count] within the evaluation: it must be quick, and raise nothing. */
    fun count(count: (Exposure) -> Unit): Subscription = subscription(Handler({ }, ExposureOptions(), count).also { handlers += it })

    private fun subscription(handler: Handler) = object : Subscription {
        override fun close() {
            handlers -= handler
        }
    }

    /** An evaluation of a flag that the store holds. */
    fun offer(flag: Flag, result: EvaluationResult, position: String?, contextKeys: Set<String>, nowMs: Long) {
        val entityID = result.entityID.orEmpty()
        for (handler in handlers) {
            val isNew = synchronized(handler.window) { handler.window.add(nowMs, flag.schema, flag.key, entityID, result.variantKey) }
            if (!isNew) continue
            val exposure = Exposure(
                flag.key, flag.id, flag.schema, result.variantKey, entityID, result.segmentID, position?.toLongOrNull(),
                contextKeys.sorted(), nowMs,
            )
            handler.count?.invoke(exposure) ?: queue.trySend(Item(handler, exposure))
        }
    }

    private companion object {
        const val CAPACITY = 10_000
    }
}
