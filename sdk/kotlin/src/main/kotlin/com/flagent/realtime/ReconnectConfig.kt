package com.flagent.realtime

import kotlin.math.pow
import kotlin.time.Duration
import kotlin.time.Duration.Companion.hours
import kotlin.time.Duration.Companion.seconds

/**
 * How a client comes back after it lost its connection.
 *
 * The wait before attempt n is drawn from 0 to min([maxDelay], [initialDelay] × [multiplier]^(n−1)), but is never below
 * what the server asked for by `retry:` or `Retry-After`. A connection counts as proven, and the count of attempts
 * starts anew, once it lived [stableAfter] past its first message.
 *
 * @property maxAttempts attempts in a row before the client gives up; 0 = without limit.
 */
public data class ReconnectConfig(
    val maxAttempts: Int = 10,
    val initialDelay: Duration = 1.seconds,
    val maxDelay: Duration = 60.seconds,
    val multiplier: Double = 2.0,
    val stableAfter: Duration = 5.seconds,
) {
    init {
        require(maxAttempts >= 0) { "maxAttempts must be 0 (without limit) or more, not $maxAttempts." }
        require(!initialDelay.isNegative()) { "initialDelay must not be negative, it is $initialDelay." }
        require(!maxDelay.isNegative() && maxDelay.isFinite()) { "maxDelay must be finite, not $maxDelay." }
        require(multiplier >= 1.0 && multiplier.isFinite()) { "multiplier must be 1 or more, not $multiplier." }
        require(!stableAfter.isNegative()) { "stableAfter must not be negative, it is $stableAfter." }
    }
}

/** One unit reads better without the plural: `initialDelay = 1.second`. */
public val Int.second: Duration get() = seconds

/**
 * The wait before attempt [attempt] (1 = the first reconnect), `null` = give up.
 *
 * @param random from 0 to 1.
 */
internal fun ReconnectConfig.delayBefore(attempt: Int, random: Double, retry: Duration?, retryAfter: Duration?): Duration? {
    if (maxAttempts in 1..<attempt) return null
    val factor = multiplier.pow(attempt - 1).coerceAtMost(1e12)
    val jitter = minOf(maxDelay, initialDelay * factor) * random
    return maxOf(
        jitter,
        minOf(retry ?: Duration.ZERO, maxDelay),
        if (retryAfter == null) Duration.ZERO else minOf(retryAfter, 1.hours) + jitter,
    )
}

/** Counts attempts over the life of a client. Times are those of one monotonic clock. */
internal class Backoff(private val config: ReconnectConfig, private val random: () -> Double) {
    /** Attempts since the last proven connection. */
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

    /** A connection was lost or could not be made. The next one may be tried after the answer, `null` = give up. */
    fun onLost(at: Duration, retryAfter: Duration?): Duration? {
        if (firstMessageAt?.let { at - it >= config.stableAfter } == true) attempt = 0
        firstMessageAt = null
        attempt++
        return config.delayBefore(attempt, random(), retry, retryAfter)
    }
}
