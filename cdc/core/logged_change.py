"""A change as the feed for data teams hands it on: with its place in the log and where it came from.

Rows stay the JSON text that PostgreSQL made: a `numeric` of forty digits arrives as it was written.
"""

from dataclasses import dataclass

from .change import Op
from .cursor import Cursor
from .position import LogId, Position

__all__ = ["ChangePage", "LoggedChange"]


@dataclass(frozen=True, slots=True)
class LoggedChange:
    """Change `index` (from 1) of the `count` in its commit; `key`, `before` and `after` are JSON objects as text.

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

    def cursor(self, log: LogId) -> Cursor:
        """After this change."""
        return Cursor(self.position, None if self.index >= self.count else self.index, log)


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Changes in the order of the log, and the cursor after all that was looked at to find them.

    An open page is one that ends where the log ended at `newest`; any other one never changes.
    """

    changes: tuple[LoggedChange, ...]
    next: Cursor
    newest: Position
    is_open: bool
    database: str
