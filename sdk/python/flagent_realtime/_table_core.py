"""The state machine of a live copy of a table's rows, without I/O or clock.

Input is the messages of a stream that selects one table, in the WebSocket's form; output is the changes, and what the
shell must do next. Rows are collected until ``rows_end``, and then replace what is held.

Call contract: after a :class:`TableUpdate` with ``reload`` the shell opens a new connection without an id; after one
with ``failure`` it ends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ._event_id import Cursor
from ._store_core import StoreStatus

Row = Mapping[str, Any]

RETRIED = ("too_busy", "too_slow", "database_unavailable", "not_ready")


@dataclass(frozen=True)
class RowChange:
    """How a row changed: ``before`` is ``None`` for a new row, ``after`` for one that is gone."""

    key: Row | None
    before: Row | None
    after: Row | None


@dataclass(frozen=True)
class Entry:
    """A held row; *row* is ``None`` where its values could not be delivered. *count* is 1 in a table with a key."""

    key: Row | None
    row: Row | None
    count: int = 1


@dataclass
class TableUpdate:
    """What one message did, and what the shell must do."""

    changes: list[RowChange] = field(default_factory=list)
    reload: str | None = None
    retry: str | None = None
    failure: str | None = None
    unreadable: str | None = None
    schema_change: Row | None = None


class TableCore:
    """The rows of one table, at most *max_rows*."""

    def __init__(self, table: str, max_rows: int) -> None:
        self.table = table
        self.status = StoreStatus.INITIALIZING
        self.cursor = Cursor()
        self.entries: dict[str, Entry] = {}
        self._max_rows = max_rows
        self._collected: dict[str, Entry] | None = None
        self._is_connected = False
        self._is_fresh = False
        self._was_complete = False

    @property
    def resume_id(self) -> str | None:
        """Where a new connection resumes; ``None``: it begins again."""
        return self.cursor.id if self._was_complete else None

    def connection_lost(self) -> None:
        """The connection ended. Rows that were not complete are collected again."""
        self._is_connected, self._collected = False, None
        self._update_status()

    def reload(self) -> None:
        """Begin again with the next connection; the rows stay readable."""
        self._was_complete = False
        self._update_status()

    def end(self, status: StoreStatus) -> None:
        """ERROR or CLOSED: later messages are ignored."""
        if self.status is not StoreStatus.CLOSED:
            self.status = status

    def receive(self, message: Mapping[str, Any]) -> TableUpdate:
        """Apply one message; a malformed one changes nothing."""
        update = TableUpdate()
        if self.status in (StoreStatus.ERROR, StoreStatus.CLOSED):
            return update
        kind = message.get("type")
        if kind in ("connected", "heartbeat"):
            self._is_connected = True
            self._is_fresh = message.get("fresh") is not False
            if kind == "connected" and self.resume_id is None:
                self._collected = {}
            self._advance(message)
        elif kind == "position":
            self._advance(message)
        elif kind == "rows":
            self._rows(message, update)
        elif kind == "rows_end":
            self._rows_end(message, update)
        elif kind == "resync":
            update.reload = f"the server could not replay ({message.get('reason')})"
        elif kind == "backfill_failed":
            text = f"table {self.table}: {message.get('code')}: {message.get('message')}"
            if message.get("code") in RETRIED:
                update.retry = text
            else:
                update.failure = text
        elif kind == "schema_changed":
            update.schema_change = message
            if message.get("rewritten") is True:
                update.reload = "the table was rewritten"
            self._advance(message)
        elif kind == "batch" and isinstance(message.get("events"), list):
            for event in message["events"]:
                if isinstance(event, dict):
                    self._event(event, update)
        elif isinstance(kind, str):
            self._event(message, update)
        self._update_status()
        return update

    def _rows(self, message: Mapping[str, Any], update: TableUpdate) -> None:
        if self._collected is None:
            self._collected = {}
        items = message.get("rows")
        for item in items if isinstance(items, list) else []:
            if isinstance(item, dict):
                self._put(self._collected, item.get("key"), item.get("row"), update)
                if "unreadable" in item:
                    update.unreadable = f"a row of {self.table} has no values ({item['unreadable']}): {item.get('key')}"

    def _rows_end(self, message: Mapping[str, Any], update: TableUpdate) -> None:
        old, self.entries = self.entries, self._collected or {}
        self._collected = None
        self._was_complete = True
        event_id = message.get("id")
        self.cursor.replace(event_id if isinstance(event_id, str) else None)
        for name, entry in old.items():
            if name not in self.entries:
                update.changes.append(RowChange(entry.key, entry.row, None))
        for name, entry in self.entries.items():
            before = old.get(name)
            if before != entry:
                update.changes.append(RowChange(entry.key, None if before is None else before.row, entry.row))

    def _event(self, message: Mapping[str, Any], update: TableUpdate) -> None:
        kind, event_id = message.get("type"), message.get("id")
        if kind not in ("row_inserted", "row_updated", "row_deleted", "table_truncated"):
            return
        if isinstance(event_id, str) and self.cursor.covers(event_id):
            return
        is_collecting = self._collected is not None
        held = self.entries if self._collected is None else self._collected
        changes: list[RowChange] = []
        if kind == "table_truncated":
            changes += [RowChange(entry.key, entry.row, None) for entry in held.values()]
            held.clear()
        else:
            self._change(held, kind, message, changes, update)
        if not is_collecting:
            update.changes += changes
            if isinstance(event_id, str):
                self.cursor.replace(event_id)

    def _change(
        self,
        held: dict[str, Entry],
        kind: str,
        message: Mapping[str, Any],
        changes: list[RowChange],
        update: TableUpdate,
    ) -> None:
        key, before, after = message.get("key"), message.get("before"), message.get("after")
        old: Row | None = None
        if kind != "row_inserted":
            name = _name(key, before)
            if isinstance(key, dict) and isinstance(before, dict):
                # An update that changes the key: the old row is under the old one.
                name = _name({column: before.get(column, value) for column, value in key.items()}, before)
            removed = held.get(name)
            old = None if removed is None else removed.row
            if removed is not None and removed.count > 1:
                held[name] = Entry(removed.key, removed.row, removed.count - 1)
            elif removed is not None:
                del held[name]
        unreadable = message.get("unreadable")
        if unreadable is not None:
            update.unreadable = f"a row of {self.table} has no values ({unreadable}): {key}"
        if kind != "row_deleted" and (isinstance(after, dict) or unreadable is not None):
            present = held.get(_name(key, after))
            if old is None and present is not None and key is not None:
                old = present.row
            self._put(held, key, after, update)
            changes.append(RowChange(key, old, after))
        elif kind == "row_deleted":
            changes.append(RowChange(key, old if old is not None else before, None))

    def _put(self, held: dict[str, Entry], key: Any, row: Any, update: TableUpdate) -> None:
        name = _name(key, row)
        same = held.get(name)
        held[name] = Entry(key, row, same.count + 1 if same is not None and key is None else 1)
        if len(held) > self._max_rows:
            update.failure = f"table {self.table} has more than {self._max_rows} rows; narrow it by where, or max_rows"

    def _advance(self, message: Mapping[str, Any]) -> None:
        event_id = message.get("id")
        is_ours = isinstance(event_id, str) and self._was_complete and not self.cursor.is_other_log(event_id)
        # On a connection that resumes, `connected` names the position at which the replay will end.
        if is_ours and message.get("type") != "connected":
            self.cursor.advance(str(event_id))

    def _update_status(self) -> None:
        if self.status in (StoreStatus.ERROR, StoreStatus.CLOSED):
            return
        if self._is_connected and self._is_fresh and self._was_complete and self._collected is None:
            self.status = StoreStatus.READY
        elif self.status is not StoreStatus.INITIALIZING:
            self.status = StoreStatus.STALE


def _name(key: Any, row: Any) -> str:
    """What identifies a row: its key, or the whole row of a table without one."""
    return row_name(key if isinstance(key, dict) else row)


def row_name(value: object) -> str:
    """Canonical text of a key or a row; numbers count by their digits."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_digits)


def _digits(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"a key has a value of type {type(value).__name__}")


def key_of(given: object, columns: Sequence[str]) -> dict[str, Any]:
    """A caller's key as an object: a value for a key of one column, or the columns by name."""
    if isinstance(given, Mapping):
        return dict(given)
    if len(columns) != 1:
        raise ValueError(f"the key has the columns {', '.join(columns) or '(none)'}; pass them by name")
    return {columns[0]: given}
