package com.flagent.realtime

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.withTimeoutOrNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlin.time.Duration

/** Requests that wait for their responses. Safe from any thread. */
internal class PendingRequests {
    private class PendingRequest(val text: String) {
        val response = CompletableDeferred<Message.Response>()
        var isSent = false
    }

    private val requests = LinkedHashMap<String, PendingRequest>()
    private var lastId = 0L
    private var end: FlagentException? = null

    /** Signals that [nextUnsent] may have a request. */
    val signals = Channel<Unit>(Channel.CONFLATED)

    /** Sends the request once a connection is open, and waits for the response. */
    suspend fun call(request: JsonObject, timeout: Duration): Message.Response {
        val (id, pending) = register(request)
        try {
            signals.trySend(Unit)
            return withTimeoutOrNull(timeout) { pending.response.await() }
                ?: throw RequestTimeoutException("No response to ${request.text("type")} within $timeout.")
        } finally {
            synchronized(this) { requests.remove(id) }
        }
    }

    private fun register(request: JsonObject): Pair<String, PendingRequest> = synchronized(this) {
        end?.let { throw it }
        val id = "r${++lastId}"
        val pending = PendingRequest(JsonObject(request + ("requestId" to JsonPrimitive(id))).toString())
        requests[id] = pending
        id to pending
    }

    /** The text of the next request that has not been sent on any connection. */
    fun nextUnsent(): String? = synchronized(this) {
        requests.values.firstOrNull { !it.isSent }?.also { it.isSent = true }?.text
    }

    fun onResponse(message: Message.Response): Boolean =
        synchronized(this) { requests[message.requestId] }?.response?.complete(message) == true

    fun onError(message: Message.ErrorMessage): Boolean = synchronized(this) { requests[message.requestId] }
        ?.response?.completeExceptionally(RequestFailedException(message.code, message.text)) == true

    /** The connection is lost, and with it the responses to the requests it has sent. */
    fun onLost(error: FlagentException) {
        val lost = synchronized(this) { requests.values.filter { it.isSent } }
        lost.forEach { it.response.completeExceptionally(error) }
    }

    /** No further connection will open. */
    fun end(error: FlagentException) {
        val all = synchronized(this) {
            end = end ?: error
            requests.values.toList()
        }
        all.forEach { it.response.completeExceptionally(error) }
    }
}
