package com.flagent.realtime

import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds

/**
 * How long a connection may be silent: 2.5 heartbeat intervals. The interval is the one announced, else the one observed
 * between the last two heartbeats of this connection (at least a second), else 30 seconds.
 */
internal class Heartbeats {
    private var announced: Duration? = null
    private var observed: Duration? = null
    private var lastAt: Duration? = null

    val patience: Duration get() = (announced ?: observed ?: ASSUMED) * 2.5

    fun onConnected(interval: Duration?) {
        announced = interval
        observed = null
        lastAt = null
    }

    fun onHeartbeat(at: Duration) {
        lastAt?.let { observed = maxOf(at - it, 1.seconds) }
        lastAt = at
    }

    private companion object {
        val ASSUMED = 30.seconds
    }
}
