package com.flagent.realtime

import kotlin.time.Duration

/** Feeds a store from a client. Called by the coroutine that reads, [onClosed] by any. */
internal interface StoreDriver {
    /** Applies a message on arrival. The returned function calls the listeners; it runs in order with the handlers. */
    fun onReceived(at: Duration, message: Message): (suspend () -> Unit)?

    fun onLost()

    fun onFailed(error: FlagentException)

    fun onClosed()
}
