"""Time travel: the catalog at any point in time that the log still holds.

A copy of the present catalog is rewound through the log. The last few results are kept, since one is often asked for
several times. One question is worked on at a time, and a bounded number waits.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager

from ..core.errors import InvalidInput
from ..core.flags.catalog import Catalog
from ..core.log.change import Commit
from ..core.log.point_in_time import AtPosition, PointInTime
from ..core.log.position import Position
from ..errors import OutOfReach, TooBusy
from ..source.log import LogHistory, LogRange, is_of_log
from ..source.upstream import Present
from .rewind import refuse_before_attachment, rewound

__all__ = ["TimeTravel"]

logger = logging.getLogger(__name__)

# Each is a flat copy of the tables' indexes, some megabytes for ten thousand flags.
_KEPT_CATALOGS = 4
_KEEP_S = 60.0

_MAX_WAITING = 16

# How long a question waits for a position that the database has reached and this process has not.
_CATCH_UP_S = 2.0

# A single commit with more changes of flags is not read.
_MOST_CHANGES = 200_000


class TimeTravel:
    """Rewinds at most `limit_changes` changes for one question. `log` is None where the history is not available."""

    def __init__(self, log: LogHistory | None, present: Present, limit_changes: int) -> None:
        self._log = log
        self._present = present
        self._limit_changes = limit_changes
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._kept: OrderedDict[Position, Catalog] = OrderedDict()
        self._kept_of = present.catalog
        self._forget: asyncio.TimerHandle | None = None

    @property
    def log(self) -> LogHistory:
        if self._log is None:
            raise OutOfReach(
                "the history of this lane is not available on this node; ask one that reads the database",
                code="no_past",
            )
        return self._log

    async def extent(self) -> tuple[LogRange, int] | None:
        """The range of the log and its size on disk, in bytes; None where the history is not available.

        Raises `DatabaseError`.
        """
        return None if self._log is None else (await self._log.reach(), await self._log.size_bytes())

    async def at(self, point: PointInTime) -> Catalog:
        """The catalog at a point in time, read-only; it knows nothing of the schemas in `attached`.

        Raises `InvalidInput` for the future, `OutOfReach`, `TooBusy` and `DatabaseError`.
        """
        if isinstance(point, AtPosition) and point.id is None:
            found = self._cached(point.position)
            if found is not None:
                return found
        async with self._turn():
            position = await self._locate(point)
            found = self._cached(position)
            if found is None:
                found = await self._begin(position)
                async with aclosing(self._back(found, position, self._limit_changes)) as back:
                    async for _ in back:
                        pass
                self._keep(found)
            return found

    @asynccontextmanager
    async def travelling(self, before: Position | None) -> AsyncIterator[Catalog]:
        """A private catalog as it was before the commit at a position, or as it is now; `back` takes it further back.

        Its last state is kept, so that the next request continues there. Raises as `at` does.
        """
        async with self._turn():
            if before is None:
                catalog = self._present.catalog.copy()
            else:
                position = await self._locate(AtPosition(Position(max(before - 1, 0))))
                catalog = await self._begin(position)
                async with aclosing(self._back(catalog, position, self._limit_changes)) as back:
                    async for _ in back:
                        pass
            yield catalog
            self._keep(catalog)

    async def back(self, catalog: Catalog, limit: int, schema: str) -> AsyncGenerator[Commit, None]:
        """Within `travelling`: undo commits, newest first, until the caller stops, or log or schema begins.

        Raises `OutOfReach`: `too_far_back` after more than `limit` changes, and `pruned` at the end of what is known.
        """
        refuse_before_attachment(catalog, schema)
        reach = await self._reach()
        if reach.oldest is not None:
            async with aclosing(self._back(catalog, Position(reach.oldest - 1), limit, (schema,))) as back:
                async for commit in back:
                    yield commit
        raise reach.pruned()

    # -- the way back ------------------------------------------------------------------------------------------

    async def _locate(self, point: PointInTime) -> Position:
        reach = await self._reach()
        if isinstance(point, AtPosition):
            id, position = point.id, point.position
            if id is not None and id.log != reach.log:
                raise reach.replaced(
                    f"this position belongs to another log than {reach.log}: the database was restored or failed over"
                )
            if position > reach.newest:
                raise _future(f"position {position} is in the future; the newest is {reach.newest}")
            if id is not None and not await is_of_log(id, reach, self.log):
                raise reach.replaced(
                    f"the commit of {id} is not in the log: the database was restored to a state before it"
                )
        else:
            time = point.time.isoformat(timespec="microseconds").replace("+00:00", "Z")
            if time > reach.now:
                raise _future(f"{time} is in the future; the database's clock says {reach.now}")
            if reach.oldest_at is None or time < reach.oldest_at:
                raise reach.pruned()
            position = await self.log.position_at(point.time) or Position(0)
        if not reach.holds_all_after(position):
            raise reach.pruned()
        return position

    async def _reach(self) -> LogRange:
        reach = await self.log.reach()
        if reach.log != self._present.catalog.log:
            raise TooBusy("the log was replaced, and the new one is being loaded; try again soon")
        return reach

    async def _begin(self, position: Position) -> Catalog:
        """A copy of the nearest known catalog that is not before a position."""
        if not await self._present.reached(position, _CATCH_UP_S):
            raise TooBusy(f"this server has not read position {position} yet; try again soon")
        present = self._present.catalog
        later = [each for each in self._kept_now.values() if each.position >= position]
        return min(later, key=lambda each: each.position, default=present).copy()

    async def _back(
        self, catalog: Catalog, down_to: Position, limit: int, needs: Collection[str] = ()
    ) -> AsyncGenerator[Commit, None]:
        async with aclosing(rewound(catalog, self._read_back, down_to, limit, needs=needs)) as commits:
            async for commit in commits:
                yield commit
        reach = await self._reach()
        if not reach.holds_all_after(down_to):
            raise reach.pruned()  # pruned while it was being read

    async def _read_back(self, position: Position, down_to: Position, limit: int) -> list[Commit]:
        page = await self.log.flag_commits_before(position, down_to, limit, _MOST_CHANGES)
        if page is None:
            raise OutOfReach(
                f"the commit at or before position {position} changed more than {_MOST_CHANGES} rows of flags",
                code="commit_too_large",
            )
        return page

    # -- turns, and the results that are kept ----------------------------------------------------------------------

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._waiting >= _MAX_WAITING:
            raise TooBusy(f"{_MAX_WAITING} questions about the past are waiting already; try again soon")
        self._waiting += 1
        try:
            async with self._lock:
                yield
        finally:
            self._waiting -= 1

    def _cached(self, position: Position) -> Catalog | None:
        found = self._kept_now.get(position)
        if found is not None:
            self._kept.move_to_end(position)
        return found

    @property
    def _kept_now(self) -> OrderedDict[Position, Catalog]:
        """What is kept of the present catalog's past; another one has another past, also under the same log's name."""
        if self._kept_of is not self._present.catalog:
            self._kept.clear()
            self._kept_of = self._present.catalog
        return self._kept

    def _keep(self, catalog: Catalog) -> None:
        kept = self._kept_now
        kept[catalog.position] = catalog
        kept.move_to_end(catalog.position)
        while len(kept) > _KEPT_CATALOGS:
            kept.popitem(last=False)
        if self._forget is not None:
            self._forget.cancel()
        self._forget = asyncio.get_running_loop().call_later(_KEEP_S, self._drop)

    def _drop(self) -> None:
        self._kept.clear()
        self._forget = None

    async def close(self) -> None:
        if self._forget is not None:
            self._forget.cancel()
        self._drop()
        if self._log is not None:
            await self._log.close()


def _future(message: str) -> InvalidInput:
    return InvalidInput(message, name="at", code="in_the_future")
