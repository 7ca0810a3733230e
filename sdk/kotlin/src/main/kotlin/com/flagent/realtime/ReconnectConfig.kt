package com.flagent.realtime

import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds

/**
 * How a client reconnects.
 *
 * The wait before attempt n is random between 0 and min([maxDelay], [initialDelay] × [multiplier]^(n−1)), but at least what the
 * server asks for by `retry:` or `Retry-After`. The attempt count resets once a connection has lasted [stableAfter] after its
 * first message.
 *
 * @property maxAttempts failed attempts in a row before the client gives up; 0 = never.
 */
public data class ReconnectConfig(
    val maxAttempts: Int = 10,
    val initialDelay: Duration = 1.seconds,
    val maxDelay: Duration = 60.seconds,
    val multiplier: Double = 2.0,
    val stableAfter: Duration = 5.seconds,
) {
    init {
        require(maxAttempts >= 0) { "maxAttempts is $maxAttempts; it must be 0 (never give up) or more." }
        require(!initialDelay.isNegative()) { "initialDelay is $initialDelay; it must not be negative." }
        require(!maxDelay.isNegative() && maxDelay.isFinite()) { "maxDelay is $maxDelay; it must be finite and not negative." }
        require(multiplier >= 1.0 && multiplier.isFinite()) { "multiplier is $multiplier; it must be finite and at least 1." }
        require(!stableAfter.isNegative()) { "stableAfter is $stableAfter; it must not be negative." }
    }
}

/** The singular of `seconds`: `initialDelay = 1.second`. */
public val Int.second: Duration get() = seconds
