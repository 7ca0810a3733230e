"""An upstream in memory: what a pipeline opens, without a database."""

import asyncio
from collections.abc import Sequence
from typing import Any

from cdc.core.flags.catalog import Catalog
from cdc.core.freshness import Freshness
from cdc.core.log.lane import FLAGS, Lane, WatchedTable
from cdc.core.log.position import LogId, Position
from cdc.core.subscription.resume import ResyncReason
from cdc.source.upstream import Replica, Source
from tests.cdc.core.flagent import LOG, Flagent

__all__ = ["MemoryDirectory", "MemoryUpstream"]


class MemoryLog:
    """Only what a pipeline asks for; `commits_before` belongs to the tests of replay."""

    def __init__(self) -> None:
        self.position = Position(0)
        self.is_closed = False

    async def newest(self) -> Position:
        return self.position

    async def close(self) -> None:
        self.is_closed = True


class MemoryFollower:
    """Loads an empty catalog when it runs, unless `loads` is False; then `write` publishes."""

    mode, reason, reconnects, notifications = "listening", "", 0, 0

    def __init__(self, replica: Replica, lane: Lane, log: MemoryLog) -> None:
        self.flagent = Flagent()
        self.is_fresh = True
        self.is_running = False
        self.loads = True
        self._replica = replica
        self._log = log
        self._log_id = LOG if lane == FLAGS else LogId(lane.name)
        self._stopping = asyncio.Event()

    def freshness(self) -> Freshness:
        return Freshness(self.is_fresh, 0)

    async def run(self) -> None:
        self.is_running = True
        if self.loads:
            catalog = Catalog(self._log_id)
            catalog.attach("public")
            self._replica.replace(catalog, ResyncReason.LOG_REPLACED)
        await self._stopping.wait()
        self.is_running = False

    def stop(self) -> None:
        self._stopping.set()

    def flag(self, key: str) -> None:
        self.flagent.flag(key)
        commit = self.flagent.commit()
        self._log.position = commit.position
        self._replica.publish([commit])


class MemoryUpstream:
    """Keeps what it has opened, by lane."""

    def __init__(self) -> None:
        self.followers: dict[Lane, MemoryFollower] = {}
        self.logs: dict[Lane, MemoryLog] = {}
        self.is_slow = False

    def open(self, replica: Replica, lane: Lane = FLAGS) -> Source:
        log: Any = MemoryLog()
        follower = MemoryFollower(replica, lane, log)
        follower.loads = not self.is_slow
        self.followers[lane], self.logs[lane] = follower, log
        return Source(log, follower)

    def lanes(self) -> None:
        return None

    def log_history(self, lane: Lane = FLAGS) -> None:
        return None

    def table_source(self) -> None:
        return None

    def exposure_store(self) -> None:
        return None

    def key_store(self) -> Any:
        raise NotImplementedError


class MemoryDirectory:
    """`tables` are what is watched now; an error in `failure` is raised instead."""

    def __init__(self, *tables: WatchedTable) -> None:
        self.tables: Sequence[WatchedTable] = tables
        self.failure: Exception | None = None
        self.asked = 0
        self.is_closed = False

    async def watched_lanes(self) -> Sequence[WatchedTable]:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return self.tables

    async def close(self) -> None:
        self.is_closed = True
