package com.flagent.realtime.future

import com.flagent.realtime.RealtimeClient
import com.flagent.realtime.RowChange
import com.flagent.realtime.StoreStatus
import com.flagent.realtime.Subscription
import com.flagent.realtime.TableRow
import com.flagent.realtime.TableStore
import java.util.concurrent.CompletableFuture
import java.util.concurrent.TimeUnit
import java.util.function.Consumer

/** Makes a [TableRows]. */
public class TableBuilder internal constructor(private val client: RealtimeClient, private val table: String) {
    private var where: String? = null
    private var params: List<Any?> = emptyList()
    private var columns: List<String> = emptyList()
    private var maxRows = 100_000

    /** A condition in SQL; `$1`, `$2` … stand for [params]. */
    public fun where(condition: String, vararg params: Any?): TableBuilder {
        where = condition
        this.params = params.toList()
        return this
    }

    public fun columns(vararg names: String): TableBuilder {
        columns = names.toList()
        return this
    }

    public fun maxRows(rows: Int): TableBuilder {
        maxRows = rows
        return this
    }

    public fun build(): TableRows = TableRows(client, TableStore(client, table, where, params, columns, maxRows))
}

/** A [TableStore] for code that does not suspend. */
public class TableRows internal constructor(private val client: RealtimeClient, public val store: TableStore) : AutoCloseable {
    public val status: StoreStatus get() = store.status.value

    /** The rows at this moment. */
    public val all: List<TableRow> get() = store.rows

    /** The row with this key, or `null`. */
    public fun get(key: Any?): TableRow? = store[key]

    /** Completes when the store has been READY for the first time; see [TableStore.ready]. */
    public fun ready(timeout: Long, unit: TimeUnit): CompletableFuture<Void?> = client.future {
        store.ready(duration(timeout, unit))
        null
    }

    /** Calls [listener] with every change, one at a time and in order. */
    public fun onChange(listener: Consumer<RowChange>): Subscription = store.onChange { listener.accept(it) }

    override fun close(): Unit = store.close()
}
