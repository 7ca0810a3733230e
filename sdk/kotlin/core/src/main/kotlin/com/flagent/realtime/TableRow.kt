package com.flagent.realtime

import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.booleanOrNull
import java.math.BigDecimal
import java.math.BigInteger

/**
 * A row of a watched table. Values are `String`, `Boolean`, `null`, `List`, `Map`, and for numbers `Long`, or where that does not hold
 * every digit `BigDecimal`.
 */
public class TableRow internal constructor(
    /** The columns of the key; the whole row where the table has no key. */
    public val key: Map<String, Any?>,
    /** The columns that are published; `null` if the row could not be delivered. */
    public val values: Map<String, Any?>?,
    /** Why the row could not be delivered, such as `too_large`; otherwise `null`. */
    public val unreadable: String? = null,
) {
    /** The value of a column; `null` also if there is none. */
    public operator fun get(column: String): Any? = values?.get(column)

    override fun equals(other: Any?): Boolean = other is TableRow && key == other.key && values == other.values && unreadable == other.unreadable

    override fun hashCode(): Int = key.hashCode()

    override fun toString(): String = "TableRow(key=$key, values=$values)"

    internal companion object {
        fun valuesOf(json: JsonObject): Map<String, Any?> = json.mapValues { value(it.value) }

        private fun value(json: JsonElement): Any? = when (json) {
            is JsonObject -> valuesOf(json)
            is JsonArray -> json.map(::value)
            JsonNull -> null
            is JsonPrimitive -> if (json.isString) json.content else json.booleanOrNull ?: number(json.content)
        }

        // A number beyond what BigDecimal takes, such as 1e9999999999, stays text.
        private fun number(text: String): Any = text.toLongOrNull()?.takeIf { text == it.toString() } ?: text.toBigDecimalOrNull() ?: text

        /** What identifies a row: equal numbers are one, however they are typed or written. */
        fun identity(value: Any?): Any? = when (value) {
            is Int, is Long, is Short, is Byte -> BigDecimal((value as Number).toLong()).stripTrailingZeros()
            is BigInteger -> BigDecimal(value).stripTrailingZeros()
            is BigDecimal -> value.stripTrailingZeros()
            is Double, is Float -> BigDecimal(value.toString()).stripTrailingZeros()
            is Map<*, *> -> value.mapValues { identity(it.value) }
            is List<*> -> value.map(::identity)
            else -> value
        }
    }
}

/** A difference of one row. [before] is `null` for a row that is new in the store, [after] for one that has left it. */
public class RowChange internal constructor(public val before: TableRow?, public val after: TableRow?) {
    /** The columns of the key. */
    public val key: Map<String, Any?> get() = (after ?: before)?.key.orEmpty()

    override fun toString(): String = "RowChange($before -> $after)"
}

/** The columns of a table have changed. With [isRewritten], the rows are read again. */
public class SchemaChange internal constructor(public val table: String, public val isRewritten: Boolean, public val raw: JsonObject) {
    override fun toString(): String = "SchemaChange($table, isRewritten=$isRewritten)"
}
