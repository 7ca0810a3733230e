"""The log as something to look things up in: what was when, and the changes that lead there.

A connection of its own, apart from the store's that the listener reads with: whoever asks about the past, however much,
must not hold up the present. It is closed again when nobody has asked for a while.
"""

from datetime import datetime
from itertools import groupby
from operator import itemgetter

from .core.change import Change, Commit, Op
from .core.position import LogId, Position
from .core.tables import TABLES
from .errors import OutOfReach
from .ports import Reach
from .sql import query
from .store import Store

__all__ = ["Archive"]

_READ_S = 60.0


class Archive(Store):
    """The port `PastLog`; one caller at a time, as in the store."""

    async def reach(self) -> Reach:
        async with self._use() as connection:
            row = await (await connection.execute(query("log_reach"))).fetchone()
            assert row is not None, "a query of scalars gives one row"
            log, oldest, oldest_at, newest, now = row
            return Reach(LogId(log), None if oldest is None else Position(oldest), oldest_at, Position(newest), now)

    async def position_at(self, time: datetime) -> Position | None:
        async with self._use() as connection:
            row = await (await connection.execute(query("position_at"), {"time": time})).fetchone()
            return None if row is None or row[0] is None else Position(row[0])

    async def flag_commits_before(
        self, position: Position, down_to: Position, limit: int, most: int
    ) -> list[Commit] | None:
        bounds = {
            "position": position, "down_to": down_to, "limit": limit, "most": most + 1, "tables": list(TABLES)
        }  # fmt: skip
        async with self._use(_READ_S) as connection:
            rows = await (await connection.execute(query("flag_commits_before"), bounds)).fetchall()
        if len(rows) > most:
            # The last one may be cut off.
            last = rows[-1][0]
            rows = [row for row in rows if row[0] != last]
            if not rows:
                return None
        if not all(row[-1] for row in rows):
            raise OutOfReach("the log no longer holds these changes", code="pruned")
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
