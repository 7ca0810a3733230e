"""Reading one lane's log from PostgreSQL: the commits, and the state they led to. Nothing is written."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from ..core.flags.catalog import Catalog
from ..core.flags.flag_tables import TABLES
from ..core.log.change import Change, Commit, Op
from ..core.log.continuity import Applied, Break, CommitFingerprint, why_broken
from ..core.log.lane import FLAGS, Lane
from ..core.log.position import LogId, Position
from ..core.log.row_text import RowText
from ..database.queries import log_query, query
from ..database.read_session import ReadSession
from ..errors import SchemaMismatch, SchemaMissing
from ..source.log import Bootstrap, LogState
from .flag_loader import load_flags

__all__ = ["LogReader", "ask_log", "read_stamp"]

_Cursor = psycopg.AsyncCursor[Any]

# Rows of the log decoded between two turns for everything else on the loop; about a millisecond of work.
_TURN_ROWS = 200

_ALL = 2**62

# However many flags there are, to read them takes less.
_LOAD_S = 600.0

# About 3 KB of memory each.
_MOST_AT_ONCE = 100_000


async def ask_log(connection: psycopg.AsyncConnection[Any], lane: Lane, name: str, **bounds: Any) -> _Cursor:
    """One of the questions that every log answers, in the words of this lane's log."""
    return await connection.execute(log_query(name, lane.log_kind), {**bounds, "lane": lane.id})


async def read_stamp(
    connection: psycopg.AsyncConnection[Any], lane: Lane, position: Position
) -> CommitFingerprint | None:
    """The fingerprint of the commit at a position; None where the log holds none there."""
    row = await (await ask_log(connection, lane, "commit_stamp", position=position)).fetchone()
    return None if row is None else CommitFingerprint(position, row[0], row[1])


class LogReader:
    """The port `Log` of a database, for one lane, and what its listener asks besides.

    Answers in the order in which it is asked, over one connection of its own.
    """

    def __init__(self, url: str, lane: Lane = FLAGS) -> None:
        self._lane = lane
        self._session = ReadSession(url, RowText.load)

    def shutdown_socket(self) -> None:
        """Make every call that waits for an answer fail now."""
        self._session.shutdown_socket()

    async def close(self) -> None:
        await self._session.close()

    async def state(self) -> LogState:
        """Raises `SchemaMissing` where nothing is installed, `DatabaseUnavailable` or `DatabaseRefused`."""
        async with self._session.use() as connection:
            return await self._state(connection)

    async def newest(self) -> Position:
        async with self._session.use() as connection:
            row = await (await ask_log(connection, self._lane, "newest_position")).fetchone()
            return Position(row[0] if row is not None else 0)

    async def stamp(self, position: Position) -> CommitFingerprint | None:
        async with self._session.use() as connection:
            return await read_stamp(connection, self._lane, position)

    async def why_broken(self, applied: Applied, state: LogState) -> Break | None:
        """Why this log, in this state, does not continue what was applied; None where it does."""
        found = None
        if state.log == applied.log and applied.fingerprint is not None and state.oldest is not None:
            found = state.stamp if state.newest == applied.position else await self.stamp(applied.position)
            if found is None:
                state = await self.state()  # It may have been pruned in between, which is not a loss.
        return why_broken(applied, state.log, state.oldest, state.newest, found)

    async def probe(self, channel: str, payload: str, timeout_s: float) -> None:
        """Notify the listener's channel, from this other connection."""
        async with self._session.use(timeout_s) as connection:
            await connection.execute(query("notify"), {"channel": channel, "payload": payload})

    async def database(self) -> str:
        """The name of the database."""
        return str(await self._session.scalar(query("database_name")))

    async def succeeds(self, log: LogId) -> bool:
        """Whether this log continues another one: its cluster failed over, or was restored.

        False where that cannot be asked, because `migrate` or its grants are of an older version.
        """
        return await self._is("succeeds", log)

    async def precedes(self, log: LogId) -> bool:
        """Whether this server is an old primary, on an earlier timeline than a log; False as in `succeeds`."""
        return await self._is("precedes", log)

    async def _is(self, name: str, log: LogId) -> bool:
        async with self._session.use() as connection:
            try:
                row = await (await connection.execute(query(name), {"log": log})).fetchone()
            except (psycopg.errors.UndefinedFunction, psycopg.errors.InsufficientPrivilege):
                return False
            return row is not None and bool(row[0])

    async def is_pooled(self) -> bool:
        """Whether a transaction pooler is in between: another server process answers than the one connected to."""
        async with self._session.use() as connection:
            row = await (await connection.execute(query("backend_pid"))).fetchone()
            return row is not None and row[0] != connection.info.backend_pid

    async def bootstrap(self) -> Bootstrap:
        """Flagent's tables and the position they are as of, from one snapshot (promise P4)."""
        async with self._session.read() as connection, connection.transaction():
            state = await self._state(connection)
            schemas: dict[str, dict[str, Sequence[RowText]]] = {}
            if self._lane != FLAGS:
                return Bootstrap(state.log, state.newest, state.stamp, schemas)
            for schema in await _attached_schemas(connection):
                schemas[schema] = {table: await _rows(connection, schema, table) for table in TABLES}
            return Bootstrap(state.log, state.newest, state.stamp, schemas)

    async def load(self) -> tuple[Catalog, CommitFingerprint | None]:
        """The catalog of all that, and the fingerprint of its newest commit: `bootstrap` without keeping the rows."""
        # Each answer has a deadline of its own.
        async with self._session.use(_LOAD_S) as connection, connection.transaction():
            state = await self._state(connection)
            catalog = Catalog(state.log, state.newest, None if state.stamp is None else state.stamp.hash)
            if self._lane != FLAGS:
                return catalog, state.stamp
            for schema in await _attached_schemas(connection):
                tables = await load_flags(connection, schema, self._session.target)
                if tables is None:
                    rows = {table: await _rows(connection, schema, table) for table in TABLES}
                    found = Bootstrap(state.log, state.newest, state.stamp, {schema: rows})
                    catalog.load_from(await found.load())
                else:
                    catalog.load_tables(schema, tables, state.newest)
            return catalog, state.stamp

    async def pending_schemas(self) -> list[str]:
        """Schemas that wait for Flagent's tables."""
        async with self._session.use() as connection:
            return [name for (name,) in await (await connection.execute(query("pending_schemas"))).fetchall()]

    async def attached_schemas(self) -> list[str]:
        async with self._session.use() as connection:
            return await _attached_schemas(connection)

    async def commits_after(self, position: Position, limit: int, *, in_parts: bool = False) -> list[Commit]:
        """As in `Log`; `in_parts` allows the last one to be the first part of one with more than `limit` changes."""
        bounds = {"position": position, "limit": limit, "most": limit if in_parts else _ALL}
        async with self._session.read() as connection:
            commits = await self._all(connection, "commits_after", **bounds)
            if not in_parts or not commits or await self._may_be_delivered(connection, commits[-1]):
                return commits
            return await self._all(connection, "commits_after", **bounds | {"most": _ALL})

    async def next_part(self, position: Position, index: int, begin: int, limit: int) -> Commit | None:
        """The part of a commit after a change, which has the number `index` in the log and `begin` in the commit."""
        async with self._session.read() as connection:
            found = await self._all(connection, "commit_part", begin, position=position, index=index, limit=limit)
            return found[0] if found else None

    async def commits_before(self, position: Position, down_to: Position, limit: int) -> list[Commit]:
        bounds = {"position": position, "down_to": down_to, "limit": limit, "most": _MOST_AT_ONCE}
        async with self._session.read() as connection:
            return await self._all(connection, "commits_before", **bounds)

    async def _all(
        self, connection: psycopg.AsyncConnection[Any], name: str, begin: int = 0, **bounds: Any
    ) -> list[Commit]:
        """The commits of a query, decoded in turns; `begin` changes of the first one came before."""
        cursor = await ask_log(connection, self._lane, name, **bounds)
        commits = _Commits(begin, has_sequence=self._lane.is_polled)
        while some := await cursor.fetchmany(_TURN_ROWS):
            commits.add(some)
            if len(some) == _TURN_ROWS:
                await asyncio.sleep(0)
        return commits.all()

    async def _may_be_delivered(self, connection: psycopg.AsyncConnection[Any], commit: Commit) -> bool:
        """Whether the first part of a commit may be delivered before the rest is read.

        Not where it changes flags: their events follow from the whole commit. Nor where it is empty, because a
        rolled-back savepoint took all those numbers with it: then there is more to read.
        """
        if commit.ends:
            return bool(commit.changes)
        return not await self._has_flags(connection, commit.position)

    async def _has_flags(self, connection: psycopg.AsyncConnection[Any], position: Position) -> bool:
        if self._lane != FLAGS:
            return False
        row = await (
            await ask_log(connection, self._lane, "has_flags", position=position, tables=list(TABLES))
        ).fetchone()
        return row is not None and bool(row[0])

    async def _state(self, connection: psycopg.AsyncConnection[Any]) -> LogState:
        row = await (await ask_log(connection, self._lane, "log_state")).fetchone()
        if row is None:
            raise SchemaMismatch(f"lane {self._lane.name} no longer exists")
        log, channel, oldest, newest, committed_at, xid, *held_back = row
        if newest is None:
            return LogState(LogId(log), channel, None, Position(0), None, not any(held_back))
        stamp = CommitFingerprint(Position(newest), committed_at, xid)
        return LogState(LogId(log), channel, Position(oldest), stamp.position, stamp, not any(held_back))


async def _attached_schemas(connection: psycopg.AsyncConnection[Any]) -> list[str]:
    """The schemas whose tables are captured.

    Raises `SchemaMissing` where none was even requested: `migrate` is not done yet, and a server that loads now would
    take the database for one without flags.
    """
    requested = await (await connection.execute(query("attachments"))).fetchall()
    if not requested:
        raise SchemaMissing("flagent-cdc is being installed, or was detached from all schemas; run flagent-cdc migrate")
    return [schema for schema, attached_at in requested if attached_at is not None]


async def _rows(connection: psycopg.AsyncConnection[Any], schema: str, table: str) -> list[RowText]:
    cursor = await connection.execute(query("flag_rows"), {"schema": schema, "table": table})
    return [row for (row,) in await cursor.fetchall()]


class _Commits:
    """Gathers the rows of a query into commits."""

    def __init__(self, begin: int, *, has_sequence: bool) -> None:
        """`begin` changes of the first commit came before."""
        self._begin = begin
        self._has_sequence = has_sequence
        self._commits: list[Commit] = []
        self._head: tuple[Any, ...] | None = None
        self._changes: list[Change] = []
        self._numbers: list[int] = []

    def add(self, rows: Iterable[tuple[Any, ...]]) -> None:
        for row in rows:
            if self._head is None or row[0] != self._head[0]:
                self._finish()
                self._head = row[:6]
            number, schema, table, op, before, after, key = row[6:]
            if op is not None:
                sequence = number if self._has_sequence else None
                self._changes.append(Change(schema, table, Op(op), before, after, key, sequence))
            if number is not None:
                self._numbers.append(number)

    def all(self) -> list[Commit]:
        self._finish()
        return self._commits

    def _finish(self) -> None:
        if self._head is None:
            return
        position, committed_at, xid, user, application, count = self._head
        changes, numbers, begin = tuple(self._changes), self._numbers, self._begin
        ends = not changes or numbers[-1] >= count
        # They ascend, so their ends show whether one is missing.
        is_whole = not numbers or (numbers[0] == begin + 1 and numbers[-1] == begin + len(numbers))
        indexes = () if self._has_sequence or is_whole else tuple(numbers)
        self._commits.append(
            Commit(Position(position), committed_at, xid, user, application, changes, begin, ends, indexes)
        )
        self._changes, self._numbers, self._head = [], [], None
