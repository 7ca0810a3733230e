"""A table that can be read, in memory: the port `TableSource`, for tests that need no SQL."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from cdc.core.change_feed.cursor import Cursor
from cdc.core.change_feed.row_schema import Column, ColumnType
from cdc.core.log.captured_table import CapturedTable
from cdc.core.log.lane import FLAGS, Lane
from cdc.core.log.position import LogId, Position
from cdc.source.table import SnapshotRow

__all__ = ["MemorySnapshot", "MemoryTables", "captured"]

INTEGER = ColumnType("integer", "int4", "b", 0, 0, (), (), False)


def captured(table: str, *, schema: str = "public", id: int | None = 1, lane: Lane = FLAGS) -> CapturedTable:
    operations = ("insert", "update", "delete", "truncate")
    return CapturedTable(id, schema, table, ("id",), None, (), operations, False, lane)


class MemorySnapshot:
    """The port `TableSnapshot`: one row in each piece."""

    committed_at = "2026-11-23T08:00:00.000000Z"
    database = "memory"

    def __init__(self, table: CapturedTable, cursor: Cursor, rows: int, gate: asyncio.Event) -> None:
        self.table = table
        self.cursor = cursor
        self.estimated_rows = rows
        self._rows = rows
        self._gate = gate

    async def rows(self) -> AsyncIterator[Sequence[SnapshotRow]]:
        for number in range(1, self._rows + 1):
            await self._gate.wait()
            yield [SnapshotRow(f'{{"id":{number}}}', f'{{"id":{number}}}')]


class MemoryTables:
    """Every table has `rows` rows as of `cursor`; they come while `gate` is set, and a snapshot begins while
    `begins` is. `opened` counts open sources."""

    def __init__(self, *tables: CapturedTable, rows: int = 3) -> None:
        self.tables = tables
        self.rows = rows
        self.cursor = Cursor(Position(7), None, LogId("memory"))
        self.gate = asyncio.Event()
        self.gate.set()
        self.begins = asyncio.Event()
        self.begins.set()
        self.opened = 0
        self.error: Exception | None = None

    def open(self) -> "MemoryTables":
        self.opened += 1
        return self

    async def captured_tables(self) -> Sequence[CapturedTable]:
        if self.error is not None:
            raise self.error
        return self.tables

    async def columns(self, table: CapturedTable) -> tuple[Sequence[Column], Mapping[int, ColumnType]]:
        return [Column("id", 1, None, False)], {1: INTEGER}

    @asynccontextmanager
    async def snapshot(
        self, table: CapturedTable, timeout_s: float, condition: Mapping[str, Any] | None = None
    ) -> AsyncIterator[MemorySnapshot]:
        await self.begins.wait()
        yield MemorySnapshot(table, self.cursor, self.rows, self.gate)

    async def close(self) -> None:
        self.opened -= 1
