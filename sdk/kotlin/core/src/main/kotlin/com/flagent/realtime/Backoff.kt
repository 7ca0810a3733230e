package com.flagent.realtime

import kotlin.math.pow
import kotlin.time.Duration
import kotlin.time.Duration.Companion.hours

/** The longest `Retry-After` that a client waits for. */
internal val MAX_RETRY_AFTER: Duration = 1.hours

/**
 * The wait before attempt [attempt] (1 = the first reconnect), `null` = give up.
 *
 * @param random from 0 to 1.
 * @param feedsStore whether a store depends on the connection.
 */
internal fun ReconnectConfig.reconnectDelay(
    attempt: Int,
    random: Double,
    retry: Duration?,
    retryAfter: Duration?,
    feedsStore: Boolean = false,
): Duration? {
    if (endsBefore(attempt, feedsStore)) return null
    val factor = multiplier.pow(attempt - 1).coerceAtMost(1e12)
    val jitter = minOf(maxDelay, initialDelay * factor) * random
    return maxOf(
        jitter,
        minOf(retry ?: Duration.ZERO, maxDelay),
        if (retryAfter == null) Duration.ZERO else minOf(retryAfter, MAX_RETRY_AFTER) + jitter,
    )
}

/** Counts failed attempts. The count resets after a connection that has lasted `stableAfter`. Times are those of one monotonic clock. */
internal class Backoff(private val config: ReconnectConfig, private val random: () -> Double) {
    /** Failed attempts since the last stable connection. */
    var attempt = 0
        private set

    private var retry: Duration? = null
    private var firstMessageAt: Duration? = null

    fun onMessage(at: Duration) {
        if (firstMessageAt == null) firstMessageAt = at
    }

    fun onRetry(wait: Duration) {
        retry = wait
    }

    /** The connection or the attempt has ended; returns the wait before the next attempt, `null` = give up. */
    fun onLost(at: Duration, retryAfter: Duration?, feedsStore: Boolean = false): Duration? {
        if (firstMessageAt?.let { at - it >= config.stableAfter } == true) attempt = 0
        firstMessageAt = null
        attempt++
        return config.reconnectDelay(attempt, random(), retry, retryAfter, feedsStore)
    }
}
