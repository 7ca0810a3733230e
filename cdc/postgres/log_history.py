"""One lane's log in PostgreSQL as an archive: what was when, and the changes that led there.

It reads over a connection of its own, so that questions about the past, however large, never delay the listener.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

import psycopg

from ..core.change_feed.cursor import Cursor
from ..core.change_feed.logged_change import ChangePage, LoggedChange
from ..core.change_feed.snapshot_visibility import SnapshotVisibility
from ..core.flags.flag_tables import TABLES
from ..core.log.change import Change, Commit, Op
from ..core.log.continuity import CommitFingerprint
from ..core.log.lane import FLAGS, Lane
from ..core.log.position import LogId, Position, commit_hash
from ..core.log.row_text import RowText
from ..database.queries import query
from ..database.read_session import ReadSession
from ..errors import OutOfReach, SchemaMismatch
from ..source.log import LogRange
from .log_reader import ask_log, read_stamp

__all__ = ["PostgresLogHistory", "read_log_range"]

_READ_S = 60.0

# An index behind the last change of any commit.
_WHOLE = 2**63 - 1

# The rows of one page together; a larger row has a page to itself.
_PAGE_BYTES = 8 * 1024 * 1024


class PostgresLogHistory:
    """The port `LogHistory` of a database, for one lane."""

    def __init__(self, url: str, lane: Lane = FLAGS) -> None:
        self._lane = lane
        self._session = ReadSession(url, RowText.load)

    async def close(self) -> None:
        await self._session.close()

    async def reach(self) -> LogRange:
        async with self._session.use() as connection:
            return await read_log_range(connection, self._lane)

    async def size_bytes(self) -> int:
        return int(await self._session.scalar(query("size_on_disk")) or 0)

    async def position_at(self, time: datetime) -> Position | None:
        async with self._session.use() as connection:
            row = await (await connection.execute(query("position_at"), {"time": time})).fetchone()
            return None if row is None or row[0] is None else Position(row[0])

    async def stamp(self, position: Position) -> CommitFingerprint | None:
        async with self._session.use() as connection:
            return await read_stamp(connection, self._lane, position)

    async def flag_commits_before(
        self, position: Position, down_to: Position, limit: int, most: int
    ) -> list[Commit] | None:
        bounds = {
            "position": position, "down_to": down_to, "limit": limit, "most": most + 1, "tables": list(TABLES)
        }  # fmt: skip
        async with self._session.use(_READ_S) as connection:
            rows = await (await ask_log(connection, self._lane, "flag_commits_before", **bounds)).fetchall()
        if len(rows) > most:
            # The last one may be incomplete.
            last = rows[-1][0]
            rows = [row for row in rows if row[0] != last]
            if not rows:
                return None
        if not all(row[-1] for row in rows):
            raise OutOfReach("the change log no longer holds these changes", code="pruned")
        commits: list[Commit] = []
        for _, found in groupby(rows, key=itemgetter(0)):
            group = list(found)
            at, committed_at, xid, user, application = group[0][:5]
            changes = tuple(
                Change(schema, table, Op(op), before, after, key)
                for *_, schema, table, op, before, after, key, _ in group
                if op is not None
            )
            commits.append(Commit(Position(at), committed_at, xid, user, application, changes))
        return commits

    async def changes_after(
        self, after: Cursor | None, *, limit: int, scan: int, tables: Sequence[str] | None
    ) -> ChangePage:
        async with self._session.use(_READ_S) as connection, connection.transaction():
            # All questions need the same snapshot.
            reach = await read_log_range(connection, self._lane)
            if after is None:
                after = Cursor(Position(0 if reach.oldest is None else reach.oldest - 1), None, reach.log)
            found = None if after.hash is None else await read_stamp(connection, self._lane, after.position)
            reach.refuse(after, found)
            bounds = {
                "position": after.position,
                "index": _WHOLE if after.index is None else after.index,
                "limit": limit,
                "scan": scan,
                "tables": None if tables is None else list(tables),
                "most_bytes": _PAGE_BYTES,
                "seen": None if after.seen is None else after.seen.as_pg_snapshot,
            }
            rows = await (await ask_log(connection, self._lane, "changes_after", **bounds)).fetchall()
        if any(row[1] is None for row in rows):
            raise reach.pruned()
        changes = tuple(
            LoggedChange(
                Position(position), index, count, committed_at, xid, user, application,
                schema, table, Op(op), key, before, after_row, self._lane.is_polled,
            )
            for position, index, count, committed_at, xid, user, application, schema, table, op, key, before, after_row,
            is_wanted in rows
            if is_wanted
        )  # fmt: skip
        next = after
        if rows:
            position, index, count, committed_at, xid = rows[-1][:5]
            next = Cursor.after(
                Position(position), None if index >= count else index, reach.log, after.seen,
                commit_hash(committed_at, xid),
            )  # fmt: skip
        is_open = next.index is None and next.position >= reach.newest
        if is_open and next.seen is not None and reach.horizon is not None and reach.horizon >= next.seen.end:
            next = replace(next, seen=None)  # every transaction that it saw is below the horizon now
        return ChangePage(changes, next, reach.newest, is_open, reach.database, after.seen)


async def read_log_range(connection: psycopg.AsyncConnection[Any], lane: Lane) -> LogRange:
    """The range of a lane's log, within whatever transaction the connection is in."""
    row = await (await ask_log(connection, lane, "log_reach")).fetchone()
    if row is None:
        raise SchemaMismatch(f"lane {lane.name} no longer exists")
    log, oldest, oldest_at, newest, now, database, horizon, seen = row
    return LogRange(
        LogId(log), None if oldest is None else Position(oldest), oldest_at, Position(newest), now, database,
        horizon, None if seen is None else SnapshotVisibility.of_pg_snapshot(seen),
    )  # fmt: skip
