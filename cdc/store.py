"""Reading the log and the tables: everything that is asked of PostgreSQL at run time. Nothing is written.

One connection, used by one caller at a time, opened when first needed and again after it broke. Every error of the
driver becomes one of ours here.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, LiteralString

import psycopg
from psycopg import IsolationLevel
from psycopg.sql import SQL, Identifier

from .core.change import Change, Commit, Op, Row
from .core.position import LogId, Position
from .database_url import redact
from .driver_errors import driver_errors
from .sql import query

__all__ = ["FLAG_TABLES", "Bootstrap", "LogState", "Store", "connect"]

logger = logging.getLogger(__name__)

FLAG_TABLES = ("flags", "segments", "variants", "constraints", "distributions", "tags", "flags_tags")

# Seconds after which a connection whose other end does not answer is given up by the kernel.
_SILENCE_S = 10


@dataclass(frozen=True, slots=True)
class LogState:
    """Which log this is and which commits it holds; `oldest` is None while it is empty, and then `newest` is 0."""

    log: LogId
    channel: str
    oldest: Position | None
    newest: Position

    def reaches(self, position: Position) -> bool:
        """Whether every commit after `position` is still in the log."""
        return position >= self.newest or (self.oldest is not None and position >= self.oldest - 1)


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The watched tables of every attached schema, and the position that they are as of."""

    log: LogId
    position: Position
    schemas: Mapping[str, Mapping[str, Sequence[Row]]]


async def connect(url: str, *, name: str) -> psycopg.AsyncConnection[Any]:
    """A connection in autocommit whose death is noticed: keepalives and, where the system has it, a user timeout."""
    with driver_errors(redact(url)):
        return await psycopg.AsyncConnection.connect(
            url,
            autocommit=True,
            # Behind a pooler the next transaction may be on a server that has not seen the prepared statement.
            prepare_threshold=None,
            application_name=f"flagent-cdc {name}",
            connect_timeout=_SILENCE_S,
            keepalives=1,
            keepalives_idle=_SILENCE_S,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=_SILENCE_S * 1000,
        )


class Store:
    """The log and the tables, as a reader sees them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._target = redact(url)
        self._lock = asyncio.Lock()
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def state(self) -> LogState:
        """Raises `SchemaMissing` where nothing is installed, `DatabaseUnavailable` or `DatabaseRefused`."""
        async with self._use() as connection:
            return await _state(connection)

    async def newest(self) -> Position:
        """The highest position that is visible now, 0 in an empty log."""
        async with self._use() as connection:
            row = await (await connection.execute(query("newest_position"))).fetchone()
            return Position(row[0] if row is not None else 0)

    async def probe(self, channel: str, payload: str) -> None:
        """Notify the listener's own channel, from this other connection."""
        async with self._use() as connection:
            await connection.execute(query("notify"), {"channel": channel, "payload": payload})

    async def is_pooled(self) -> bool:
        """Whether a pooler stands in between: the process asked is not the one that greeted us."""
        async with self._use() as connection:
            row = await (await connection.execute(query("backend_pid"))).fetchone()
            return row is not None and row[0] != connection.info.backend_pid

    async def bootstrap(self) -> Bootstrap:
        """All tables and the position they are as of, in one snapshot (promise P4)."""
        async with self._use() as connection, connection.transaction():
            state = await _state(connection)
            schemas: dict[str, dict[str, Sequence[Row]]] = {}
            for (schema,) in await (await connection.execute(query("attached_schemas"))).fetchall():
                schemas[schema] = {table: await _rows(connection, schema, table) for table in FLAG_TABLES}
            return Bootstrap(state.log, state.newest, schemas)

    async def pending_schemas(self) -> list[str]:
        """Schemas that wait for Flagent's tables."""
        async with self._use() as connection:
            return [name for (name,) in await (await connection.execute(query("pending_schemas"))).fetchall()]

    async def attached_schemas(self) -> list[str]:
        async with self._use() as connection:
            return [name for (name,) in await (await connection.execute(query("attached_schemas"))).fetchall()]

    async def commits_after(self, position: Position, limit: int) -> list[Commit]:
        """The next commits after `position`, oldest first: at most `limit` changes, but at least one whole commit."""
        async with self._use() as connection:
            return await _commits(connection, "commits_after", position=position, limit=limit)

    async def commits_before(self, position: Position, down_to: Position, limit: int) -> list[Commit]:
        """Commits at or before `position` and after `down_to`, newest first, bounded as in `commits_after`."""
        async with self._use() as connection:
            return await _commits(connection, "commits_before", position=position, down_to=down_to, limit=limit)

    @asynccontextmanager
    async def _use(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        async with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = await connect(self._url, name="reader")
                # Of use to `bootstrap` alone, as everything else is one statement each.
                await self._connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
                await self._connection.set_read_only(True)
            try:
                with driver_errors(self._target):
                    yield self._connection
            except BaseException:
                # After an error or a cancellation in mid-query nobody knows what state the session is in.
                broken, self._connection = self._connection, None
                if broken is not None:
                    await asyncio.shield(broken.close())
                raise


async def _state(connection: psycopg.AsyncConnection[Any]) -> LogState:
    row = await (await connection.execute(query("log_state"))).fetchone()
    assert row is not None, "a query of scalars gives one row"
    log, channel, oldest, newest = row
    return LogState(LogId(log), channel, None if oldest is None else Position(oldest), Position(newest or 0))


async def _rows(connection: psycopg.AsyncConnection[Any], schema: str, table: str) -> list[Row]:
    statement = SQL(query("table_rows")).format(table=Identifier(schema, table))
    return [row for (row,) in await (await connection.execute(statement)).fetchall()]


async def _commits(connection: psycopg.AsyncConnection[Any], name: LiteralString, **bounds: int) -> list[Commit]:
    cursor = await connection.execute(query(name), bounds)
    commits: list[Commit] = []
    for _, rows in groupby(await cursor.fetchall(), key=itemgetter(0)):
        found = list(rows)
        position, committed_at, xid, user, application = found[0][:5]
        changes = tuple(
            Change(schema, table, Op(op), before, after, key) for *_, schema, table, op, before, after, key in found
        )
        commits.append(Commit(Position(position), committed_at, xid, user, application, changes))
    return commits
