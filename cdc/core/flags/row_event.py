"""The event of a changed row of a watched table."""

from typing import Any

from ..log.change import Change, Commit, Op, Row
from ..log.position import EventId
from ..log.table_name import qualified
from .events import Event, EventType

__all__ = ["row_event"]

_ROW_EVENTS = {
    Op.INSERT: EventType.ROW_INSERTED,
    Op.UPDATE: EventType.ROW_UPDATED,
    Op.DELETE: EventType.ROW_DELETED,
    Op.TRUNCATE: EventType.TABLE_TRUNCATED,
}


def row_event(event_id: EventId, commit: Commit, change: Change) -> Event:
    """The event of one change; the images of the row are those in the change log."""
    detail: dict[str, Any] = {
        "table": qualified(change.schema, change.table),
        "key": change.key,
        "before": change.before,
        "after": change.after,
        "changed": _changed_columns(change.before or {}, change.after or {}) if change.op is Op.UPDATE else [],
        "transaction": str(commit.xid),
        "user": commit.user,
        "application": commit.application,
    }
    if change.sequence is not None:
        detail["sequence"] = str(change.sequence)
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
    )


def _changed_columns(before: Row, after: Row) -> list[str]:
    """The columns whose values differ, in the order of `after`, then those that are missing in it."""
    changed = [name for name, value in after.items() if name not in before or before[name] != value]
    return changed + [name for name in before if name not in after]
