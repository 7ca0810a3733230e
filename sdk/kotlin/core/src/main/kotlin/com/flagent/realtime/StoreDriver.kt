package com.flagent.realtime

import kotlin.time.Duration

/** Feeds a store from a client. Called by the coroutine that reads, [onClosed] by any. */
internal interface StoreDriver {
    /** Applies a message on arrival. The returned function calls the listeners; it runs in order with the handlers. */
    fun onReceived(at: Duration, message: Message): (suspend () -> Unit)?

    /** The id that the store can resume after; `null` = it needs a snapshot. */
    val savedID: String?

    /** Called before the client's first connection: reads a cache whose key depends on [keys]. Raises what the application's key function raises. */
    suspend fun prepare(keys: ApiKeySource)

    /** The client has gone offline. */
    fun onOffline()

    fun onLost()

    fun onFailed(error: FlagentException)

    fun onClosed()
}
