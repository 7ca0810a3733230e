"""Reads the captured tables: which there are, of what types, and every row as of one position.

A backfill reads a watched table block by block in one REPEATABLE READ transaction, whose snapshot holds the rows and
the newest position of the log together: the changes after that position complete them. Neither side keeps more than the
blocks that are being read.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from ..core.change_feed.cursor import Cursor
from ..core.change_feed.row_schema import Column, ColumnType
from ..core.flags.flag_tables import TABLES
from ..core.log.captured_table import CapturedTable
from ..core.log.lane import Lane
from ..database.queries import query
from ..database.read_session import ReadSession
from ..database.session_settings import long_transaction_statement
from ..source.table import SnapshotRow
from .log_history import read_log_range
from .log_reader import read_stamp

__all__ = ["TableReader"]

_READ_S = 60.0

# Blocks of 8 KiB read at a time: from one, to see what the rows are like, up to so many.
_MOST_BLOCKS = 256
# A piece of this size takes some milliseconds to decode and to write, in which the loop serves nothing else.
_WANTED_BYTES = 256 * 1024


class _Snapshot:
    """The port `TableSnapshot`: a table as of `cursor`. Call `rows()` once, within the block that opened it."""

    def __init__(
        self, connection: psycopg.AsyncConnection[Any], table: CapturedTable, cursor: Cursor, database: str,
        committed_at: str, parts: Sequence[tuple[int, int]], estimated_rows: int, condition: Mapping[str, Any] | None,
    ) -> None:  # fmt: skip
        self.table = table
        self.cursor = cursor
        self.database = database
        self.committed_at = committed_at
        self.estimated_rows = estimated_rows
        self._connection = connection
        self._parts = parts
        self._filter = None if condition is None else json.dumps(condition)

    async def rows(self) -> AsyncIterator[list[SnapshotRow]]:
        """The rows in pieces of about a quarter of a mebibyte; read only as they are asked for."""
        for relation, blocks in self._parts:
            begin, count = 0, 1
            while begin < blocks:
                bounds = {
                    "id": self.table.id,
                    "relation": relation,
                    "from": begin,
                    "to": begin + count,
                    "filter": self._filter,
                }
                found = await (await self._connection.execute(query("backfill_rows"), bounds)).fetchall()
                begin += count
                rows = [SnapshotRow(key, row) for key, row in found]
                size_bytes = sum(len(row.row) for row in rows)
                count = min(count * 2 if size_bytes < _WANTED_BYTES else max(count // 2, 1), _MOST_BLOCKS)
                for piece in _pieces(rows):
                    yield piece


class TableReader:
    """The port `TableSource` of a database: the captured tables, over one connection of its own."""

    def __init__(self, url: str) -> None:
        self._session = ReadSession(url)

    async def close(self) -> None:
        await self._session.close()

    async def captured_tables(self) -> list[CapturedTable]:
        async with self._session.use() as connection:
            rows = await (await connection.execute(query("captured_tables"), {"tables": list(TABLES)})).fetchall()
        return [
            CapturedTable(
                id, schema, table, tuple(key), None if included is None else tuple(included), tuple(masked),
                tuple(operations), is_filtered, Lane(*lane),
            )
            for id, schema, table, key, included, masked, operations, is_filtered, *lane in rows
        ]  # fmt: skip

    async def columns(self, table: CapturedTable) -> tuple[list[Column], dict[int, ColumnType]]:
        """The columns, and every type that they consist of, by its number."""
        name = {"schema": table.schema, "table": table.table}
        async with self._session.use() as connection, connection.transaction():
            columns = [
                Column(*row) for row in await (await connection.execute(query("table_columns"), name)).fetchall()
            ]
            wanted = {"types": [column.type for column in columns]}
            rows = await (await connection.execute(query("column_types"), wanted)).fetchall()
        types = {
            oid: ColumnType(
                name, builtin, kind, base, element, [(field, type) for field, type in fields or ()], labels or (),
                renders_itself,
            )
            for oid, name, builtin, kind, base, element, fields, labels, renders_itself in rows
        }  # fmt: skip
        return columns, types

    @asynccontextmanager
    async def snapshot(
        self, table: CapturedTable, timeout_s: float, condition: Mapping[str, Any] | None = None
    ) -> AsyncIterator[_Snapshot]:
        """The rows of a watched table as of one position, within `timeout_s` from the beginning to the end.

        Raises `DatabaseUnavailable` when that is over: a snapshot that is held keeps VACUUM from removing dead rows.
        """
        async with self._session.use(timeout_s) as connection, connection.transaction():
            await connection.execute(long_transaction_statement(connection))
            parts = await (await connection.execute(query("backfill_begin"), {"id": table.id})).fetchall()
            reach = await read_log_range(connection, table.lane)
            newest = await read_stamp(connection, table.lane, reach.newest)
            yield _Snapshot(
                connection,
                table,
                Cursor(reach.newest, None, reach.log, reach.seen, None if newest is None else newest.hash),
                reach.database,
                reach.now,
                [(relation, blocks) for relation, blocks, _ in parts],
                round(sum(rows for _, _, rows in parts)),
                condition,
            )


def _pieces(rows: Sequence[SnapshotRow]) -> Iterator[list[SnapshotRow]]:
    """The rows of some blocks, cut where they are large: a block holds many rows whose values are stored elsewhere."""
    piece: list[SnapshotRow] = []
    size_bytes = 0
    for row in rows:
        if piece and size_bytes + len(row.row) > _WANTED_BYTES * 4:
            yield piece
            piece, size_bytes = [], 0
        piece.append(row)
        size_bytes += len(row.row)
    if piece:
        yield piece
