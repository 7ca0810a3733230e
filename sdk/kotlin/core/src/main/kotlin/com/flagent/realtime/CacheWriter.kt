package com.flagent.realtime

import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import kotlinx.coroutines.withTimeoutOrNull
import kotlin.time.Duration
import kotlin.time.Duration.Companion.minutes
import kotlin.time.Duration.Companion.seconds
import kotlin.time.TimeSource

/**
 * Saves the state of a store, on threads that nothing waits for: at most once a second, an id that moved alone at most once a minute, and
 * at the end.
 *
 * @param document the state as text; `null` = nothing to save yet.
 */
internal class CacheWriter(
    private val persistence: Persistence,
    private val key: String,
    private val document: () -> String?,
    private val report: (FlagentException) -> Unit,
    private val time: TimeSource,
) {
    private enum class Dirty { NOTHING, ID, FLAGS }

    private val signals = Channel<Unit>(Channel.CONFLATED)

    @Volatile
    private var dirty = Dirty.NOTHING
    private var reported: String? = null

    /** The store has changed: its flags, or its id alone. Never blocks. */
    fun changed(hasFlags: Boolean) {
        dirty = if (hasFlags || dirty == Dirty.FLAGS) Dirty.FLAGS else Dirty.ID
        signals.trySend(Unit)
    }

    /** Saves until it is cancelled, and then once more what is left. */
    fun start(scope: CoroutineScope): Job = scope.launch(Dispatchers.IO) {
        try {
            var lastWrite: Duration? = null
            val start = time.markNow()
            while (true) {
                signals.receive()
                val since = lastWrite
                if (dirty == Dirty.ID && since != null) {
                    withTimeoutOrNull(since + ID_ALONE - start.elapsedNow()) { while (dirty != Dirty.FLAGS) signals.receive() }
                }
                write()
                lastWrite = start.elapsedNow()
                delay(PACE)
            }
        } finally {
            withContext(NonCancellable) { write() }
        }
    }

    /** Saves what has changed since the last time. Called by one thread at a time. */
    @Synchronized
    fun write() {
        if (dirty == Dirty.NOTHING) return
        val before = dirty
        dirty = Dirty.NOTHING
        try {
            val text = document() ?: return
            persistence.save(key, text)
            reported = null
        } catch (e: Exception) {
            // The next change tries again.
            dirty = maxOf(before, dirty)
            val message = "The flags cannot be saved: ${e.message ?: e}"
            if (message != reported) report(PersistenceFailedException(message, e))
            reported = message
        }
    }

    private companion object {
        val PACE = 1.seconds
        val ID_ALONE = 1.minutes
    }
}
