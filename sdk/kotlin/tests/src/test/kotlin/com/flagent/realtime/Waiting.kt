package com.flagent.realtime

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertTrue
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlin.time.TimeSource

/** For whatever a test waits for: far more than an idle machine needs, because a busy one stops a process for seconds. */
val deadline = 60.seconds

/** Waits until the condition holds; past the deadline the test fails. */
fun eventually(what: String, limit: Duration = deadline, condition: () -> Boolean) {
    val start = TimeSource.Monotonic.markNow()
    while (!condition()) {
        assertTrue(start.elapsedNow() < limit, "not within $limit: $what")
        Thread.sleep(5)
    }
}

/** Things that handlers received, for a test to take in order. */
class Received<T : Any> {
    private val queue = LinkedBlockingQueue<T>()

    fun add(item: T) {
        queue.add(item)
    }

    fun next(): T = queue.poll(deadline.inWholeSeconds, TimeUnit.SECONDS) ?: throw AssertionError("Nothing was received within $deadline.")

    fun isQuiet(ms: Long = 200): Boolean = queue.poll(ms, TimeUnit.MILLISECONDS) == null

    val size: Int get() = queue.size
}

/** Reconnects at once, so that tests do not wait. */
val eager = ReconnectConfig(maxAttempts = 0, initialDelay = 1.milliseconds, maxDelay = 5.milliseconds)

fun flag(key: String, more: String = "") = """{"id":${key.first().code},"key":"$key"$more}"""

/** The message of a change, in the WebSocket's form, which is also the envelope of an event stream. */
fun changed(key: String, id: String, more: String = "", type: String = "flag_updated") =
    """{"type":"$type","id":"$id","flagKey":"$key","flagID":${key.first().code},"schema":"public",""" +
        """"committedAt":"2026-11-23T08:00:00.123456Z","flag":${flag(key, more)}}"""

fun deleted(key: String, id: String) =
    """{"type":"flag_deleted","id":"$id","flagKey":"$key","flagID":${key.first().code},"schema":"public"}"""

fun connected(position: Long, heartbeatMs: Int? = null, log: String = "k", type: String = "connected") =
    """{"type":"$type","position":"$position","id":"$position@$log","fresh":true,"ageMs":1""" +
        (heartbeatMs?.let { ""","heartbeatMs":$it""" } ?: "") + "}"

fun snapshot(position: Long, vararg flags: String, log: String = "k") =
    """{"type":"snapshot","id":"$position@$log","position":"$position","flags":[${flags.joinToString()}]}"""

/** A message as a block of an event stream. */
fun Peer.sse(message: String) {
    val json = kotlinx.serialization.json.Json.parseToJsonElement(message) as kotlinx.serialization.json.JsonObject
    val type = json.text("type")!!
    event(type, message, json.text("id")?.takeIf { type != "connected" })
}

fun evaluating(block: suspend () -> Unit) = runBlocking { block() }
