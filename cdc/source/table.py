"""The captured tables themselves, where a source can read them: columns, types, and all rows as of one position."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol

from ..core.change_feed.cursor import Cursor
from ..core.change_feed.row_schema import Column, ColumnType
from ..core.log.captured_table import CapturedTable

__all__ = ["SnapshotRow", "TableSnapshot", "TableSource"]


class SnapshotRow(NamedTuple):
    """One row of a table snapshot: JSON objects as text; `key` is None for a table without one."""

    key: str | None
    row: str


class TableSnapshot(Protocol):
    """All rows of a table as of `cursor`, read at `committed_at` (ISO-8601 in UTC)."""

    @property
    def table(self) -> CapturedTable: ...

    @property
    def cursor(self) -> Cursor: ...

    @property
    def committed_at(self) -> str: ...

    @property
    def database(self) -> str: ...

    @property
    def estimated_rows(self) -> int: ...

    def rows(self) -> AsyncIterator[Sequence[SnapshotRow]]:
        """The rows in pieces of about a quarter of a mebibyte, read only as they are asked for; once."""


class TableSource(Protocol):
    """The captured tables: which there are, of what types, and their present rows."""

    async def captured_tables(self) -> Sequence[CapturedTable]:
        """Every table whose changes are logged: Flagent's and the watched ones."""

    async def columns(self, table: CapturedTable) -> tuple[Sequence[Column], Mapping[int, ColumnType]]:
        """The columns, and every type that they are made of by its number."""

    def snapshot(
        self, table: CapturedTable, timeout_s: float, condition: Mapping[str, Any] | None = None
    ) -> AbstractAsyncContextManager[TableSnapshot]:
        """A watched table as of one position, until the end of the block or for `timeout_s`, whichever is first.

        `condition`, `RowFilter.sql`, may leave out rows that do not satisfy it.
        """

    async def close(self) -> None: ...
