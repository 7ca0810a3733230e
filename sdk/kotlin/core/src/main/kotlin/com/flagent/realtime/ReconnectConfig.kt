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
 * @param maxAttempts failed attempts in a row before the client gives up; 0 = never. `null` = 10, but without limit for a client
 * that feeds a [FlagStore].
 */
public class ReconnectConfig(
    maxAttempts: Int? = null,
    public val initialDelay: Duration = 1.seconds,
    public val maxDelay: Duration = 60.seconds,
    public val multiplier: Double = 2.0,
    public val stableAfter: Duration = 5.seconds,
) {
    private val given: Int? = maxAttempts

    /** Failed attempts in a row before the client gives up; 0 = never. */
    public val maxAttempts: Int = maxAttempts ?: DEFAULT_ATTEMPTS

    init {
        require(this.maxAttempts >= 0) { "maxAttempts is $maxAttempts; it must be 0 (never give up) or more." }
        require(!initialDelay.isNegative()) { "initialDelay is $initialDelay; it must not be negative." }
        require(!maxDelay.isNegative() && maxDelay.isFinite()) { "maxDelay is $maxDelay; it must be finite and not negative." }
        require(multiplier >= 1.0 && multiplier.isFinite()) { "multiplier is $multiplier; it must be finite and at least 1." }
        require(!stableAfter.isNegative()) { "stableAfter is $stableAfter; it must not be negative." }
    }

    /** Whether the client gives up before this attempt. */
    internal fun endsBefore(attempt: Int, feedsStore: Boolean): Boolean =
        maxAttempts in 1..<attempt && !(feedsStore && given == null)

    /** The same with other values. */
    public fun copy(
        maxAttempts: Int? = given,
        initialDelay: Duration = this.initialDelay,
        maxDelay: Duration = this.maxDelay,
        multiplier: Double = this.multiplier,
        stableAfter: Duration = this.stableAfter,
    ): ReconnectConfig = ReconnectConfig(maxAttempts, initialDelay, maxDelay, multiplier, stableAfter)

    private val values: List<Any> get() = listOf(maxAttempts, initialDelay, maxDelay, multiplier, stableAfter)

    override fun equals(other: Any?): Boolean = other is ReconnectConfig && values == other.values

    override fun hashCode(): Int = values.hashCode()

    override fun toString(): String = "ReconnectConfig(maxAttempts=$maxAttempts, initialDelay=$initialDelay, maxDelay=$maxDelay, " +
        "multiplier=$multiplier, stableAfter=$stableAfter)"

    private companion object {
        const val DEFAULT_ATTEMPTS = 10
    }
}

/** The singular of `seconds`: `initialDelay = 1.second`. */
public val Int.second: Duration get() = seconds
