package com.flagent.realtime

import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.test.StandardTestDispatcher
import kotlinx.coroutines.test.TestScope
import kotlinx.coroutines.test.advanceTimeBy
import kotlinx.coroutines.test.currentTime
import kotlinx.coroutines.test.runCurrent
import kotlinx.coroutines.test.runTest
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertSame
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.net.URI
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlin.time.TimeSource

/** The times of a client's connections, on a clock that the test advances. */
@OptIn(ExperimentalCoroutinesApi::class)
class ConnectionSupervisorTest {
    /** Replaces the network. Records the time of each attempt; [response] is its result. */
    private class Network(private val scope: TestScope) : Transport {
        override val limits get() = SelectionLimits.WEB_SOCKET

        val attempts = mutableListOf<Long>()
        val starts = mutableListOf<ConnectionRequest>()
        var response: suspend () -> Connection = { throw ConnectionFailure(ConnectionLostException("refused")) }

        override val servesWithoutSelection = false

        override suspend fun open(request: ConnectionRequest): Connection {
            attempts += scope.currentTime
            starts += request
            return response()
        }

        override fun close() = Unit
    }

    private class Wire : Connection {
        val messages = Channel<List<Message>>(Channel.UNLIMITED)

        fun say(text: String) {
            messages.trySend(listOf(MessageDecoder.decodeMessage(text)))
        }

        fun disconnect() {
            messages.close(ConnectionFailure(ConnectionLostException("disconnected")))
        }

        override suspend fun receive() = messages.receive()

        override suspend fun select(from: ServerSelection, to: ServerSelection) = true

        override suspend fun requestSnapshot(selection: ServerSelection, number: Int) = true

        override suspend fun send(text: String) = Unit

        override suspend fun close() = Unit
    }

    private val endpoint =
        Endpoint(URI("http://localhost/"), ApiKeySource.fixed(null), SharedEngine(null, 1.seconds), EndpointKind.EVENT_STREAM)

    private fun TestScope.client(network: Network, config: ReconnectConfig): FlagentSSEClient {
        val dispatcher = StandardTestDispatcher(testScheduler)
        val options = ClientOptions(handlerContext = dispatcher)
        return FlagentSSEClient(ClientParts(network, config, options, endpoint, dispatcher, testScheduler.timeSource) { 1.0 })
    }

    @Test
    fun `waits double up to the cap, then the client gives up`() = runTest {
        val network = Network(this)
        val client = client(network, ReconnectConfig(maxAttempts = 8))
        client.subscribe { }
        advanceTimeBy(1000.seconds)
        val waits = network.attempts.zipWithNext { a, b -> (b - a) - GATHER }
        assertEquals(listOf(1000L, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000), waits)
        assertEquals(ConnectionState.FAILED, client.state.value)
        client.closeAndJoin()
    }

    @Test
    fun `Retry-After is waited out`() = runTest {
        val network = Network(this)
        network.response = { throw ConnectionFailure(ConnectionLostException("busy", status = 503), retryAfter = 30.seconds) }
        val client = client(network, ReconnectConfig(maxAttempts = 1))
        client.subscribe { }
        advanceTimeBy(100.seconds)
        assertEquals(31_000L + GATHER, network.attempts[1] - network.attempts[0])
        client.closeAndJoin()
    }

    @Test
    fun `only a connection that lasts resets the attempt count`() = runTest {
        val network = Network(this)
        val client = client(network, ReconnectConfig())
        client.subscribe { }
        var wire = Wire()
        network.response = { Wire().also { wire = it } }
        advanceTimeBy(20.milliseconds)
        suspend fun liveFor(ms: Long): Long {
            wire.say(connected(1))
            runCurrent()
            advanceTimeBy(ms.milliseconds)
            val cutAt = currentTime
            val before = network.attempts.size
            wire.disconnect()
            advanceTimeBy(15.seconds)
            assertEquals(before + 1, network.attempts.size)
            return network.attempts.last() - cutAt - GATHER
        }
        assertEquals(1000L, liveFor(4999))
        // Messages arrive late here, after the wait: the attempt count is not reset.
        assertEquals(2000L, liveFor(100))
        assertEquals(1000L, liveFor(5000))
        client.closeAndJoin()
    }

    @Test
    fun `silence of two and a half intervals ends a connection, any message restarts the wait`() = runTest {
        val network = Network(this)
        val client = client(network, ReconnectConfig())
        client.subscribe { }
        val wire = Wire()
        network.response = { if (network.attempts.size == 1) wire else awaitCancellation() }
        advanceTimeBy(20.milliseconds)
        wire.say(connected(1))
        advanceTimeBy(74.seconds)
        wire.messages.trySend(emptyList())
        advanceTimeBy(74.seconds)
        assertEquals(ConnectionState.CONNECTED, client.state.value)
        advanceTimeBy(2.seconds)
        assertEquals(ConnectionState.RECONNECTING, client.state.value)
        advanceTimeBy(2.seconds)
        assertEquals("1@k", network.starts[1].lastEventId)
        client.closeAndJoin()
    }

    @Test
    fun `silence is measured by the monotonic clock, whatever the other one says (tc-clock-jumps)`() = runTest {
        val network = Network(this)
        val client = client(network, ReconnectConfig())
        val store = FlagStore(client)
        val wire = Wire()
        network.response = { if (network.attempts.size == 1) wire else awaitCancellation() }
        advanceTimeBy(20.milliseconds)
        wire.say(connected(1))
        wire.say(snapshot(1, flag("a")))
        advanceTimeBy(74.seconds)
        assertEquals(StoreStatus.READY, store.status.value)
        // To the wall clock no time has passed.
        advanceTimeBy(2.seconds)
        assertEquals(StoreStatus.STALE, store.status.value)
        client.closeAndJoin()
        assertSame(TimeSource.Monotonic, ClientParts(network, ReconnectConfig(), ClientOptions(), endpoint).time)
    }

    @Test
    fun `an attempt that hangs ends after the time limit`() = runTest {
        val network = Network(this)
        network.response = { awaitCancellation() }
        val client = client(network, ReconnectConfig())
        client.subscribe { }
        advanceTimeBy(12.seconds)
        assertEquals(listOf(GATHER, GATHER + 10_000 + 1000 + GATHER), network.attempts)
        client.closeAndJoin()
    }

    @Test
    fun `the observed interval replaces the assumed one`() = runTest {
        val network = Network(this)
        val client = client(network, ReconnectConfig())
        client.subscribe { }
        val wire = Wire()
        network.response = { if (network.attempts.size == 1) wire else awaitCancellation() }
        advanceTimeBy(20.milliseconds)
        wire.say(connected(1))
        repeat(2) {
            advanceTimeBy(4.seconds)
            wire.say("""{"type":"heartbeat","id":"1@k","position":"1","fresh":true}""")
        }
        advanceTimeBy(9900.milliseconds)
        assertEquals(ConnectionState.CONNECTED, client.state.value)
        advanceTimeBy(200.milliseconds)
        assertTrue(client.state.value != ConnectionState.CONNECTED)
        client.closeAndJoin()
    }

    private companion object {
        /** The client waits this long for further subscriptions before each attempt. */
        const val GATHER = 10L
    }
}
