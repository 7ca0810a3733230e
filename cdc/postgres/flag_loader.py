"""Loads all flags of a schema: seven cursors in one transaction, read in turns.

Values travel in the driver's binary format, which it decodes in C: measured on 550 000 rows, this takes a fifth of the
processor time of `COPY` (whose rows pass through Python one by one), and a tenth of that of rows as JSON. The rows of a
flag arrive together, so that each is packed as soon as it is complete, and the peak of memory is that of a few hundred.
"""

import asyncio
import json
from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import psycopg
from psycopg import sql

from ..core.collector import collector_paused
from ..core.flags.flag_rows import COLUMNS, PARTS, Values
from ..core.flags.flag_tables import FlagTables
from ..core.log.row_text import RowText
from ..core.text.exact_json import JsonText
from ..database.connection import answering_within
from ..database.queries import query

__all__ = ["load_flags"]

# Rows of one answer, and flags between two turns for everything else on the loop: each a few milliseconds of work.
_ROWS = 2_000
_FLAGS = 200

# For one answer. The first one of a table may have to wait for all of it to be sorted.
_ANSWER_S = 60.0

_decode = json.JSONDecoder(parse_float=JsonText).decode

# The column with the id of the flag. It comes behind the row's own where the row has only its segment's.
_FLAG = {"flags": 0, "segments": 1, "variants": 1, "constraints": -1, "distributions": -1, "flags_tags": 1}


async def load_flags(
    connection: psycopg.AsyncConnection[Any], schema: str, target: str = "the database"
) -> FlagTables | None:
    """The flags of a schema in the transaction of this connection, to the database that errors call `target`.

    None where this database must be read as JSON: it was migrated by an older version, or its ids have unexpected
    types. Raises `DatabaseSilent` where one answer takes long; all of them together may take minutes.
    """
    if not await _may_open(connection):
        return None
    await connection.execute(query("use_utc"))
    sources: dict[str, _Cursor] = {}
    for number, table in enumerate(COLUMNS):
        cursor = await _Cursor.open(connection, target, schema, table, f"flagent_cdc_{number}")
        if cursor is None:
            return None
        sources[table] = cursor
    with collector_paused():
        tables = await _load(sources)
    for source in sources.values():
        await source.close()
    return tables


async def _load(sources: Mapping[str, "_Cursor"]) -> FlagTables:
    tables = FlagTables()
    async for row in sources["tags"].rows():
        tables.put_tag(row)
    while flags := await sources["flags"].take(_FLAGS):
        found: dict[int, tuple[list[Values], ...]] = {own[0]: ([], [], [], [], []) for own in flags}
        last = flags[-1][0]
        for place, table in enumerate(PARTS):
            of = _FLAG[table]
            for row in await sources[table].take_up_to(last):
                parts = found.get(row[of])
                values = row[:-1] if of < 0 else row
                if parts is None:
                    tables.put_values(table, values)
                else:
                    parts[place].append(values)
        for own in flags:
            tables.put_flag(own[0], own, found[own[0]])
        await asyncio.sleep(0)
    # Parts of flags that are unknown: the flags' rows are gone already, or do not exist yet.
    for table in PARTS:
        async for row in sources[table].rows():
            tables.put_values(table, row[:-1] if _FLAG[table] < 0 else row)
    return tables


async def _may_open(connection: psycopg.AsyncConnection[Any]) -> bool:
    row = await (await connection.execute(query("may_open_flag_rows"))).fetchone()
    return row is not None and bool(row[0])


class _Cursor:
    """The rows of one table, by flag."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], target: str, table: str, name: str) -> None:
        self._connection = connection
        self._target = target
        self._key = itemgetter(_FLAG.get(table, 0))
        self._fetch = sql.SQL("fetch {} from {}").format(sql.Literal(_ROWS), sql.Identifier(name))
        self._close = sql.SQL("close {}").format(sql.Identifier(name))
        self._rows: Sequence[Values] = ()
        self._next = 0
        self._is_over = False

    @classmethod
    async def open(
        cls, connection: psycopg.AsyncConnection[Any], target: str, schema: str, table: str, name: str
    ) -> "_Cursor | None":
        asked: Mapping[str, Any] = {
            "schema": schema, "table": table, "columns": list(COLUMNS[table]), "cursor": name,
        }  # fmt: skip
        row = await (await connection.execute(query("open_flag_rows"), asked)).fetchone()
        return None if row is None or row[0] is None else cls(connection, target, table, name)

    async def _fill(self) -> bool:
        """Whether there is a row to be read."""
        if self._next < len(self._rows):
            return True
        if self._is_over:
            return False
        with answering_within(self._connection, _ANSWER_S, self._target):
            cursor = await self._connection.execute(self._fetch, binary=True)
            self._rows = await cursor.fetchall()
        self._next = 0
        self._is_over = len(self._rows) < _ROWS
        if cursor.description is not None and any(each.type_code == _JSON for each in cursor.description):
            self._rows = [tuple(map(_value, row)) for row in self._rows]
        return bool(self._rows)

    async def take(self, most: int) -> Sequence[Values]:
        """The next rows, none at the end."""
        if not await self._fill():
            return ()
        rows = self._rows[self._next : self._next + most]
        self._next += len(rows)
        return rows

    async def take_up_to(self, flag_id: int) -> list[Values]:
        """The next rows of flags with at most this id."""
        taken: list[Values] = []
        while await self._fill():
            end = bisect_right(self._rows, flag_id, self._next, key=self._order)
            taken += self._rows[self._next : end]
            self._next = end
            if end < len(self._rows):
                break
        return taken

    def _order(self, row: Values) -> int:
        flag_id: int | None = self._key(row)
        return _LAST if flag_id is None else flag_id

    async def rows(self) -> AsyncIterator[Values]:
        """All rows that are left."""
        while await self._fill():
            for row in self._rows[self._next :]:
                yield row
            self._next = len(self._rows)
            await asyncio.sleep(0)

    async def close(self) -> None:
        await self._connection.execute(self._close)


_LAST = 2**63  # behind every flag

_JSON = 114


def _value(value: Any) -> Any:
    """What a row as JSON has in this column."""
    return _decode(value.text) if isinstance(value, RowText) else value
