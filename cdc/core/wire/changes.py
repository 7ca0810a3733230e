"""Pages of the change feed as JSON, in the format of Debezium, and as CloudEvents.

Rows are embedded as text, neither decoded nor encoded again. A page depends only on its changes, so every server gives
the same bytes, and caches may store them.

Sources: Debezium's connector for PostgreSQL, "data change events" and "transaction metadata"; CloudEvents 1.0 with its
JSON format (batch mode) and the extensions `sequence` and `partitionkey`.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from ..change_feed.logged_change import ChangePage, LoggedChange
from ..flags.flag_tables import TABLES
from ..log.captured_table import CapturedTable
from ..log.change import Op
from ..log.position import Position
from ..log.row_text import RowText, changed_columns
from ..log.table_name import qualified
from ..text.exact_json import members
from ..text.json_text import encode

__all__ = ["ChangeFormat", "content_type", "page_text", "snapshot_tail"]

# Debezium's connector whose fields these are, and the name of the source.
_CONNECTOR = "postgresql"
_NAME = "flagent-cdc"

_DEBEZIUM_OPS = {Op.INSERT: "c", Op.UPDATE: "u", Op.DELETE: "d", Op.TRUNCATE: "t"}

_TYPES = {
    Op.INSERT: "row_inserted",
    Op.UPDATE: "row_updated",
    Op.DELETE: "row_deleted",
    Op.TRUNCATE: "table_truncated",
    Op.SCHEMA: "schema_changed",
}

# An lsn has the position in the high bits and the index of the change in the low bits, so it grows with every change.
_INDEX_BITS = 24
_MAX_INDEX = (1 << _INDEX_BITS) - 1


class ChangeFormat(StrEnum):
    """The formats of a page."""

    JSON = "json"
    DEBEZIUM = "debezium"
    CLOUDEVENTS = "cloudevents"


def content_type(format: ChangeFormat) -> str:
    """The media type of a page."""
    if format is ChangeFormat.CLOUDEVENTS:
        return "application/cloudevents-batch+json; charset=utf-8"
    return "application/json"


def page_text(format: ChangeFormat, page: ChangePage, version: str) -> str:
    """The body of a page; `version` is that of the server, for Debezium's `source`."""
    changes = [change.readable() for change in page.changes]
    if format is ChangeFormat.CLOUDEVENTS:
        return f"[{','.join(_cloud_event(change, page) for change in changes)}]"
    if format is ChangeFormat.DEBEZIUM:
        items: Iterable[str] = (
            envelope for change in changes for envelope in _envelopes(change, page.database, version)
        )
    else:
        items = (_change(change, page) for change in changes)
    return f'{{"changes":[{",".join(items)}],"next":"{page.next}","isOpen":{"true" if page.is_open else "false"}}}'


def _change(change: LoggedChange, page: ChangePage) -> str:
    head: dict[str, Any] = {
        "cursor": str(change.cursor(page.next.log, page.seen)),
        "position": str(change.position),
        "index": change.index,
        "count": change.count,
        "committedAt": change.committed_at,
        "transactionId": str(change.xid),
        "user": change.user,
        "application": change.application,
        "schema": change.schema,
        "table": qualified(change.schema, change.table),
        "op": str(change.op),
    }
    if change.has_sequence:
        head["sequence"] = str(change.index)
    if change.op is Op.SCHEMA:
        return encode({**head, "key": None, "changed": [], **change.schema_change.to_json()})
    moved = "" if change.moved is None else f',"moved":"{change.moved}"'
    return f'{encode(head)[:-1]},{_rows(change)},"changed":{encode(_changed(change))}{moved}{_unreadable(change)}}}'


def _unreadable(change: LoggedChange) -> str:
    return "" if change.unreadable is None else f',"unreadable":"{change.unreadable}"'


def _rows(change: LoggedChange) -> str:
    key = _key(change)
    return f'"key":{key or "null"},"before":{change.before or "null"},"after":{change.after or "null"}'


def _key(change: LoggedChange) -> str | None:
    """The key of the row after the change, or before a deletion; the change log omits the key of Flagent's tables."""
    text = change.after or change.before
    if change.key is None and change.table in TABLES and text is not None:
        row = RowText(text).row
        return encode({"id": row["id"]}) if "id" in row else None
    return change.key


def _changed(change: LoggedChange) -> list[str]:
    """The columns that an update changed."""
    if change.before is None or change.after is None:
        return []
    return changed_columns(RowText(change.before), RowText(change.after))


# -- Debezium ----------------------------------------------------------------------------------------------------------


def _envelopes(change: LoggedChange, database: str, version: str) -> list[str]:
    """One record, or, as in Debezium, two if the key of the row changed: a deletion and a creation."""
    # Where a change has a sequence, it orders the changes of a row, as an address in the WAL does.
    lsn = change.index if change.has_sequence else change.position << _INDEX_BITS | min(change.index, _MAX_INDEX)
    place = (change.schema, change.table, change.xid)
    source = _source(place, change.position, lsn, change.committed_at, database, version, snapshot="false")
    transaction = {
        "id": f"{change.xid}:{change.position << _INDEX_BITS}",
        "total_order": change.index,
        "data_collection_order": change.index,
    }

    def record(op: str, key: str | None, before: str | None, after: str | None) -> str:
        rows = f'"before":{before or "null"},"after":{after or "null"}{_unreadable(change)}'
        return _record(op, key, rows, source, encode(transaction), change.committed_at)

    if change.op is Op.SCHEMA:
        return [_schema_record(change, source, database)]
    key = _key(change)
    previous = _previous_key(change, key)
    if previous is not None:
        return [record("d", previous, change.before, None), record("c", key, None, change.after)]
    return [record(_DEBEZIUM_OPS[change.op], key, change.before, change.after)]


def _schema_record(change: LoggedChange, source: str, database: str) -> str:
    """A message of Debezium's schema change topic; its key is the database. PostgreSQL has no text of the command."""
    schema = change.schema_change
    columns = [
        {"name": column.name, "typeName": column.type, "position": place}
        for place, column in enumerate(schema.after, 1)
    ]
    table = f"{_quoted(database)}.{_quoted(change.schema)}.{_quoted(change.table)}"
    altered = [{"type": "ALTER", "id": table, "table": {"columns": columns}}]
    ms, _, _ = _epoch(change.committed_at)
    members = encode(
        {
            "ts_ms": ms,
            "databaseName": database,
            "schemaName": change.schema,
            "ddl": None,
            "tableChanges": altered,
            "rewritten": schema.rewritten,
        }
    )
    return f'{{"key":{encode({"databaseName": database})},"value":{{"source":{source},{members[1:]}}}'


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _previous_key(change: LoggedChange, key: str | None) -> str | None:
    """The key before an update that changed it; else None."""
    if change.op is not Op.UPDATE or key is None:
        return None
    if change.before is None:
        return None
    before, now = RowText(change.before).row, RowText(key).row
    if any(name not in before for name in now) or all(before[name] == value for name, value in now.items()):
        return None
    texts = members(change.before)
    return f"{{{','.join(f'{encode(name)}:{texts[name]}' for name in now)}}}"


def snapshot_tail(table: CapturedTable, position: Position, at: str, database: str, version: str) -> str:
    """The end of Debezium's record of a row that was read, not changed; the same for all rows read at one position.

    It follows `{"key":…,"value":{"before":null,"after":…`.
    """
    # No single sequence says which changes the rows include; 0 is below all of them.
    lsn = 0 if table.lane.is_polled else position << _INDEX_BITS
    source = _source((table.schema, table.table, None), position, lsn, at, database, version, snapshot="true")
    return _tail("r", source, "null", at)


def _record(op: str, key: str | None, rows: str, source: str, transaction: str, at: str) -> str:
    return f'{{"key":{key or "null"},"value":{{{rows}{_tail(op, source, transaction, at)}'


def _tail(op: str, source: str, transaction: str, at: str) -> str:
    # Debezium gives the time at which it read the change. A page may be cached, so it gives the time of the commit.
    ms, us, ns = _epoch(at)
    return f',"source":{source},"transaction":{transaction},"op":"{op}","ts_ms":{ms},"ts_us":{us},"ts_ns":{ns}}}}}'


def _source(
    place: tuple[str, str, int | None],
    position: Position,
    lsn: int,
    at: str,
    database: str,
    version: str,
    *,
    snapshot: str,
) -> str:
    schema, table, xid = place
    ms, us, ns = _epoch(at)
    source = {
        "version": version,
        "connector": _CONNECTOR,
        "name": _NAME,
        "ts_ms": ms,
        "snapshot": snapshot,
        "db": database,
        "sequence": json.dumps([str(position << _INDEX_BITS), str(lsn)], separators=(",", ":")),
        "ts_us": us,
        "ts_ns": ns,
        "schema": schema,
        "table": table,
        "txId": xid,
        "lsn": lsn,
        "xmin": None,
    }
    return encode(source)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _epoch(text: str) -> tuple[int, int, int]:
    """Milliseconds, microseconds and nanoseconds since 1970."""
    since = datetime.fromisoformat(text) - _EPOCH
    us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return us // 1000, us, us * 1000


# -- CloudEvents -------------------------------------------------------------------------------------------------------


def _cloud_event(change: LoggedChange, page: ChangePage) -> str:
    log = page.next.log
    head = {
        "specversion": "1.0",
        "id": str(change.cursor(log)),
        "source": f"/flagent-cdc/{log}",
        "type": f"flagent_cdc.{_TYPES[change.op]}",
        "subject": qualified(change.schema, change.table),
        "time": change.committed_at,
        "datacontenttype": "application/json",
        "sequence": f"{change.position:019d}.{change.index:0{19 if change.has_sequence else 9}d}",
    }
    key = _key(change)
    if key is not None:
        head["partitionkey"] = key
    return f'{encode(head)[:-1]},"data":{_change(change, page)}}}'
