package com.flagent.realtime

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.withTimeoutOrNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlin.time.Duration

/** Requests and their answers. Safe from any thread. */
internal class Calls {
    private class Call(val text: String) {
        val answer = CompletableDeferred<Message.Evaluated>()
        var isSent = false
    }

    private val calls = LinkedHashMap<String, Call>()
    private var lastId = 0L
    private var end: FlagentException? = null

    /** Signals that [nextUnsent] may have something. */
    val signals = Channel<Unit>(Channel.CONFLATED)

    /** Sends when a connection is there and waits for the answer. */
    suspend fun call(request: JsonObject, timeout: Duration): Message.Evaluated {
        val (id, call) = register(request)
        try {
            signals.trySend(Unit)
            return withTimeoutOrNull(timeout) { call.answer.await() }
                ?: throw RequestTimeoutException("No answer within $timeout.")
        } finally {
            synchronized(this) { calls.remove(id) }
        }
    }

    private fun register(request: JsonObject): Pair<String, Call> = synchronized(this) {
        end?.let { throw it }
        val id = "r${++lastId}"
        val call = Call(JsonObject(request + ("requestId" to JsonPrimitive(id))).toString())
        calls[id] = call
        id to call
    }

    /** The text of the next request that no connection has carried yet. */
    fun nextUnsent(): String? = synchronized(this) {
        calls.values.firstOrNull { !it.isSent }?.also { it.isSent = true }?.text
    }

    fun onAnswer(answer: Message.Evaluated): Boolean =
        synchronized(this) { calls[answer.requestId] }?.answer?.complete(answer) == true

    fun onProblem(problem: Message.Problem): Boolean = synchronized(this) { calls[problem.requestId] }
        ?.answer?.completeExceptionally(EvaluationException(problem.code, problem.text)) == true

    /** The connection is gone, and the answers to what it carried with it. */
    fun onLost(error: FlagentException) {
        val lost = synchronized(this) { calls.values.filter { it.isSent } }
        lost.forEach { it.answer.completeExceptionally(error) }
    }

    /** No connection will come any more. */
    fun end(error: FlagentException) {
        val all = synchronized(this) {
            end = end ?: error
            calls.values.toList()
        }
        all.forEach { it.answer.completeExceptionally(error) }
    }
}
