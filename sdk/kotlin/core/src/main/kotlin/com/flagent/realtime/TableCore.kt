package com.flagent.realtime

import kotlinx.serialization.json.JsonObject
import java.math.BigInteger

/** What a message means for the connection of a [TableStore]. */
internal enum class TableStep { GO_ON, RELOAD, TOO_MANY }

/** What one message changed, and what follows. */
internal class TableUpdate(
    val changes: List<RowChange> = emptyList(),
    val step: TableStep = TableStep.GO_ON,
    val schemaChange: SchemaChange? = null,
    val unreadable: List<TableRow> = emptyList(),
)

/**
 * The state machine of a store of rows: messages in, changes and what to do out. Pure. After RELOAD the caller connects without
 * an id; after TOO_MANY it ends. Not synchronized.
 */
internal class TableCore(private val maxRows: Int) {
    private class Entry(var row: TableRow, var count: Int)

    private var rows = LinkedHashMap<Any?, Entry>()

    // The rows of a read that has not ended; the former ones stay readable.
    private var incoming: LinkedHashMap<Any?, Entry>? = null
    private val cursor = Cursor()
    private var head: BigInteger? = null
    private var hasRows = false
    private var isConnected = false
    private var isFresh = true
    private var isBehind = false

    val lastEventID: String? get() = cursor.id
    val position: BigInteger? get() = cursor.position
    val size: Int get() = rows.values.sumOf { it.count }
    val status: StoreStatus
        get() = when {
            !hasRows -> StoreStatus.INITIALIZING
            isConnected && isFresh && !isBehind && incoming == null -> StoreStatus.READY
            else -> StoreStatus.STALE
        }

    fun rows(): List<TableRow> = rows.values.flatMap { entry -> List(entry.count) { entry.row } }

    /** [key] is the value of a key of one column, or the columns by name. */
    fun find(key: Any?): TableRow? {
        val columns = (key as? Map<*, *>) ?: rows.values.firstOrNull()?.row?.key?.keys?.singleOrNull()?.let { mapOf(it to key) }
        return columns?.let { rows[TableRow.identity(it)]?.row }
    }

    /** A connection opens, resumed by [lastEventID] or, without one, with the rows. */
    fun opening() {
        incoming = if (cursor.id == null) LinkedHashMap() else null
    }

    fun connectionLost() {
        isConnected = false
    }

    fun receive(message: Message): TableUpdate = when (message) {
        is Message.Connected -> {
            isConnected = true
            isFresh = message.fresh ?: true
            head = message.position?.toBigIntegerOrNull()
            isBehind = incoming == null
            checkHead()
            TableUpdate()
        }
        is Message.Heartbeat -> {
            message.fresh?.let { isFresh = it }
            if (message.fresh == true) isBehind = false
            // Before rows_end an id would resume without the rest of the rows.
            if (incoming == null) cursor.advance(message.id)
            TableUpdate()
        }
        is Message.IdUpdate -> {
            if (incoming == null) cursor.advance(message.id)
            checkHead()
            TableUpdate()
        }
        is Message.TableRows -> onRows(message)
        is Message.RowsEnd -> onRowsEnd(message)
        is Message.Events -> onEvents(message.events)
        is Message.Resync -> reload()
        else -> TableUpdate()
    }

    private fun onRows(message: Message.TableRows): TableUpdate {
        val target = incoming ?: return TableUpdate()
        val unreadable = mutableListOf<TableRow>()
        for (json in message.rows) {
            val row = rowOf(json.obj("key"), json.obj("row"), json.text("unreadable"))
            if (row.unreadable != null) unreadable += row
            put(target, row)
        }
        return TableUpdate(step = if (isTooLarge(target)) TableStep.TOO_MANY else TableStep.GO_ON, unreadable = unreadable)
    }

    private fun onRowsEnd(message: Message.RowsEnd): TableUpdate {
        val target = incoming ?: return TableUpdate()
        val before = rows
        rows = target
        incoming = null
        hasRows = true
        isBehind = false
        cursor.replace(message.id)
        val gone = before.filterKeys { it !in target }.values.map { RowChange(it.row, null) }
        val news = target.mapNotNull { (identity, entry) ->
            val former = before[identity]?.row
            if (former == entry.row) null else RowChange(former, entry.row)
        }
        return TableUpdate(gone + news)
    }

    private fun onEvents(events: List<FlagentEvent>): TableUpdate {
        val changes = mutableListOf<RowChange>()
        val unreadable = mutableListOf<TableRow>()
        var schemaChange: SchemaChange? = null
        for (event in events) {
            val id = event.id
            if (id != null && cursor.covers(id)) continue
            if (event.typeName == "schema_changed") {
                schemaChange = SchemaChange(event.table.orEmpty(), event.raw.bool("rewritten") ?: false, event.raw)
            } else {
                changes += apply(event, unreadable)
            }
            if (id != null && incoming == null) cursor.advance(id)
            if (schemaChange?.isRewritten == true) return TableUpdate(changes, reload().step, schemaChange, unreadable)
        }
        checkHead()
        val step = if (isTooLarge(incoming ?: rows)) TableStep.TOO_MANY else TableStep.GO_ON
        return TableUpdate(changes, step, schemaChange, unreadable)
    }

    private fun apply(event: FlagentEvent, unreadable: MutableList<TableRow>): List<RowChange> {
        val target = incoming ?: rows
        val changes = when (event.type) {
            EventType.TABLE_TRUNCATED -> target.values.map { RowChange(it.row, null) }.also { target.clear() }
            EventType.ROW_INSERTED, EventType.ROW_UPDATED, EventType.ROW_DELETED -> {
                val after = if (event.type === EventType.ROW_DELETED) null else rowOf(event.key, event.after, event.unreadable)
                if (after?.unreadable != null) unreadable += after
                replace(target, former(event), after)
            }
            else -> emptyList()
        }
        return if (target === rows) changes else emptyList()
    }

    /** The identity of the row before the change: of the former key, where an update has changed it. */
    private fun former(event: FlagentEvent): Any? {
        if (event.type === EventType.ROW_INSERTED) return TableRow.identity(event.key?.let(TableRow::valuesOf))
        val key = event.key ?: return event.before?.let { TableRow.identity(TableRow.valuesOf(it)) }
        val before = event.before
        val columns = if (before != null && key.keys.all { it in before }) JsonObject(key.keys.associateWith(before::getValue)) else key
        return TableRow.identity(TableRow.valuesOf(columns))
    }

    private fun replace(target: LinkedHashMap<Any?, Entry>, former: Any?, after: TableRow?): List<RowChange> {
        val before = former?.let { target[it] }
        val old = before?.row
        if (before != null && (after == null || TableRow.identity(after.key) != former)) take(target, former, before)
        if (after == null) return if (old == null) emptyList() else listOf(RowChange(old, null))
        put(target, after)
        return if (old == after) emptyList() else listOf(RowChange(old, after))
    }

    private fun take(target: LinkedHashMap<Any?, Entry>, identity: Any?, entry: Entry) {
        if (--entry.count == 0) target.remove(identity)
    }

    private fun put(target: LinkedHashMap<Any?, Entry>, row: TableRow) {
        val identity = TableRow.identity(row.key)
        val present = target[identity]
        when {
            present == null -> target[identity] = Entry(row, 1)
            // Without a key, equal rows are counted.
            row.key == row.values -> present.count++
            else -> present.row = row
        }
    }

    private fun rowOf(key: JsonObject?, row: JsonObject?, unreadable: String?): TableRow {
        val values = row?.let(TableRow::valuesOf)
        return TableRow(key?.let(TableRow::valuesOf) ?: values.orEmpty(), values, unreadable)
    }

    private fun isTooLarge(target: Map<Any?, Entry>) = target.size > maxRows

    private fun reload(): TableUpdate {
        cursor.replace(null)
        return TableUpdate(step = TableStep.RELOAD)
    }

    private fun checkHead() {
        val target = head ?: return
        if (cursor.position?.let { it >= target } == true) isBehind = false
    }
}
