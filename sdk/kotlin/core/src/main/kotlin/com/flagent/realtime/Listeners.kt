package com.flagent.realtime

import java.util.concurrent.CopyOnWriteArrayList

/** The listeners of one kind of value. They are called one at a time, in the order in which they were registered. */
internal class Listeners<T>(private val report: (FlagentException) -> Unit) {
    private val registered = CopyOnWriteArrayList<suspend (T) -> Unit>()

    /** Those that are registered now. */
    val present: List<suspend (T) -> Unit> get() = registered.toList()

    fun add(listener: suspend (T) -> Unit): Subscription {
        registered += listener
        return object : Subscription {
            override fun close() {
                registered -= listener
            }
        }
    }

    fun clear() = registered.clear()

    /** Calls each of [called] that is still registered with every value, while [isOpen]. */
    suspend fun notify(values: List<T>, called: List<suspend (T) -> Unit> = present, isOpen: () -> Boolean = { true }) {
        for (value in values) {
            for (listener in called) {
                val isCalled = { listener in registered && isOpen() }
                if (isCalled()) callHandler(report, isCalled) { listener(value) }
            }
        }
    }
}
