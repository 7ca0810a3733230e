"""The status of a server process: the one place that reads the numbers for the status page and the metrics."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ..core.freshness import Freshness
from ..core.log.position import LogId, Position
from ..errors import SourceError
from ..node.pipeline import Pipeline
from ..source.log import LogRange

__all__ = ["ListenerStatus", "LogStatus", "RingStatus", "Status", "StatusReader"]

logger = logging.getLogger(__name__)

# How long the change log's numbers are reused, so that many open pages do not cause many queries.
_REUSED_S = 1.0

_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class ListenerStatus:
    """`mode` is `starting`, `listening`, `polling` or `disconnected`; `reason` explains any other than `listening`."""

    mode: str
    reason: str
    reconnects: int
    notifications: int


@dataclass(frozen=True, slots=True)
class LogStatus:
    """The numbers of the change log; those with a default are None if the source has no history.

    `lag` is the number of positions between the catalog's and the newest in the change log. `clock_ahead_ms` is how far
    the database's clock is ahead of this machine's.
    """

    newest: Position
    lag: int
    reach: LogRange | None = None
    size_bytes: int | None = None
    clock_ahead_ms: float | None = None


@dataclass(frozen=True, slots=True)
class RingStatus:
    """The events kept in memory, and the limits."""

    events: int
    size_bytes: int
    limit_events: int
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class Status:
    """The status of this process. `log` is None while the change log cannot be read."""

    now: datetime
    started_at: datetime
    freshness: Freshness
    listener: ListenerStatus
    capture_problems: Sequence[str]
    capture_problem_count: int
    log_id: LogId
    position: Position
    log: LogStatus | None
    flags: int
    schemas: Sequence[str]
    ring: RingStatus
    subscribers: int
    behind: int
    deliveries: int
    resyncs: int
    pauses: int


class StatusReader:
    """Reads the status of a pipeline. All but the change log's numbers are counters in memory and cost nothing."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._started_at = datetime.now(UTC)
        self._log: LogStatus | None = None
        self._queried_at = float("-inf")
        self._query: asyncio.Task[None] | None = None

    async def read(self) -> Status:
        log = await self._read_log()
        pipeline, hub = self._pipeline, self._pipeline.hub
        if log is not None and log.newest < hub.catalog.position:
            # Read before the catalog applied newer commits.
            log = replace(log, newest=hub.catalog.position, lag=0)
        return Status(
            now=datetime.now(UTC),
            started_at=self._started_at,
            freshness=pipeline.freshness(),
            listener=ListenerStatus(
                pipeline.listener.mode,
                pipeline.listener.reason,
                pipeline.listener.reconnects,
                pipeline.listener.notifications,
            ),
            capture_problems=pipeline.capture_problems,
            capture_problem_count=0 if pipeline.capture is None else pipeline.capture.problem_count,
            log_id=hub.catalog.log,
            position=hub.catalog.position,
            log=log,
            flags=hub.catalog.flag_count,
            schemas=hub.catalog.schemas,
            ring=RingStatus(len(hub.ring), hub.ring.size_bytes, hub.limits.ring_events, hub.limits.ring_bytes),
            subscribers=hub.subscriber_count,
            behind=hub.behind_count,
            deliveries=hub.counters.deliveries,
            resyncs=hub.counters.resyncs.total(),
            pauses=hub.counters.pauses,
        )

    async def _read_log(self) -> LogStatus | None:
        """Query the change log once for all concurrent readers; None if the database does not answer in a second."""
        loop = asyncio.get_running_loop()
        if self._query is None and loop.time() - self._queried_at > _REUSED_S:
            self._query = asyncio.create_task(self._refresh())
        if self._query is not None:
            done, _ = await asyncio.wait((self._query,), timeout=_TIMEOUT_S)
            if not done:
                return None
        return self._log

    async def _refresh(self) -> None:
        try:
            self._log = await self._measure()
        except SourceError as error:
            logger.debug(
                "The size of the change log is unknown",
                extra={"action": "change_log_size_failed", "reason": str(error)},
            )
            self._log = None
        finally:
            self._queried_at = asyncio.get_running_loop().time()
            self._query = None

    async def _measure(self) -> LogStatus:
        before = datetime.now(UTC)
        extent = await self._pipeline.past.extent()
        applied = self._pipeline.hub.catalog.position
        if extent is None:
            newest = await self._pipeline.newest_position()
            return LogStatus(newest, max(0, newest - applied))
        reach, size_bytes = extent
        middle = before + (datetime.now(UTC) - before) / 2
        ahead_ms = (datetime.fromisoformat(reach.now) - middle).total_seconds() * 1000
        return LogStatus(reach.newest, max(0, reach.newest - applied), reach, size_bytes, ahead_ms)
