package com.flagent.realtime

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.Job
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext
import kotlinx.coroutines.withTimeoutOrNull
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.addJsonObject
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import kotlinx.serialization.json.putJsonArray
import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds

/**
 * A live local copy of the rows of a watched table that a filter selects, on a connection of its own to the client's server. It ends with the
 * client, or by [close].
 *
 * @param table with its schema, such as `shop.orders`.
 * @param where a condition in SQL, `null` = every row; `$1`, `$2` … stand for [params].
 * @param params strings, numbers, booleans, `null`.
 * @param columns of the rows; empty = all that are published.
 * @param maxRows more rows end the store with ERROR.
 */
public class TableStore @JvmOverloads constructor(
    private val client: RealtimeClient,
    private val table: String,
    private val where: String? = null,
    private val params: List<Any?> = emptyList(),
    private val columns: List<String> = emptyList(),
    private val maxRows: Int = 100_000,
) : AutoCloseable {
    private val core = TableCore(maxRows)
    private val http = SharedEngine(client.options.engine, client.options.connectTimeout)
    private val listeners = Listeners<RowChange>(client::report)
    private val schemaListeners = Listeners<SchemaChange>(client::report)
    private val visible = MutableStateFlow(StoreStatus.INITIALIZING)
    private val firstReady = CompletableDeferred<Unit>()
    @Volatile
    private var end: StoreStatus? = null

    @Volatile
    private var lastError: FlagentException? = null
    private val following: Job

    init {
        require(table.isNotEmpty()) { "table is empty; name a watched table, such as shop.orders." }
        require(maxRows > 0) { "maxRows is $maxRows; it must be positive." }
        params.forEach(::jsonOf)
        following = client.launchFollower(::follow)
        following.invokeOnCompletion {
            http.close()
            // Not after an error, which stays.
            if (end == null) finish(StoreStatus.CLOSED, ClientClosedException())
        }
    }

    /** How far the rows can be trusted; see [StoreStatus]. */
    public val status: StateFlow<StoreStatus> = visible.asStateFlow()

    /** The rows at this moment. */
    public val rows: List<TableRow> get() = synchronized(core) { core.rows() }

    public val size: Int get() = synchronized(core) { core.size }

    /** The position in the change log up to which the rows are complete; `null` before there are any. */
    public val position: Long? get() = synchronized(core) { core.position }?.toString()?.toLongOrNull()

    /** The row with this key, or `null`. [key] is the value of the key's column, or a map of its columns. */
    public operator fun get(key: Any?): TableRow? = synchronized(core) { core.find(key) }

    /** Calls [listener] with every change, in order. A slow listener delays the store. */
    public fun onChange(listener: suspend (RowChange) -> Unit): Subscription = listeners.add(listener)

    /** Calls [listener] when the table's columns have changed. */
    public fun onSchemaChange(listener: suspend (SchemaChange) -> Unit): Subscription = schemaListeners.add(listener)

    /**
     * Returns when the store has been READY for the first time. Raises [NotReadyException] after [timeout], [TableFailedException] and
     * [ConnectionRefusedException] in ERROR, [ClientClosedException] if the store or its client is closed.
     */
    public suspend fun ready(timeout: Duration = Duration.INFINITE) {
        if (firstReady.isCompleted) return firstReady.await()
        if (!client.online.value) throw OfflineException()
        withTimeoutOrNull(timeout) { firstReady.await() } ?: throw NotReadyException(
            "The store of $table is ${status.value} after $timeout.${lastError?.let { " ${it.message}" }.orEmpty()}",
            lastError,
        )
    }

    /** Ends the connection; the rows stay readable. Idempotent. */
    override fun close() {
        following.cancel()
        finish(StoreStatus.CLOSED, ClientClosedException())
        runBlocking { withTimeoutOrNull(CLOSE_LIMIT) { following.join() } }
    }

    private fun finish(status: StoreStatus, error: FlagentException) {
        synchronized(core) {
            if (end == StoreStatus.CLOSED || (end == StoreStatus.ERROR && status == StoreStatus.ERROR)) return
            end = status
            visible.value = status
        }
        firstReady.completeExceptionally(error)
    }

    private fun publish() = synchronized(core) {
        if (end == null) visible.value = core.status
        if (visible.value == StoreStatus.READY) firstReady.complete(Unit)
    }

    private suspend fun follow() {
        val backoff = Backoff(client.reconnect) { kotlin.random.Random.nextDouble() }
        val start = client.time.markNow()
        while (end == null) {
            client.online.first { it }
            var failure: ConnectionFailure? = null
            try {
                connect(start::elapsedNow) { backoff.onMessage(start.elapsedNow()) }
            } catch (e: ConnectionFailure) {
                failure = e
            }
            synchronized(core) { core.connectionLost() }
            publish()
            if (failure == null) continue
            lastError = failure.error
            client.report(failure.error)
            if (failure.isFatal) return finish(StoreStatus.ERROR, failure.error)
            val wait = backoff.onLost(start.elapsedNow(), failure.retryAfter, feedsStore = true)
                ?: return finish(StoreStatus.ERROR, ReconnectExhaustedException(backoff.attempt - 1, failure.error))
            delay(wait)
        }
    }

    /** Returns when the connection must be replaced at once. Raises [ConnectionFailure]. */
    private suspend fun connect(now: () -> Duration, onMessage: () -> Unit) {
        synchronized(core) { core.opening() }
        var connection: Connection? = null
        try {
            withTimeoutOrNull(client.options.connectTimeout) { connection = open(core.lastEventID) }
            val opened = connection ?: throw lost("No connection within ${client.options.connectTimeout}.")
            coroutineScope {
                val offline = launch {
                    client.online.first { !it }
                    opened.close()
                }
                try {
                    read(opened, now, onMessage)
                } finally {
                    offline.cancel()
                }
            }
        } catch (e: ConnectionFailure) {
            if (client.online.value) throw e
        } finally {
            withContext(NonCancellable) { connection?.close() }
        }
    }

    /** Returns when the rows must be read again. */
    private suspend fun read(connection: Connection, now: () -> Duration, onMessage: () -> Unit) {
        val liveness = Liveness()
        while (true) {
            val messages = withTimeoutOrNull(liveness.silenceLimit) { connection.receive() }
                ?: throw lost("No data from the server for ${liveness.silenceLimit}.")
            for (message in messages) {
                onMessage()
                if (message is Message.Connected) liveness.onConnected(message.heartbeat)
                if (message is Message.Heartbeat) liveness.onHeartbeat(now())
                if (!receive(message)) return
            }
        }
    }

    /** False if the rows must be read again. */
    private suspend fun receive(message: Message): Boolean {
        when (message) {
            is Message.BackfillFailed -> throw failed(message.code, message.text)
            is Message.ErrorMessage -> throw failed(message.code, message.text)
            is Message.Malformed -> client.report(MalformedMessageException(message.reason))
            else -> Unit
        }
        val update = synchronized(core) { core.receive(message) }
        publish()
        if (update.step == TableStep.TOO_MANY) throw failed("too_many_rows", "It has more than $maxRows rows; select less with where, or raise maxRows.")
        for (row in update.unreadable) client.report(MalformedMessageException("The row ${row.key} of $table could not be delivered: ${row.unreadable}."))
        listeners.notify(update.changes)
        schemaListeners.notify(listOfNotNull(update.schemaChange))
        return update.step != TableStep.RELOAD
    }

    private fun failed(code: String, text: String): ConnectionFailure {
        val message = "The rows of $table cannot be followed: $code. $text".trimEnd()
        return if (code in RETRIED) ConnectionFailure(ConnectionLostException(message)) else ConnectionFailure(TableFailedException(code, message), isFatal = true)
    }

    private fun lost(reason: String) = ConnectionFailure(ConnectionLostException(reason))

    private suspend fun open(lastEventID: String?): Connection {
        val endpoint = client.endpoint
        val limit = client.options.maxMessageBytes
        return try {
            if (endpoint.isWebSocket) {
                WebSocketTransport(endpoint.url, endpoint.keys, http, limit).open(listOf(subscribeMessage(lastEventID)))
            } else {
                SseTransport(endpoint.eventStream(), endpoint.keys, http, limit).open(query(lastEventID == null), lastEventID)
            }
        } catch (e: IllegalStateException) {
            // No engine on the class path, or the client is closed.
            throw ConnectionFailure(ConnectionLostException("Connecting failed: ${e.message}", cause = e), isFatal = true)
        }
    }

    private fun query(withRows: Boolean): List<Pair<String, String>> = buildList {
        add("table" to table)
        where?.let { add("where" to it) }
        for (param in params) add("param" to ((param as? String) ?: jsonOf(param).toString()))
        if (columns.isNotEmpty()) add("columns" to columns.joinToString(","))
        if (withRows) add("snapshot" to "true")
        add("envelope" to "true")
    }

    private fun subscribeMessage(lastEventID: String?): JsonObject = buildJsonObject {
        put("type", "subscribe")
        putJsonArray("tables") {
            if (where == null && params.isEmpty() && columns.isEmpty()) {
                add(JsonPrimitive(table))
            } else {
                addJsonObject {
                    put("name", table)
                    where?.let { put("where", it) }
                    if (params.isNotEmpty()) putJsonArray("params") { params.forEach { add(jsonOf(it)) } }
                    if (columns.isNotEmpty()) putJsonArray("columns") { columns.forEach { add(JsonPrimitive(it)) } }
                }
            }
        }
        if (lastEventID == null) put("snapshot", true) else put("lastEventId", lastEventID)
    }

    private fun jsonOf(param: Any?): JsonElement = when (param) {
        null -> JsonNull
        is String -> JsonPrimitive(param)
        is Number -> JsonPrimitive(param)
        is Boolean -> JsonPrimitive(param)
        else -> throw IllegalArgumentException("A parameter is a ${param.javaClass.name}; it must be a string, a number, a boolean or null.")
    }

    private companion object {
        val RETRIED = setOf("too_busy", "too_slow", "database_unavailable", "not_ready")
        val CLOSE_LIMIT = 2.seconds
    }
}
