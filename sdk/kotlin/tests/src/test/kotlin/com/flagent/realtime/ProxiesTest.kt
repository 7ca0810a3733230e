package com.flagent.realtime

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.AfterAll
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.BeforeAll
import org.junit.jupiter.api.Tag
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.CsvSource
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.attribute.PosixFilePermissions
import java.util.Collections
import java.util.concurrent.TimeUnit

/** The same program, without a setting, behind proxies as they are found: a real nginx, a real HAProxy. */
@Tag("okhttp")
class ProxiesTest {
    @TempDir
    lateinit var directory: Path
    private val errors = Collections.synchronizedList(mutableListOf<FlagentException>())

    private fun client(url: String) = FlagentClient(url, options = ClientOptions(onError = errors::add))

    private fun toggle() = server.connect().use { database ->
        database.createStatement().use { it.execute("update flags set enabled = not enabled where key = 'a'") }
    }

    private fun followsAChange(store: FlagStore) {
        val before = store["a"]!!.enabled
        toggle()
        eventually("the change") { store["a"]!!.enabled != before }
    }

    @ParameterizedTest
    @CsvSource(
        "WEBSOCKET, 'proxy_http_version 1.1; proxy_set_header Upgrade \$http_upgrade; proxy_set_header Connection upgrade;'",
        "SSE, ''",
        "POLLING, 'proxy_ignore_headers X-Accel-Buffering; proxy_buffering on;'",
    )
    fun `nginx as it should be, one that refuses upgrades, and one that buffers (tc-transport-fallback, tc-transport-silent)`(
        transport: TransportName,
        directives: String,
    ) {
        Proxy.nginx(directory, server.port, directives).use { proxy ->
            client(proxy.url).use { client ->
                val store = FlagStore(client)
                runBlocking { store.ready(deadline * 2) }
                repeat(2) { followsAChange(store) }
                assertEquals(transport, client.transport)
                eventually("READY") { store.status.value == StoreStatus.READY }
            }
        }
    }

    @Test
    fun `HAProxy with an idle limit of 10 seconds (tc-half-open)`() {
        Proxy.haproxy(directory, server.port, "10s").use { proxy ->
            client(proxy.url).use { client ->
                val store = FlagStore(client)
                runBlocking { store.ready(deadline) }
                // The server is silent for longer: its heartbeats come every 30 s.
                eventually("the proxy ends the idle connection") { errors.isNotEmpty() }
                followsAChange(store)
                eventually("READY") { store.status.value == StoreStatus.READY }
            }
        }
    }

    companion object {
        private lateinit var server: RealServer

        @JvmStatic
        @BeforeAll
        fun start() {
            server = RealServer(RealServer.command(), emptyMap())
            server.connect().use { database ->
                database.createStatement().use { it.execute("insert into flags (key, description, enabled, created_at) values ('a', '', false, now())") }
            }
        }

        @JvmStatic
        @AfterAll
        fun stop() {
            if (::server.isInitialized) server.close()
        }
    }
}

/** A proxy program that listens on a port of this machine. */
private class Proxy(private val process: Process, port: Int) : AutoCloseable {
    val url = "http://127.0.0.1:$port"

    override fun close() {
        process.destroy()
        if (!process.waitFor(10, TimeUnit.SECONDS)) process.destroyForcibly()
    }

    companion object {
        fun nginx(directory: Path, upstream: Int, directives: String): Proxy {
            // Its worker may be another user.
            Files.setPosixFilePermissions(directory, PosixFilePermissions.fromString("rwxr-xr-x"))
            val temporary = listOf("client_body", "proxy", "fastcgi", "uwsgi", "scgi").joinToString("\n") { "${it}_temp_path $directory/$it;" }
            return start("nginx", directory, { file -> listOf("-c", "$file", "-p", "$directory", "-e", "$directory/error.log") }) { port ->
                val account = if (System.getProperty("user.name") == "root") "user root;" else ""
                """
                |$account daemon off; pid $directory/pid; worker_processes 1;
                |events { worker_connections 64; }
                |http { access_log off; $temporary
                |  server { listen 127.0.0.1:$port; location / { proxy_pass http://127.0.0.1:$upstream; $directives } }
                |}
                """.trimMargin() + "\n"
            }
        }

        fun haproxy(directory: Path, upstream: Int, idle: String): Proxy =
            start("haproxy", directory, { file -> listOf("-db", "-f", "$file") }) { port ->
                """
                |defaults
                |  mode http
                |  timeout connect 5s
                |  timeout client $idle
                |  timeout server $idle
                |  timeout tunnel $idle
                |listen proxy
                |  bind 127.0.0.1:$port
                |  server flagent 127.0.0.1:$upstream
                """.trimMargin() + "\n"
            }

        private fun start(name: String, directory: Path, arguments: (Path) -> List<String>, configuration: (Int) -> String): Proxy {
            val folders = System.getenv("PATH").split(':') + listOf("/usr/sbin", "/usr/local/sbin")
            val program = folders.map { Path.of(it, name) }.firstOrNull(Files::isExecutable)
            assumeTrue(program != null, "no $name on the PATH")
            val port = java.net.ServerSocket(0).use { it.localPort }
            val file = Files.writeString(directory.resolve("$name.conf"), configuration(port))
            val log = directory.resolve("$name.log").toFile()
            val process = ProcessBuilder(listOf("$program") + arguments(file)).redirectErrorStream(true).redirectOutput(log).start()
            eventually("$name listens") {
                check(process.isAlive) { "$name has exited: " + log.readText() }
                runCatching { java.net.Socket("127.0.0.1", port).close() }.isSuccess
            }
            return Proxy(process, port)
        }
    }
}
