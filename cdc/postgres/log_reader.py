"""Reading the log and the tables: everything that is asked of PostgreSQL at run time. Nothing is written.

One connection, used by one caller at a time, opened when first needed and again after it broke. Every error of the
driver becomes one of ours here.
"""

import asyncio
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from typing import Any

import psycopg
from psycopg import IsolationLevel
from psycopg.sql import SQL, Identifier
from psycopg.types.json import set_json_loads

from ..auth.api_key import ApiKey, readable_grant
from ..core.deadline import Deadline
from ..core.flags.flag_tables import TABLES
from ..core.log.change import Change, Commit, LoadJson, Op, Row
from ..core.log.lane import FLAGS, Lane, WatchedTable
from ..core.log.position import LogId, Position
from ..database.database_url import redact
from ..database.driver_errors import driver_errors
from ..database.queries import log_query, query
from ..errors import DatabaseSilent, DatabaseUnavailable, SchemaMismatch
from ..source.upstream import Bootstrap, CommitFingerprint, LogState

__all__ = ["FLAG_TABLES", "LogReader", "answering_within", "connect", "sever"]

logger = logging.getLogger(__name__)

_Cursor = psycopg.AsyncCursor[Any]

FLAG_TABLES = tuple(TABLES)

# Seconds after which a connection whose other end does not answer is given up by the kernel.
_SILENCE_S = 10

_CONNECT_S = 5

# The kernel does not see a silent proxy, which takes what it is sent. So answers have deadlines too: the first for what
# takes a moment; what reads many rows begins with it, and is given more, up to the second, where it has missed it.
_ANSWER_S = 10.0
_LONGEST_READ_S = 120.0

# Rows of the log decoded between two turns for everyone else; about a millisecond of work.
_TURN_ROWS = 200

_ALL = 2**62

# About 3 KB of memory each.
_MOST_AT_ONCE = 100_000


async def connect(url: str, *, name: str) -> psycopg.AsyncConnection[Any]:
    """A connection in autocommit whose death is noticed: keepalives and, where the system has it, a user timeout."""
    with driver_errors(redact(url)):
        return await psycopg.AsyncConnection.connect(
            url,
            autocommit=True,
            # Behind a pooler the next transaction may be on a server that has not seen the prepared statement.
            prepare_threshold=None,
            application_name=f"flagent-cdc {name}",
            connect_timeout=_CONNECT_S,
            keepalives=1,
            keepalives_idle=_SILENCE_S,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=_SILENCE_S * 1000,
        )


def sever(connection: psycopg.AsyncConnection[Any] | None) -> None:
    """Cut the socket below the driver: whatever waits on the connection fails at once, as if the server had gone.

    Cancelling the waiting task instead would make the driver ask the same silent server to cancel, and wait for that.
    """
    if connection is None or connection.closed:
        return
    with suppress(OSError), socket.socket(fileno=os.dup(connection.pgconn.socket)) as twin:
        twin.shutdown(socket.SHUT_RDWR)


@contextmanager
def answering_within(connection: psycopg.AsyncConnection[Any], timeout_s: float, target: str) -> Iterator[None]:
    """For `with` around use of the driver: its errors become ours, and so does an answer that does not come in time."""
    is_late = False

    def give_up() -> None:
        nonlocal is_late
        is_late = True
        sever(connection)

    timer = asyncio.get_running_loop().call_later(timeout_s, give_up)
    try:
        with driver_errors(target):
            yield
    except DatabaseUnavailable as error:
        if is_late:
            raise DatabaseSilent(f"{target} did not answer within {timeout_s:g} s") from error
        raise
    finally:
        timer.cancel()


class LogReader:
    """The log and the tables, as a reader sees them: the ports `Log` and `KeyStore` of a database.

    `stream` is whose log it reads; what is asked about the tables is the same for all. `loads` reads the rows.
    """

    def __init__(self, url: str, lane: Lane = FLAGS, loads: LoadJson = json.loads) -> None:
        self._url = url
        self._lane = lane
        self._loads = loads
        self._target = redact(url)
        self._lock = asyncio.Lock()
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._read_deadline = Deadline(least_s=_ANSWER_S, most_s=_LONGEST_READ_S)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def state(self) -> LogState:
        """Raises `SchemaMissing` where nothing is installed, `DatabaseUnavailable` or `DatabaseRefused`."""
        async with self._use() as connection:
            return await self._state(connection)

    async def newest(self) -> Position:
        async with self._use() as connection:
            row = await (await self._ask(connection, "newest_position")).fetchone()
            return Position(row[0] if row is not None else 0)

    async def stamp(self, position: Position) -> CommitFingerprint | None:
        """The stamp of the commit at a position, None where there is none, or none any more."""
        async with self._use() as connection:
            row = await (await self._ask(connection, "commit_stamp", position=position)).fetchone()
            return None if row is None else CommitFingerprint(position, row[0], row[1])

    def sever(self) -> None:
        """Make whatever waits for an answer fail now."""
        sever(self._connection)

    async def probe(self, channel: str, payload: str, timeout_s: float) -> None:
        """Notify the listener's own channel, from this other connection."""
        async with self._use(timeout_s) as connection:
            await connection.execute(query("notify"), {"channel": channel, "payload": payload})

    async def database(self) -> str:
        """The name of the database."""
        async with self._use() as connection:
            row = await (await connection.execute(query("database_name"))).fetchone()
            assert row is not None, "a query of a scalar gives one row"
            return str(row[0])

    async def succeeds(self, log: LogId) -> bool:
        """Whether this log goes on where another one ended: its cluster failed over, or was restored.

        Where that cannot be asked, because `migrate` or its grants are of an older version, it is not known to.
        """
        async with self._use() as connection:
            try:
                row = await (await connection.execute(query("succeeds"), {"log": log})).fetchone()
            except (psycopg.errors.UndefinedFunction, psycopg.errors.InsufficientPrivilege):
                return False
            return row is not None and bool(row[0])

    async def is_pooled(self) -> bool:
        """Whether a pooler stands in between: the process asked is not the one that greeted us."""
        async with self._use() as connection:
            row = await (await connection.execute(query("backend_pid"))).fetchone()
            return row is not None and row[0] != connection.info.backend_pid

    async def bootstrap(self) -> Bootstrap:
        """All tables and the position they are as of, in one snapshot (promise P4)."""
        async with self._read() as connection, connection.transaction():
            state = await self._state(connection)
            schemas: dict[str, dict[str, Sequence[Row]]] = {}
            if self._lane != FLAGS:
                return Bootstrap(state.log, state.newest, state.stamp, schemas)
            for (schema,) in await (await connection.execute(query("attached_schemas"))).fetchall():
                schemas[schema] = {table: await _rows(connection, schema, table) for table in FLAG_TABLES}
            return Bootstrap(state.log, state.newest, state.stamp, schemas)

    async def pending_schemas(self) -> list[str]:
        """Schemas that wait for Flagent's tables."""
        async with self._use() as connection:
            return [name for (name,) in await (await connection.execute(query("pending_schemas"))).fetchall()]

    async def attached_schemas(self) -> list[str]:
        async with self._use() as connection:
            return [name for (name,) in await (await connection.execute(query("attached_schemas"))).fetchall()]

    async def commits_after(self, position: Position, limit: int, *, in_parts: bool = False) -> list[Commit]:
        """As the port says; `in_parts` the last one may be the first part of one that has more than `limit` changes."""
        bounds = {"position": position, "limit": limit, "most": limit if in_parts else _ALL}
        async with self._read() as connection:
            commits = self._commits(await self._all(connection, "commits_after", **bounds))
            if not in_parts or not commits or await self._may_stand(connection, commits[-1]):
                return commits
            return self._commits(await self._all(connection, "commits_after", **bounds | {"most": _ALL}))

    async def next_part(self, position: Position, index: int, begin: int, limit: int) -> Commit | None:
        """The part of a commit after a change, whose number in the log is `index` and `begin` in the commit."""
        async with self._read() as connection:
            rows = await self._all(connection, "commit_part", position=position, index=index, limit=limit)
            found = self._commits(rows, begin)
            return found[0] if found else None

    async def commits_before(self, position: Position, down_to: Position, limit: int) -> list[Commit]:
        bounds = {"position": position, "down_to": down_to, "limit": limit, "most": _MOST_AT_ONCE}
        async with self._read() as connection:
            return self._commits(await self._all(connection, "commits_before", **bounds))

    async def watched_lanes(self) -> list[WatchedTable]:
        """Every watched table and its lane."""
        async with self._use() as connection:
            rows = await (await connection.execute(query("watched_lanes"))).fetchall()
        return [WatchedTable(schema, table, Lane(name, id, order)) for schema, table, name, id, order in rows]

    async def keys_version(self) -> str:
        async with self._use() as connection:
            row = await (await connection.execute(query("keys_version"))).fetchone()
            return "" if row is None else str(row[0])

    async def keys(self) -> list[ApiKey]:
        async with self._use() as connection:
            rows = await (await connection.execute(query("keys"))).fetchall()
        return [
            ApiKey(id, name, prefix, bytes(hash), readable_grant(prefix, scopes), created_at, expires_at, revoked_at)
            for id, name, prefix, hash, scopes, created_at, expires_at, revoked_at in rows
        ]

    async def stream_token_secret(self) -> bytes:
        async with self._use() as connection:
            row = await (await connection.execute(query("stream_token_secret"))).fetchone()
            assert row is not None, "the migration that made the table put one row into it"
            return bytes(row[0])

    async def _ask(self, connection: psycopg.AsyncConnection[Any], name: str, **bounds: Any) -> _Cursor:
        """One of the questions that are asked of each log in its own words."""
        lane = self._lane
        return await connection.execute(log_query(name, lane.log_kind), {**bounds, "lane": lane.id})

    async def _all(self, connection: psycopg.AsyncConnection[Any], name: str, **bounds: Any) -> list[tuple[Any, ...]]:
        cursor = await self._ask(connection, name, **bounds)
        rows: list[tuple[Any, ...]] = []
        while some := await cursor.fetchmany(_TURN_ROWS):
            rows += some
            if len(some) == _TURN_ROWS:
                await asyncio.sleep(0)
        return rows

    async def _may_stand(self, connection: psycopg.AsyncConnection[Any], commit: Commit) -> bool:
        """Whether a commit of which only the first numbers were asked for may be told as it is.

        What became of a flag can be told of the whole alone. And where a savepoint took all those numbers with it,
        there is nothing to tell, and more to read.
        """
        if commit.ends:
            return bool(commit.changes)
        return not await self._has_flags(connection, commit.position)

    async def _has_flags(self, connection: psycopg.AsyncConnection[Any], position: Position) -> bool:
        if self._lane != FLAGS:
            return False
        row = await (await self._ask(connection, "has_flags", position=position, tables=list(FLAG_TABLES))).fetchone()
        return row is not None and bool(row[0])

    def _commits(self, rows: Sequence[tuple[Any, ...]], begin: int = 0) -> list[Commit]:
        has_sequence = self._lane.is_polled
        commits: list[Commit] = []
        for _, group in groupby(rows, key=itemgetter(0)):
            found = list(group)
            position, committed_at, xid, user, application, count = found[0][:6]
            changes = tuple(
                Change(schema, table, Op(op), before, after, key, number if has_sequence else None)
                for *_, number, schema, table, op, before, after, key in found
                if op is not None
            )
            ends = not changes or found[-1][6] >= count
            indexes = () if has_sequence else tuple(row[6] for row in found if row[6] is not None)
            if indexes == tuple(range(begin + 1, begin + 1 + len(indexes))):
                indexes = ()
            commits.append(
                Commit(Position(position), committed_at, xid, user, application, changes, begin, ends, indexes)
            )
        return commits

    async def _state(self, connection: psycopg.AsyncConnection[Any]) -> LogState:
        row = await (await self._ask(connection, "log_state")).fetchone()
        if row is None:
            raise SchemaMismatch(f"lane {self._lane.name} no longer exists")
        log, channel, oldest, newest, committed_at, xid, *held_back = row
        if newest is None:
            return LogState(LogId(log), channel, None, Position(0), None, not any(held_back))
        stamp = CommitFingerprint(Position(newest), committed_at, xid)
        return LogState(LogId(log), channel, Position(oldest), stamp.position, stamp, not any(held_back))

    @asynccontextmanager
    async def _use(self, timeout_s: float = _ANSWER_S) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        async with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = await connect(self._url, name="reader")
                set_json_loads(self._loads, self._connection)
                # Of use to `bootstrap` alone, as everything else is one statement each.
                await self._connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
                await self._connection.set_read_only(True)
                # Behind a pooler the listener's notifications may come here; the driver would keep them for ever.
                self._connection.add_notify_handler(_ignore)
            try:
                with answering_within(self._connection, timeout_s, self._target):
                    yield self._connection
            except BaseException:
                # After an error or a cancellation in mid-query nobody knows what state the session is in.
                broken, self._connection = self._connection, None
                if broken is not None:
                    await asyncio.shield(broken.close())
                raise

    @asynccontextmanager
    async def _read(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """As `_use`, for what may read many rows."""
        clock = asyncio.get_running_loop().time
        try:
            async with self._use(self._read_deadline.seconds) as connection:
                began = clock()
                yield connection
                self._read_deadline.meet(clock() - began)
        except DatabaseSilent:
            self._read_deadline.miss()
            raise


def _ignore(_: psycopg.Notify) -> None:
    """Notifications are the listener's."""


async def _rows(connection: psycopg.AsyncConnection[Any], schema: str, table: str) -> list[Row]:
    statement = SQL(query("table_rows")).format(table=Identifier(schema, table))
    return [row for (row,) in await (await connection.execute(statement)).fetchall()]
