"""The event of a changed row of a watched table, or of its changed columns."""

from collections.abc import Mapping
from typing import Any

from ..log.change import Change, Commit, Op
from ..log.position import EventId
from ..log.row_text import MAX_DELIVERED, RowText, Unreadable, changed_columns, readable_key, why_unreadable
from ..log.schema_change import SchemaChange
from ..log.table_name import qualified
from ..text.exact_json import JsonText, on_one_line
from .events import Event, EventType, RowImages

__all__ = ["row_event"]

_ROW_EVENTS = {
    Op.INSERT: EventType.ROW_INSERTED,
    Op.UPDATE: EventType.ROW_UPDATED,
    Op.DELETE: EventType.ROW_DELETED,
    Op.TRUNCATE: EventType.TABLE_TRUNCATED,
    Op.SCHEMA: EventType.SCHEMA_CHANGED,
}

_EMPTY = RowText("{}", {})
_NOTHING: Mapping[str, Any] = {}


def row_event(event_id: EventId, commit: Commit, change: Change) -> Event:
    """The event of one change; the rows have the text that the change log holds, on one line.

    Rows that cannot be delivered are null, and `unreadable` says why: nothing else may suffer from one row.
    """
    if change.op is Op.SCHEMA:
        return _event(event_id, commit, change, SchemaChange.read(change.before, change.after).to_json(), None)
    before, after, key = _text(change.before), _text(change.after), _text(change.key)
    changed: list[str] = []
    unreadable = why_unreadable(before, after, key, limit=MAX_DELIVERED)
    if unreadable is None and change.op is Op.UPDATE:
        try:
            changed = changed_columns(change.before or _EMPTY, change.after or _EMPTY)
        except ValueError:
            unreadable = Unreadable.INVALID_JSON
    if unreadable is not None:
        before, after, key = None, None, readable_key(key)
    row: dict[str, Any] = {
        "key": _on_one_line(key),
        "before": _on_one_line(before),
        "after": _on_one_line(after),
        "changed": changed,
    }
    if unreadable is not None:
        return _event(event_id, commit, change, row, None, {"unreadable": unreadable})
    rows = RowImages(_shared(change.before, row["before"]), _shared(change.after, row["after"]))
    return _event(event_id, commit, change, row, rows)


def _event(
    event_id: EventId,
    commit: Commit,
    change: Change,
    images: Mapping[str, Any],
    rows: RowImages | None,
    last: Mapping[str, Any] = _NOTHING,
) -> Event:
    detail: dict[str, Any] = {
        "table": qualified(change.schema, change.table),
        **images,
        "transaction": str(commit.xid),
        "user": commit.user,
        "application": commit.application,
    }
    if change.sequence is not None:
        detail["sequence"] = str(change.sequence)
    detail.update(last)
    return Event(
        event_id,
        _ROW_EVENTS[change.op],
        change.schema,
        commit.committed_at,
        flag_key=None,
        flag_id=None,
        tags=frozenset(),
        flag=None,
        detail=detail,
        rows=rows,
    )


def _shared(row: RowText | None, delivered: JsonText | None) -> RowText | None:
    """The row with the text that the event delivers, so that there is one in memory; they differ in line ends alone."""
    if row is None or delivered is None or len(delivered) != len(row.text) or "\n" in row.text or "\r" in row.text:
        return row
    return row.with_text(delivered)


def _text(row: RowText | None) -> str | None:
    return None if row is None else row.text


def _on_one_line(text: str | None) -> JsonText | None:
    return None if text is None else JsonText(on_one_line(text))
