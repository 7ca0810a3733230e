"""A change in the change feed: with its place in the change log, its transaction, and its rows as text.

Rows keep the JSON text of PostgreSQL, so a `numeric` of forty digits keeps all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

from ..flags.events import Event
from ..flags.row_event import row_event
from ..log.change import Change, Commit, Op
from ..log.position import CommitHash, EventId, LogId, Position, commit_hash
from ..log.row_text import RowText, Unreadable, changed_columns, readable_key, why_unreadable
from ..log.schema_change import SchemaChange
from ..row_filter.projection import key_in, only_columns
from ..row_filter.row_filter import RowFilter, RowView
from .cursor import Cursor
from .snapshot_visibility import SnapshotVisibility

__all__ = ["ChangePage", "LoggedChange"]


@dataclass(frozen=True, slots=True)
class LoggedChange:
    """Change `index` of a commit with `count` changes; `key`, `before` and `after` are JSON objects as text.

    `index` and `count` start at 1. If the change `has_sequence`, in lanes with order `read`, both are sequences
    instead, which grow from change to change of a row, regardless of the commit order.

    Where the rows are `unreadable` they are None, and so is a key that is. `moved` is how an update took the row into
    or out of the filter that it was read with.

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
    unreadable: Unreadable | None = None
    moved: Literal["in", "out"] | None = None

    def seen_by(self, filter: RowFilter) -> Self | None:
        """The change as the user of a filter sees it; None where it does not."""
        before, after = (None if text is None else RowText(text) for text in (self.before, self.after))
        changed: Sequence[str] | None = None
        if filter.columns is not None and before is not None and after is not None:
            try:
                changed = changed_columns(before, after)
            except ValueError:
                changed = None
        view = filter.view_of(self.op, before, after, changed)
        return None if view is None else self._seen_as(view)

    def _seen_as(self, view: RowView) -> Self:
        if self.op is Op.SCHEMA:
            change = self.schema_change.within(view.columns)
            before, after = (self.before, self.after) if change is None else change.images()
            return replace(self, before=before, after=after)
        op, key, before, after = self.op, self.key, self.before, self.after
        if view.moved == "in":
            op, before = Op.INSERT, None
        elif view.moved == "out":
            op, after = Op.DELETE, None
            if key is not None:
                key, before = key_in(key, before), None
        if view.columns is not None:
            before, after = (None if row is None else only_columns(row, view.columns) for row in (before, after))
        return replace(self, op=op, key=key, before=before, after=after, moved=view.moved)

    def readable(self) -> Self:
        """The same change, without rows that are not UTF-8."""
        unreadable = None if self.op is Op.SCHEMA else why_unreadable(self.before, self.after, self.key)
        if unreadable is None:
            return self
        return replace(self, key=readable_key(self.key), before=None, after=None, unreadable=unreadable)

    def event(self, log: LogId) -> Event:
        """The event for subscribers. Its id is that of the commit, as the events of the commit are not counted here."""
        sequence = self.index if self.has_sequence else None
        before, after, key = (None if text is None else RowText(text) for text in (self.before, self.after, self.key))
        change = Change(self.schema, self.table, self.op, before, after, key, sequence)
        commit = Commit(self.position, self.committed_at, self.xid, self.user, self.application, (change,))
        return row_event(EventId(self.position, None, log, self.hash), commit, change)

    def cursor(self, log: LogId, seen: SnapshotVisibility | None = None) -> Cursor:
        """The cursor after this change."""
        index = None if self.index >= self.count else self.index
        return Cursor.after(self.position, index, log, seen, self.hash)

    @property
    def schema_change(self) -> SchemaChange:
        """What the images are where the operation is `schema`."""
        return SchemaChange.read(*(None if text is None else RowText(text) for text in (self.before, self.after)))

    @property
    def hash(self) -> CommitHash:
        """The hash of its commit."""
        return commit_hash(self.committed_at, self.xid)


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Changes in the order of the change log, and `next`, the cursor after everything that was scanned for them.

    A page `is_open` if it ends at the end of the change log, at `newest`; any other page never changes. `seen`: changes
    that the reader already had, from a snapshot.
    """

    changes: tuple[LoggedChange, ...]
    next: Cursor
    newest: Position
    is_open: bool
    database: str
    seen: SnapshotVisibility | None = None

    @property
    def characters(self) -> int:
        """The length of its rows."""
        return sum([len(change.before or "") + len(change.after or "") for change in self.changes])
