package com.flagent.realtime

import org.junit.jupiter.api.AfterAll
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.BeforeAll
import java.io.Closeable
import java.net.InetAddress
import java.net.ServerSocket
import java.net.Socket
import java.net.URI
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.attribute.PosixFilePermissions
import java.sql.Connection
import java.sql.DriverManager
import java.util.Collections
import java.util.Properties
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicInteger
import kotlin.concurrent.thread
import kotlin.time.Duration.Companion.milliseconds

/**
 * The real server with its embedded database, started by the repository's command: the system property `flagent.server`,
 * for example `python -m cdc`.
 */
class RealServer(private val command: String, private val environment: Map<String, String> = QUICK) : Closeable {
    // Readable by all: if run as root, the embedded PostgreSQL runs as another user, which must read its data.
    private val folder: Path = Files.createTempDirectory("flagent-kotlin-").also {
        Files.setPosixFilePermissions(it, PosixFilePermissions.fromString("rwxr-xr-x"))
    }
    private lateinit var process: Process
    private lateinit var database: URI
    var port = 0
        private set

    init {
        try {
            start()
        } catch (e: Throwable) {
            close()
            throw e
        }
    }

    fun start() {
        val words = command.split(' ') + listOf("serve", "--port", port.toString(), "--data-dir", folder.resolve("data").toString())
        val log = folder.resolve("output.log").toFile()
        process = ProcessBuilder(words).directory(Path.of("../../..").toFile()).redirectErrorStream(true).apply {
            redirectOutput(log)
            environment() += environment
        }.start()
        eventually("the server is ready: $words", deadline * 3) {
            check(process.isAlive) { "The server ended: " + log.readText() }
            "stop " in log.readText()
        }
        val text = log.readText()
        port = Regex("""ready at http://[^:]+:(\d+)""").find(text)!!.groupValues[1].toInt()
        database = URI(Regex("""psql '?(postgresql://[^ '\n]+)""").find(text)!!.groupValues[1])
    }

    fun stop() {
        process.destroy()
        check(process.waitFor(deadline.inWholeSeconds, TimeUnit.SECONDS)) { "The server did not end." }
    }

    fun connect(): Connection {
        val (user, password) = database.userInfo.split(':')
        val properties = Properties().apply {
            setProperty("user", user)
            setProperty("password", password)
        }
        return DriverManager.getConnection("jdbc:postgresql://${database.host}:${database.port}${database.path}", properties)
    }

    override fun close() {
        stop()
        folder.toFile().deleteRecursively()
    }

    companion object {
        private val QUICK = mapOf("FLAGENT_WS_PING_INTERVAL" to "1s", "FLAGENT_SSE_KEEP_ALIVE" to "1s", "FLAGENT_CDC_EXPOSURES" to "true")

        /** The command that starts a server; skips the tests without one. */
        fun command(): String = System.getProperty("flagent.server").orEmpty().also {
            assumeTrue(it.isNotEmpty(), "no real server: set the property flagent.server (or FLAGENT_SERVER for ./ci) to its command")
        }
    }
}

/** The tests of a class share a real server. */
abstract class WithRealServer {
    protected val errors: MutableList<FlagentException> = Collections.synchronizedList(mutableListOf())
    protected val quick = ReconnectConfig(maxAttempts = 0, initialDelay = 20.milliseconds, maxDelay = 200.milliseconds)

    protected fun execute(vararg statements: String) = server.connect().use { database ->
        for (statement in statements) database.createStatement().use { it.execute(statement) }
    }

    protected fun insert(key: String) = "insert into flags (key, description, enabled, created_at) values ('$key', '', true, now())"

    companion object {
        lateinit var server: RealServer

        @JvmStatic
        @BeforeAll
        fun start() {
            server = RealServer(RealServer.command())
        }

        @JvmStatic
        @AfterAll
        fun stop() {
            if (::server.isInitialized) server.close()
        }
    }
}

/** A proxy that can disconnect its connections and fall silent. */
class FaultyProxy(private val target: () -> Int) : Closeable {
    private val listener = ServerSocket(0, 50, InetAddress.getLoopbackAddress())
    private val sockets = CopyOnWriteArrayList<Socket>()
    private val muted = CopyOnWriteArrayList<Socket>()
    val port: Int get() = listener.localPort

    /** Heartbeats forwarded on the present connections. */
    val heartbeats = AtomicInteger()

    init {
        thread(isDaemon = true) {
            while (!listener.isClosed) {
                val client = quietly { listener.accept() } ?: break
                val server = quietly { Socket(InetAddress.getLoopbackAddress(), target()) }
                if (server == null) {
                    client.close()
                    continue
                }
                sockets += client
                sockets += server
                forward(client, server)
                forward(server, client)
            }
        }
    }

    private fun forward(from: Socket, to: Socket) = thread(isDaemon = true) {
        quietly {
            val buffer = ByteArray(8192)
            while (true) {
                val n = from.getInputStream().read(buffer)
                if (n < 0) break
                if (from in muted) continue
                val text = String(buffer, 0, n, Charsets.ISO_8859_1)
                if ("heartbeat" in text || "keep-alive" in text) heartbeats.incrementAndGet()
                to.getOutputStream().write(buffer, 0, n)
            }
        }
        if (from !in muted) {
            from.close()
            to.close()
        }
    }

    /** Ends every connection. */
    fun disconnect() {
        heartbeats.set(0)
        sockets.forEach { it.close() }
        sockets.clear()
    }

    /** The present connections stay open, but forward nothing. */
    fun mute() {
        muted += sockets
        sockets.clear()
    }

    override fun close() {
        listener.close()
        disconnect()
        muted.forEach { it.close() }
    }

    private fun <T> quietly(action: () -> T): T? = try {
        action()
    } catch (_: java.io.IOException) {
        null
    }
}
