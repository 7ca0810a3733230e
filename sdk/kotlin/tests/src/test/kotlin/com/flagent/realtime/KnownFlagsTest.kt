package com.flagent.realtime

import kotlinx.coroutines.runBlocking
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.jsonObject
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.IOException
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.attribute.FileTime
import java.nio.file.attribute.PosixFilePermissions
import java.time.Instant
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicInteger
import kotlin.concurrent.thread
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.measureTime

/** Flags that are known before the server answers. Names in parentheses are the cases of the behaviour table. */
class KnownFlagsTest {
    @TempDir
    lateinit var directory: Path

    private var server = ScriptedServer()
    private val errors = Received<FlagentException>()
    private val closing = mutableListOf<AutoCloseable>()

    /** A persistence of one process. */
    private class Memory : Persistence {
        val texts = ConcurrentHashMap<String, String>()
        val saves = AtomicInteger()

        override fun load(key: String): String? = texts[key]

        override fun save(key: String, text: String) {
            saves.incrementAndGet()
            texts[key] = text
        }
    }

    private fun client(key: String? = "k", options: ClientOptions = ClientOptions(onError = errors::add)) =
        FlagentWebSocketClient(server.ws, key, eager, options).also(closing::add)

    private fun files() = FilePersistence(directory.resolve("cache").toFile())

    @AfterEach
    fun close() {
        closing.forEach { it.close() }
        server.close()
    }

    /** One run: the store becomes READY with these flags, and is closed, which saves them. */
    private fun run(persistence: Persistence, vararg flags: String, position: Long = 3, key: String? = "k") {
        client(key).use { client ->
            val store = FlagStore(client, persistence = persistence)
            server.acceptWebSocket().run {
                receive()
                send(connected(position, type = "subscribed"))
                send(snapshot(position, *flags))
            }
            runBlocking { store.ready(deadline) }
        }
    }

    private fun problems() = generateSequence { errors.next() }.filterIsInstance<SavedFlagsIgnoredException>()

    @Test
    fun `flags of the last run are readable at once, and only what was missed is sent (tc-cache-resume)`() {
        run(files(), flag("a"), flag("b"))
        val client = client(options = ClientOptions(onError = errors::add, start = false))
        val store = FlagStore(client, persistence = files())
        assertEquals(StoreStatus.STALE, store.status.value)
        assertEquals(FlagSource.CACHE, store.source)
        assertEquals(setOf("a", "b"), store.all.map { it.key }.toSet())
        assertEquals(3L, store.position)
        val changes = Received<String>()
        store.onChange { changes.add("${it.kind} ${it.key}") }
        client.start()
        server.acceptWebSocket().run {
            val request = receive()
            assertEquals("3@k", request.text("lastEventId"))
            assertNull(request["snapshot"])
            send(connected(4, type = "subscribed"))
            send(changed("a", "4-0@k", ""","enabled":true"""))
        }
        runBlocking { store.ready(deadline) }
        assertEquals("UPDATED a", changes.next())
        assertEquals(FlagSource.SERVER, store.source)
        assertTrue(changes.isQuiet())
        assertTrue(errors.isQuiet(10))
    }

    @Test
    fun `a server that has lost the id replaces the saved flags (tc-cache-resume)`() {
        run(files(), flag("a"), flag("b"))
        val store = FlagStore(client(), persistence = files())
        server.acceptWebSocket().run {
            receive()
            send(connected(9, type = "subscribed", log = "new"))
            send("""{"type":"resync","id":"9@new","reason":"log_replaced","snapshot":{"position":"9","flags":[${flag("c")}]}}""")
        }
        runBlocking { store.ready(deadline) }
        assertEquals(listOf("c"), store.all.map { it.key })
    }

    @Test
    fun `a store that is made while its client connects never waits for it`() {
        val memory = Memory()
        run(memory, flag("a"))
        // Each time at another moment of the connection's beginning. In threads of their own, for two that wait for each
        // other could not be interrupted.
        val made = AtomicInteger()
        val maker = thread(isDaemon = true) {
            repeat(300) {
                client().use { client ->
                    FlagStore(client, persistence = memory)
                    FlagStore(client, persistence = memory, selection = Selection.EVERYTHING)
                }
                made.incrementAndGet()
            }
        }
        maker.join(50_000)
        assertFalse(maker.isAlive, "after ${made.get()} stores: ${maker.stackTrace.take(3)}")
    }

    @Test
    fun `flags of another user are never shown (tc-cache-other-key)`() {
        run(files(), flag("a"))
        assertNull(FlagStore(client("other"), persistence = files()).source)
        val byIdentity = ClientOptions(onError = errors::add, start = false, cacheIdentity = "team")
        FlagStore(client("first", byIdentity), persistence = files())
        assertEquals(FlagSource.CACHE, FlagStore(client(), persistence = files()).source)
        // A key from a function: read with what it returned for the first connection, which is asked once.
        val calls = AtomicInteger()
        server.close()
        server = ScriptedServer()
        run(files(), flag("a"))
        val client = FlagentWebSocketClient(server.ws, { "k".also { calls.incrementAndGet() } }, eager, ClientOptions(onError = errors::add)).also(closing::add)
        val store = FlagStore(client, persistence = files())
        assertNull(store.source)
        server.acceptWebSocket().run { assertEquals("3@k", receive().text("lastEventId")) }
        assertEquals(FlagSource.CACHE, store.source)
        assertEquals(1, calls.get())
    }

    @Test
    fun `damaged, foreign and old files are ignored and reported (tc-cache-damaged)`() {
        run(files(), flag("a"))
        val file = Files.list(directory.resolve("cache")).use { it.toList() }.single()
        val good = Files.readString(file)
        val damaged = mapOf(
            good.dropLast(20) to SavedProblem.NOT_JSON,
            "\u0000".repeat(50) to SavedProblem.NOT_JSON,
            good.replace("\"format\":1", "\"format\":2") to SavedProblem.FORMAT,
            good.replace("\"key\":\"a\"", "\"key\":\"b\"") to SavedProblem.DIGEST,
            good.replace(Regex("\"savedAt\":\"[0-9]{4}"), "\"savedAt\":\"2020") to SavedProblem.TOO_OLD,
            good.replace(Regex("\"savedAt\":\"[0-9]{4}"), "\"savedAt\":\"2999") to SavedProblem.IN_THE_FUTURE,
        )
        for ((text, problem) in damaged) {
            Files.writeString(file, text)
            val store = FlagStore(client(options = ClientOptions(onError = errors::add, start = false)), persistence = files())
            assertNull(store.source)
            assertEquals(StoreStatus.INITIALIZING, store.status.value)
            assertEquals(problem, problems().first().problem)
        }
    }

    @Test
    fun `a file is its owner's alone, and temporary files of the dead are removed (tc-cache-file)`() {
        val cache = Files.createDirectories(directory.resolve("old"))
        val abandoned = Files.createFile(cache.resolve("flagent-0.tmp"))
        Files.setLastModifiedTime(abandoned, FileTime.from(Instant.now().minusSeconds(4000)))
        val fresh = Files.createFile(cache.resolve("flagent-1.tmp"))
        FilePersistence(cache.toFile()).save("0".repeat(64), "x")
        assertFalse(Files.exists(abandoned))
        assertTrue(Files.exists(fresh))
        files().save("0123456789abcdef".repeat(4), "text")
        val file = directory.resolve("cache/flagent-0123456789abcdef0123456789abcdef.json")
        assertEquals("text", Files.readString(file))
        assertEquals("rw-------", PosixFilePermissions.toString(Files.getPosixFilePermissions(file)))
        assertEquals("rwx------", PosixFilePermissions.toString(Files.getPosixFilePermissions(file.parent)))
        assertEquals(listOf(file), Files.list(file.parent).use { it.toList() })
        assertEquals("text", files().load("0123456789abcdef".repeat(4)))
        assertNull(files().load("f".repeat(64)))
    }

    private fun java(vararg arguments: String, shell: String? = null): Process {
        val command = listOf(Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx64m") +
            listOf("-cp", System.getProperty("surefire.test.class.path") ?: System.getProperty("java.class.path"), SavingProgram::class.java.name) + arguments
        val words = if (shell == null) command else listOf("bash", "-c", "$shell; exec \"\$@\"", "bash") + command
        return ProcessBuilder(words).redirectErrorStream(true).start()
    }

    @Test
    fun `killed in the middle of a save, the next start has the old or the new state (tc-cache-kill)`() {
        // Each start of a JVM takes most of a second, so the writers of several directories start at the same time.
        var interrupted = 0
        repeat(KILLS / WRITERS) { n ->
            val writers = (1..WRITERS).map { directory.resolve("cache$it") }.associateWith { java(it.toString(), "1000000") }
            for (process in writers.values) assertEquals("saving", process.inputStream.bufferedReader().readLine())
            for ((cache, process) in writers) {
                TimeUnit.MILLISECONDS.sleep(n % 10 * 3L)
                process.destroyForcibly().waitFor()
                val text = FilePersistence(cache.toFile()).load("0".repeat(64))!!
                assertEquals(1, text.toSet().size, "a mixture")
                assertEquals(1_000_000, text.length)
                interrupted += Files.list(cache).use { files -> files.filter { it.toString().endsWith(".tmp") }.count() }.coerceAtMost(1).toInt()
            }
            for (cache in writers.keys) cache.toFile().deleteRecursively()
        }
        assertTrue(interrupted > 0, "no save was interrupted")
    }

    /** Runs a test in a directory on a file system of 256 KiB. */
    private fun onSmallDisk(test: (Path) -> Unit) {
        assumeTrue(System.getProperty("os.name") == "Linux" && System.getProperty("user.name") == "root", "only root mounts a small disk, on Linux")
        fun run(vararg command: String): String {
            val process = ProcessBuilder(*command).redirectErrorStream(true).start()
            val output = process.inputStream.bufferedReader().readText()
            return if (process.waitFor() == 0) "" else output
        }
        val disk = Files.createDirectory(directory.resolve("disk"))
        val refusal = run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk.toString())
        assumeTrue(refusal.isEmpty(), "a small disk cannot be mounted here: $refusal")
        try {
            test(disk)
        } finally {
            assertEquals("", run("umount", "-l", disk.toString()))
        }
    }

    @Test
    fun `a full disk is reported once, the older file stays whole, and the store saves again when there is space (tc-cache-full)`() = onSmallDisk { disk ->
        val files = FilePersistence(disk.toFile())
        val saves = AtomicInteger()
        val counted = object : Persistence {
            override fun load(key: String) = files.load(key)

            override fun save(key: String, text: String) {
                try {
                    files.save(key, text)
                } finally {
                    saves.incrementAndGet()
                }
            }
        }
        val client = client()
        val store = FlagStore(client, persistence = counted)
        fun saved() = Files.list(disk).use { all -> all.filter { it.toString().endsWith(".json") }.toList() }
            .singleOrNull()?.let { Json.parseToJsonElement(Files.readString(it)).jsonObject.text("position") }
        server.acceptWebSocket().run {
            receive()
            send(connected(10, type = "subscribed"))
            send(snapshot(10, flag("a")))
            eventually("the first state is saved") { saves.get() > 0 && saved() == "10" }
            val other = disk.resolve("other")
            assertThrows(IOException::class.java) { Files.write(other, ByteArray(1 shl 20)) }
            for (position in 11..13) {
                val before = saves.get()
                send(changed("a", "$position-0@k", ""","n":$position"""))
                eventually("it is tried") { saves.get() > before }
            }
            val error = errors.next()
            assertTrue(error is PersistenceFailedException && "No space left" in error.message!!, "$error")
            assertEquals(listOf(13L, StoreStatus.READY, "10"), listOf(store.position, store.status.value, saved()))
            assertEquals(2, Files.list(disk).use { it.count() })
            Files.delete(other)
            send(changed("a", "14-0@k", ""","n":14"""))
            eventually("it is saved again") { saved() == "14" }
        }
        client.close()
        assertTrue(errors.isQuiet(0))
    }

    @Test
    fun `beyond a limit on the size of files the older one stays whole (tc-cache-full)`() {
        val cache = directory.resolve("cache")
        FilePersistence(cache.toFile()).save("0".repeat(64), "old")
        val process = java(cache.toString(), "1000000", shell = "ulimit -f 100")
        val output = process.inputStream.bufferedReader().readText()
        process.waitFor()
        assertTrue("IOException" in output, output)
        assertEquals("old", FilePersistence(cache.toFile()).load("0".repeat(64)))
        assertEquals(1, Files.list(cache).use { it.count() })
    }

    @Test
    fun `a directory that cannot be written is reported once, and the store is not affected (tc-cache-unwritable)`() {
        val file = Files.createFile(directory.resolve("a file"))
        val store = FlagStore(client(), persistence = FilePersistence(file.toFile()))
        server.acceptWebSocket().run {
            receive()
            send(connected(3, type = "subscribed"))
            send(snapshot(3, flag("a")))
            runBlocking { store.ready(deadline) }
            val error = errors.next()
            assertTrue(error is PersistenceFailedException && "a file" in error.message!!, "$error")
            send(changed("a", "4-0@k", ""","enabled":true"""))
            eventually("the change") { store["a"]!!.enabled }
            assertTrue(errors.isQuiet(1500))
        }
    }

    @Test
    fun `what a persistence raises is reported, once per message (tc-persistence-raises)`() {
        val broken = object : Persistence {
            override fun load(key: String): String = throw IOException("no load")

            override fun save(key: String, text: String) = error("no save")
        }
        run(broken, flag("a"))
        assertEquals(listOf("no load", "no save"), List(2) { errors.next().message!!.substringAfterLast(": ") })
    }

    @Test
    fun `saved at most once a second, the last state wins (tc-cache-pace)`() {
        val memory = Memory()
        val client = client()
        val store = FlagStore(client, persistence = memory)
        val took = measureTime {
            server.acceptWebSocket().run {
                receive()
                send(connected(3, type = "subscribed"))
                send(snapshot(3, flag("a")))
                for (n in 4..53) {
                    send(changed("a", "$n-0@k", ""","n":$n"""))
                    TimeUnit.MILLISECONDS.sleep(20)
                }
            }
            eventually("the last change") { store.position == 53L }
            client.close()
        }
        // The first, one for each second, and the last.
        assertTrue(memory.saves.get() in 2..took.inWholeSeconds + 2, "${memory.saves.get()} in $took")
        val saved = Json.parseToJsonElement(memory.texts.values.single()).jsonObject
        assertEquals("53-0@k", saved.text("id"))
        assertEquals(53, saved.objects("flags").single().int("n"))
    }

    @Test
    fun `an id that moves alone is saved rarely (tc-cache-pace)`() {
        val memory = Memory()
        val store = FlagStore(client(), persistence = memory)
        server.acceptWebSocket().run {
            receive()
            send(connected(3, type = "subscribed"))
            send(snapshot(3, flag("a")))
            eventually("saved") { memory.saves.get() == 1 }
            for (n in 4..30) {
                send("""{"type":"heartbeat","id":"$n@k","position":"$n","fresh":true}""")
                TimeUnit.MILLISECONDS.sleep(60)
            }
            eventually("the position") { store.position == 30L }
        }
        assertEquals(1, memory.saves.get())
    }

    @Test
    fun `two processes share a directory, and each reads a whole file (tc-cache-two-processes)`() {
        val cache = directory.resolve("cache").toString()
        val writers = List(2) { java(cache, "50000") }
        try {
            for (process in writers) assertEquals("saving", process.inputStream.bufferedReader().readLine())
            val seen = mutableSetOf<Char>()
            var reads = 0
            eventually("several states are read") {
                val text = files().load("0".repeat(64))!!
                assertEquals(50_000, text.length)
                seen += text.toSet().single()
                ++reads > 100 && seen.size > 5
            }
        } finally {
            writers.forEach { it.destroyForcibly().waitFor() }
        }
    }

    @Test
    fun `two stores resume from the lower id (tc-cache-two-stores)`() {
        run(files(), flag("a"), position = 3)
        client().use { client ->
            val store = FlagStore(client, Selection(flags = setOf("b")), persistence = files())
            server.acceptWebSocket().run {
                receive()
                send(connected(5, type = "subscribed"))
                send(snapshot(5, flag("b")))
            }
            runBlocking { store.ready(deadline) }
        }
        val later = client(options = ClientOptions(onError = errors::add, start = false))
        val stores = listOf(FlagStore(later, persistence = files()), FlagStore(later, Selection(flags = setOf("b")), persistence = files()))
        later.start()
        server.acceptWebSocket().run {
            assertEquals("3@k", receive().text("lastEventId"))
            send(connected(5, type = "subscribed"))
            send(changed("b", "5-0@k"))
        }
        runBlocking { stores.forEach { it.ready(deadline) } }
        assertEquals(setOf("a", "b"), stores[0].all.map { it.key }.toSet())
    }

    @Test
    fun `a bootstrap is readable at once (tc-bootstrap)`() {
        val store = FlagStore(client(), bootstrap = """[${flag("a", ""","enabled":true""")}]""")
        assertEquals(FlagSource.BOOTSTRAP, store.source)
        assertTrue(store["a"]!!.enabled)
        assertEquals(StoreStatus.STALE, store.status.value)
        server.acceptWebSocket().run {
            val request = receive()
            assertEquals(true, request.bool("snapshot"))
            send(connected(3, type = "subscribed"))
            send(snapshot(3, flag("a")).replace("{\"type\"", "{\"requestId\":\"${request.text("requestId")}\",\"type\""))
        }
        runBlocking { store.ready(deadline) }
        assertEquals(FlagSource.SERVER, store.source)
        FlagStore(client(options = ClientOptions(onError = errors::add, start = false)), bootstrap = "<html>")
        assertEquals(SavedProblem.NOT_JSON, problems().first().problem)
    }

    @Test
    fun `a bootstrap of very many flags is taken (tc-bootstrap-huge)`() {
        // A million take most of a minute on a busy machine.
        val count = Integer.getInteger("flagent.hugeBootstrap", 100_000)
        val text = buildString {
            append('[')
            for (n in 1..count) append(if (n > 1) "," else "").append("{\"id\":").append(n).append(",\"key\":\"f").append(n).append("\"}")
            append(']')
        }
        val store = FlagStore(client(options = ClientOptions(start = false)), bootstrap = text)
        assertEquals(count, store.size)
        assertEquals(count, store["f$count"]!!.id)
    }

    @Test
    fun `garbage is reported, and the known flags stay (tc-garbage)`() {
        run(files(), flag("a"))
        val store = FlagStore(client(), persistence = files())
        server.acceptWebSocket().run {
            receive()
            for (text in listOf("<html>", "[]", """{"type":7}""", """{"type":"snapshot","flags":{}}""", """{"type":"flag_updated","id":"4-0@k","flag":7}""")) {
                send(text)
                assertTrue(errors.next() is MalformedMessageException)
            }
            assertEquals("a", store.all.single().key)
            assertEquals(StoreStatus.STALE, store.status.value)
            write(ByteArray(1000) { 0x55 })
        }
        assertTrue(errors.next() is ConnectionLostException)
        assertEquals("a", store.all.single().key)
    }

    @Test
    fun `nothing connects before start, and starting twice is once (tc-lazy, tc-start-twice)`() {
        val client = client(options = ClientOptions(onError = errors::add, start = false))
        val store = FlagStore(client)
        assertThrows(OfflineException::class.java) { runBlocking { store.ready(deadline) } }
        assertTrue(server.isLeftAlone())
        assertEquals(ConnectionState.OFFLINE, client.state.value)
        client.start()
        client.start()
        server.acceptWebSocket().receive()
        assertTrue(server.isLeftAlone())
        client.close()
        client.close()
        assertThrows(ClientClosedException::class.java) { client.start() }
    }

    @Test
    fun `offline ends the connection, stores stay readable and are saved, and start resumes (tc-offline)`() {
        val memory = Memory()
        val client = client()
        val store = FlagStore(client, persistence = memory)
        server.acceptWebSocket().run {
            receive()
            send(connected(3, type = "subscribed"))
            send(snapshot(3, flag("a")))
            runBlocking { store.ready(deadline) }
            client.offline()
            awaitEnd()
        }
        eventually("offline") { client.state.value == ConnectionState.OFFLINE }
        assertEquals(StoreStatus.STALE, store.status.value)
        assertEquals("a", store.all.single().key)
        eventually("saved") { memory.saves.get() > 0 }
        assertTrue(server.isLeftAlone())
        // It has been READY.
        runBlocking { store.ready(1.milliseconds) }
        assertThrows(OfflineException::class.java) { evaluating { store.waitFor(9, deadline) } }
        assertThrows(OfflineException::class.java) { evaluating { client.evaluate("a", "e") } }
        client.start()
        server.acceptWebSocket().run {
            assertEquals("3@k", receive().text("lastEventId"))
            send(connected(3, type = "subscribed"))
        }
        eventually("ready again") { store.status.value == StoreStatus.READY }
    }

    @Test
    fun `ready never hangs (tc-ready-never-hangs)`() {
        val redirect = "Location: http://localhost:${server.port}/ws"
        val answers: List<(Peer) -> Unit> = listOf(
            { it.refuse(401) },
            { it.refuse(302, redirect) },
            { it.write("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>") },
        )
        for ((n, answer) in answers.withIndex()) {
            client().use { client ->
                val store = FlagStore(client)
                val answering = thread { repeat(if (n == 1) 6 else 1) { answer(server.accept()) } }
                assertThrows(ConnectionRefusedException::class.java) { runBlocking { store.ready(deadline) } }
                assertEquals(StoreStatus.ERROR, store.status.value)
                answering.join()
            }
        }
        val store = FlagStore(client())
        server.accept()
        val late = assertThrows(NotReadyException::class.java) { runBlocking { store.ready(200.milliseconds) } }
        assertTrue("200ms" in late.message!!)
    }

    @Test
    fun `closed while connecting, nothing is left (tc-close-while-connecting)`() {
        val client = client(options = ClientOptions(connectTimeout = deadline * 2, onError = errors::add))
        FlagStore(client)
        val peer = server.accept()
        val took = measureTime { client.close() }
        assertTrue(took < deadline, "$took")
        peer.awaitEnd()
        assertTrue(server.isLeftAlone())
    }

    @Test
    fun `the store's position, and waiting for one (tc-position, tc-wait-for)`() {
        val store = FlagStore(client())
        assertNull(store.position)
        server.acceptWebSocket().run {
            receive()
            send(connected(3, type = "subscribed"))
            send(snapshot(3, flag("a")))
            runBlocking {
                store.waitFor(3, deadline)
                store.waitFor("3-1@k", deadline)
            }
            assertEquals(3L, store.position)
            val waiting = thread { runBlocking { store.waitFor("5@k", deadline) } }
            send(changed("a", "5-0@k"))
            eventually("one event of the commit") { store.lastEventID == "5-0@k" }
            runBlocking { store.waitFor("5-0@k", deadline) }
            assertTrue(waiting.isAlive)
            assertThrows(NotReadyException::class.java) { evaluating { store.waitFor(5, 50.milliseconds) } }
            send("""{"type":"heartbeat","id":"5@k","position":"5","fresh":true}""")
            waiting.join()
        }
        for (bad in listOf("x", "-1", "5@other")) assertThrows(IllegalArgumentException::class.java) { evaluating { store.waitFor(bad, deadline) } }
    }

    @Test
    fun `a flag without its rules is not evaluated here (tc-reduced-flag)`() {
        val reduced = """{"id":1,"key":"big","enabled":true,"tooLarge":1048577,"segments":[],"variants":[],"dependsOn":[]}"""
        val dependent = """{"id":2,"key":"small","enabled":true,"dependsOn":["big"],"segments":[],"variants":[]}"""
        val store = FlagStore(client(options = ClientOptions(start = false)), bootstrap = "[$reduced,$dependent]")
        assertEquals(1048577, store["big"]!!.tooLarge)
        assertNull(store["small"]!!.tooLarge)
        for (key in listOf("big", "small")) {
            val error = assertThrows(FlagTooLargeException::class.java) { store.evaluate(key, "e") }
            assertTrue("'big' has 1048577 bytes" in error.message!!)
        }
    }

    @Test
    fun `a row that could not be delivered says why (tc-unreadable-row)`() {
        val text = """{"type":"row_updated","id":"4-0@k","schema":"shop","table":"shop.orders","key":{"id":7},"before":null,"after":null,"unreadable":"too_large"}"""
        val event = (MessageDecoder.decodeMessage(text) as Message.Events).events.single()
        assertEquals("too_large", event.unreadable)
        assertEquals("shop.orders", event.table)
        assertEquals(7, event.key!!.int("id"))
        assertNull(event.before)
        assertNull(event.after)
    }

    private companion object {
        const val KILLS = 100
        const val WRITERS = 5
    }
}
