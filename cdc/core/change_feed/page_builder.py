"""Builds a page of the change feed from whole commits, for sources without SQL.

The page depends only on the cursor and the commits, and equals the result of the query `changes_after`, so a reader may
switch between sources.
"""

from collections.abc import Sequence

from ..log.change import Commit
from ..log.position import Position
from ..log.row_text import RowText
from ..log.table_name import qualified, quoted
from .cursor import Cursor
from .logged_change import ChangePage, LoggedChange

__all__ = ["PageBuilder"]


class PageBuilder:
    """Takes commits in order, starting with that of the cursor, until the page is full.

    A page has at most `limit` changes out of at most `scan`, with rows of at most `most_bytes` together, but at least
    one change. `tables` are names with or without schema; None means all.
    """

    def __init__(self, after: Cursor, *, limit: int, scan: int, tables: Sequence[str] | None, most_bytes: int) -> None:
        self._after = after
        self._limit = limit
        self._scan = scan
        self._tables = None if tables is None else frozenset(tables)
        self._left_bytes = most_bytes
        self._is_begun = False
        self._changes: list[LoggedChange] = []
        self._next = after

    def take(self, commit: Commit) -> bool:
        """Add a commit; returns whether there may be room for the next."""
        numbers = commit.indexes or range(1, len(commit.changes) + 1)
        count = numbers[-1]
        begin = 0
        if commit.position == self._after.position:
            begin = count if self._after.index is None else self._after.index
        left, hash = self._scan, commit.hash
        for number, change in zip(numbers, commit.changes, strict=True):
            if number <= begin:
                continue
            if left == 0:
                return False
            if self._wants(change.schema, change.table):
                self._left_bytes -= sum(row.size_bytes for row in (change.before, change.after) if row is not None)
                if self._is_begun and (self._left_bytes < 0 or len(self._changes) == self._limit):
                    return False
                self._changes.append(
                    LoggedChange(
                        commit.position, number, count, commit.committed_at, commit.xid, commit.user,
                        commit.application, change.schema, change.table, change.op,
                        _text(change.key), _text(change.before), _text(change.after),
                    )
                )  # fmt: skip
            self._is_begun = True
            left -= 1
            index = None if number >= count else number
            self._next = Cursor(commit.position, index, self._after.log, hash=hash)
        # The number of the last change is the number of changes, so missing numbers count as scanned.
        self._scan -= count - begin
        return self._scan > 0

    def page(self, newest: Position, database: str) -> ChangePage:
        """The page, for a change log that ends at `newest`."""
        is_open = self._next.index is None and self._next.position >= newest
        return ChangePage(tuple(self._changes), self._next, newest, is_open, database)

    def _wants(self, schema: str, table: str) -> bool:
        return self._tables is None or quoted(table) in self._tables or qualified(schema, table) in self._tables


def _text(row: RowText | None) -> str | None:
    return None if row is None else row.text
