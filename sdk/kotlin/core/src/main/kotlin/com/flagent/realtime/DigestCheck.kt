package com.flagent.realtime

/**
 * Compares a store's digest with the server's, and decides when a snapshot is worth its cost.
 *
 * A snapshot that does not help must not be requested at each heartbeat: after a request 1, 2, 4 … 64 heartbeats pass before the
 * next.
 */
internal class DigestCheck {
    /** True when the copy is known to differ from the server. */
    var differs = false
        private set

    /** Requests since the digests last agreed. */
    private var repairs = 0
    private var heartbeatsToSkip = 0

    /** Takes the digests of one heartbeat; returns whether to request a snapshot. */
    fun compare(theirs: String, own: String): Boolean {
        if (theirs == own) {
            differs = false
            repairs = 0
            heartbeatsToSkip = 0
            return false
        }
        differs = true
        if (heartbeatsToSkip > 0) {
            heartbeatsToSkip--
            return false
        }
        repairs++
        heartbeatsToSkip = minOf(1 shl minOf(repairs - 1, 6), MAX_SNAPSHOT_PAUSE)
        return true
    }

    /** A snapshot has replaced the copy. A first repair is trusted; after that only an equal digest is. */
    fun onSnapshot() {
        if (repairs <= 1) differs = false
    }

    fun onResync() {
        differs = false
    }

    private companion object {
        /** In heartbeats. */
        const val MAX_SNAPSHOT_PAUSE = 64
    }
}
