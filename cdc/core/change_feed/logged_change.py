"""A change as the feed for data teams hands it on: with its place in the log and where it came from.

Rows stay the JSON text that PostgreSQL made: a `numeric` of forty digits arrives as it was written.
"""

import json
from dataclasses import dataclass

from ..flags.events import Event
from ..flags.row_event import row_event
from ..log.change import Change, Commit, Op
from ..log.position import EventId, LogId, Position
from .cursor import Cursor
from .snapshot_visibility import SnapshotVisibility

__all__ = ["ChangePage", "LoggedChange"]


@dataclass(frozen=True, slots=True)
class LoggedChange:
    """Change `index` of its commit, whose last one is `count`; `key`, `before` and `after` are JSON objects as text.

    They count from 1. Where the change `has_sequence`, in streams of mode horizon, they are sequences instead, which
    grow from change to change of a row, whatever the order of commits.

    `committed_at` is ISO-8601 in UTC with microseconds and `Z`; `xid` is the transaction's.
    """

    position: Position
    index: int
    count: int
    committed_at: str
    xid: int
    user: str
    application: str
    schema: str
    table: str
    op: Op
    key: str | None
    before: str | None
    after: str | None
    has_sequence: bool = False

    def event(self, log: LogId) -> Event:
        """What subscribers are told of it. Its id is that of its commit, as nothing here counts the commit's events."""
        sequence = self.index if self.has_sequence else None
        before, after, key = (
            None if text is None else json.loads(text) for text in (self.before, self.after, self.key)
        )
        change = Change(self.schema, self.table, self.op, before, after, key, sequence)
        commit = Commit(self.position, self.committed_at, self.xid, self.user, self.application, (change,))
        return row_event(EventId(self.position, None, log), commit, change)

    def cursor(self, log: LogId, seen: SnapshotVisibility | None = None) -> Cursor:
        """After this change."""
        return Cursor.after(self.position, None if self.index >= self.count else self.index, log, seen)


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Changes in the order of the log, and the cursor after all that was looked at to find them.

    An open page is one that ends where the log ended at `newest`; any other one never changes. Its reader had `seen`
    some of what is in the log already.
    """

    changes: tuple[LoggedChange, ...]
    next: Cursor
    newest: Position
    is_open: bool
    database: str
    seen: SnapshotVisibility | None = None
