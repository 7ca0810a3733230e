"""Retention of the change log: deletes its oldest commits, by age and by size, in small steps.

Every process of every instance tries at intervals; the database admits one of them and turns the others away. It also
decides what may be deleted at all (sql/objects/700_prune.sql). A client that resumes from a pruned id gets a resync.

After each step the pruner pauses six times as long as the step took, so that it never takes more than a seventh of the
database's time (`python -m bench.prune`).
"""

import asyncio
import logging
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from ..database.connection import answering_within, connect, set_own_settings, shutdown_socket
from ..database.database_url import read_database_url, redact
from ..database.driver_errors import driver_errors
from ..database.lock_retry import changing
from ..database.lock_retry import connect as connect_to_change
from ..database.queries import query
from ..errors import DatabaseError, is_retryable

__all__ = ["Pruned", "Pruner", "Retention", "keep_at_least"]

logger = logging.getLogger(__name__)

# A step of this many changes takes some 2 ms.
BATCH_CHANGES = 100

_REST = 6.0

# Where steps cost almost nothing: the loop and the disk are left to others all the same.
_LEAST_REST_S = 0.005

# A single commit may hold a million changes, and is deleted in one step.
_BATCH_S = 120.0


@dataclass(frozen=True, slots=True)
class Retention:
    """What the change log may hold; None is no limit. `lane_max_bytes` is for each lane besides the default one."""

    max_age_s: float | None
    max_bytes: int | None
    lane_max_bytes: int | None = None

    @property
    def is_unlimited(self) -> bool:
        return self.max_age_s is None and self.max_bytes is None and self.lane_max_bytes is None


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one run deleted; `is_busy` where another session was pruning.

    `kept` is about how many changes are too many and stay: the owner's minimum age wins over every limit.
    """

    commits: int = 0
    changes: int = 0
    is_busy: bool = False
    kept: int = 0


def keep_at_least(url: str, age_s: float) -> None:
    """Forbid pruning commits that are younger than this, by anyone, from now on; needs the owner's rights."""
    conninfo = read_database_url(url)
    with driver_errors(redact(conninfo)), connect_to_change(conninfo) as connection, changing(connection):
        connection.execute(query("set_min_age"), {"min_age_s": age_s})


class Pruner:
    """The port `Maintenance` of a database: `prune` once, or `run` about every `interval_s` until stopped.

    `rest` is how long it pauses after a step, as a multiple of what that step took.
    """

    def __init__(self, url: str, retention: Retention, interval_s: float = 60.0, *, rest: float = _REST) -> None:
        self._url = url
        self._target = redact(url)
        self._retention = retention
        self._interval_s = interval_s
        self._rest = rest
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._must_stop = asyncio.Event()
        self._has_warned = False
        self._keeps_too_much = False
        self.pruned_commits = 0

    async def prune(self, *, at_most_s: float = math.inf) -> Pruned:
        """Delete what is too old or too much, step by step, for `at_most_s`; raises `DatabaseError`.

        The result counts the commits of the default lane only.
        """
        async with self._connected() as connection:
            pruned = await self._prune_flags(connection, at_most_s)
            others = 0 if pruned.is_busy else await self._prune_others(connection, at_most_s)
        return replace(pruned, changes=pruned.changes + others)

    async def _prune_flags(self, connection: psycopg.AsyncConnection[Any], at_most_s: float) -> Pruned:
        loop = asyncio.get_running_loop()
        started = loop.time()
        commits = changes = 0
        excess = await self._excess(connection)
        while True:
            began = loop.time()
            # What becomes too old meanwhile is left to the next run: this one must end.
            gone = await self._prune_batch(connection, began - started, max(0, excess - changes))
            commits, changes = commits + gone.commits, changes + gone.changes
            if gone.is_busy or not gone.commits or loop.time() - started > at_most_s:
                is_done = not gone.is_busy and not gone.commits
                return Pruned(commits, changes, gone.is_busy, max(0, excess - changes) if is_done else 0)
            if await self._is_stopped_within(max(_LEAST_REST_S, (loop.time() - began) * self._rest)):
                return Pruned(commits, changes)

    async def _prune_others(self, connection: psycopg.AsyncConnection[Any], at_most_s: float) -> int:
        """In the other lanes: what is too old in any of them, then what is too much in each."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        max_age_s = self._retention.max_age_s

        async def too_old(_: int) -> int:
            older_than_s = None if max_age_s is None else max_age_s + loop.time() - started
            return await self._batch_of_others(connection, "prune_lanes", older_than_s=older_than_s)

        changes = await self._prune_repeatedly(too_old, started + at_most_s)
        for lane, excess in await self._excess_of_others(connection):

            async def too_much(gone: int, lane: int = lane, excess: int = excess) -> int:
                return await self._batch_of_others(connection, "prune_lane", lane=lane, changes=excess - gone)

            changes += await self._prune_repeatedly(too_much, started + at_most_s)
        return changes

    async def _prune_repeatedly(self, step: Callable[[int], Awaitable[int]], until: float) -> int:
        """Call `step` with the number of changes deleted so far until it deletes none; that number."""
        loop = asyncio.get_running_loop()
        changes = 0
        while True:
            began = loop.time()
            gone = await step(changes)
            changes += gone
            if not gone or loop.time() > until:
                return changes
            if await self._is_stopped_within(max(_LEAST_REST_S, (loop.time() - began) * self._rest)):
                return changes

    async def _batch_of_others(self, connection: psycopg.AsyncConnection[Any], name: str, **bounds: Any) -> int:
        with answering_within(connection, _BATCH_S, self._target):
            async with connection.transaction():
                await set_own_settings(connection)
                row = await (await connection.execute(query(name), {**bounds, "limit": BATCH_CHANGES})).fetchone()
        return 0 if row is None else int(row[0])

    async def _excess_of_others(self, connection: psycopg.AsyncConnection[Any]) -> list[tuple[int, int]]:
        """Each other lane whose log is too large, and how many changes to delete."""
        max_bytes = self._retention.lane_max_bytes
        if max_bytes is None:
            return []
        with answering_within(connection, _BATCH_S, self._target):
            rows = await (await connection.execute(query("lane_log_sizes"), {"max_bytes": max_bytes})).fetchall()
        return [
            (lane, held - held * max_bytes // size_bytes) for lane, held, size_bytes in rows if size_bytes > max_bytes
        ]

    async def run(self) -> None:
        if self._retention.is_unlimited:
            return
        # Spread, so that instances that were started together do not meet at the lock each time.
        while not await self._is_stopped_within(random.uniform(0.5, 1.0) * self._interval_s):  # noqa: S311 - jitter
            try:
                pruned = await self.prune()
            except DatabaseError as error:
                self._on_error(error)
                continue
            except Exception:
                # Unknown; the change log would grow for ever if this ended here.
                logger.exception("Pruning failed", extra={"action": "prune_failed"})
                continue
            self._has_warned = False
            self._note_kept(pruned.kept)
            self.pruned_commits += pruned.commits
            if pruned.commits:
                logger.info(
                    "Change log pruned",
                    extra={"action": "change_log_pruned", "commits": pruned.commits, "changes": pruned.changes},
                )

    def stop(self) -> None:
        """Make `run` return soon, even where it waits for the database."""
        self._must_stop.set()
        shutdown_socket(self._connection)

    async def _is_stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._must_stop.wait(), seconds)
        except TimeoutError:
            return False
        return True

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A session for one run; none is kept open between the runs."""
        self._connection = connection = await connect(self._url, name="pruner")
        try:
            # Under SERIALIZABLE, which may be the database's default, deleting could make writers fail.
            await connection.set_isolation_level(psycopg.IsolationLevel.READ_COMMITTED)
            await connection.set_read_only(False)
            yield connection
        finally:
            self._connection = None
            await connection.close()

    async def _prune_batch(self, connection: psycopg.AsyncConnection[Any], elapsed_s: float, excess: int) -> Pruned:
        max_age_s = self._retention.max_age_s
        limits = {
            "older_than_s": None if max_age_s is None else max_age_s + elapsed_s,
            "changes": excess,
            "limit": BATCH_CHANGES,
        }
        with answering_within(connection, _BATCH_S, self._target):
            async with connection.transaction():
                await set_own_settings(connection)
                row = await (await connection.execute(query("prune"), limits)).fetchone()
        assert row is not None, "the function returns one row"
        return Pruned(*row)

    async def _excess(self, connection: psycopg.AsyncConnection[Any]) -> int:
        """How many changes to delete for the log of the default lane to be small enough.

        Counted once, at the beginning: the statistics learn of deletions a little later, and must not count them twice.
        """
        if self._retention.max_bytes is None:
            return 0
        with answering_within(connection, _BATCH_S, self._target):
            row = await (await connection.execute(query("log_size"))).fetchone()
        assert row is not None, "a query of totals gives one row"
        held, size_bytes = row
        return max(0, held - held * self._retention.max_bytes // size_bytes) if size_bytes else 0

    def _note_kept(self, kept: int) -> None:
        """Logged when it begins, not at each run."""
        if kept and not self._keeps_too_much:
            logger.warning(
                "The change log stays larger than its limit: what is younger than the owner's minimum age is kept",
                extra={"action": "prune_limited", "changes": kept, "limit_bytes": self._retention.max_bytes},
            )
        self._keeps_too_much = kept > 0

    def _on_error(self, error: DatabaseError) -> None:
        if self._must_stop.is_set():
            return
        if is_retryable(error):
            logger.info("The change log cannot be pruned yet", extra={"action": "prune_deferred", "reason": str(error)})
        elif not self._has_warned:
            # Logged once: it needs an operator, and would be repeated for ever.
            self._has_warned = True
            logger.warning(
                "The change log is not pruned and grows; run `flagent-cdc migrate` as its owner",
                extra={"action": "prune_refused", "reason": str(error)},
            )
