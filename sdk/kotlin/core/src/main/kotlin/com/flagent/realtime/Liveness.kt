package com.flagent.realtime

import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds

/**
 * How long a connection may be silent: 2.5 heartbeat intervals. The interval is the announced one, else the time between the
 * last two heartbeats of this connection (at least a second), else 30 seconds.
 */
internal class Liveness {
    private var announced: Duration? = null
    private var observed: Duration? = null
    private var lastAt: Duration? = null

    val silenceLimit: Duration get() = (announced ?: observed ?: DEFAULT_HEARTBEAT_INTERVAL) * 2.5

    fun onConnected(interval: Duration?) {
        announced = interval
        observed = null
        lastAt = null
    }

    fun onHeartbeat(at: Duration) {
        lastAt?.let { observed = maxOf(at - it, MIN_HEARTBEAT_INTERVAL) }
        lastAt = at
    }

    private companion object {
        val DEFAULT_HEARTBEAT_INTERVAL = 30.seconds
        val MIN_HEARTBEAT_INTERVAL = 1.seconds
    }
}
