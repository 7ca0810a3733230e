"""What a server knows of its own work: every number that is shown, to people or to machines, is read here."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ..core.log.position import LogId, Position
from ..errors import SourceError
from ..node.pipeline import Pipeline
from ..source.upstream import Freshness, LogRange

__all__ = ["ListenerStatus", "LogStatus", "RingStatus", "Status", "StatusReader"]

logger = logging.getLogger(__name__)

# How long an answer about the change log is reused: many open pages must not be many queries.
_KEPT_S = 1.0

_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class ListenerStatus:
    """`mode` is `starting`, `listening`, `polling` or `disconnected`; `reason` says why where it is not listening."""

    mode: str
    reason: str
    reconnects: int
    notifications: int


@dataclass(frozen=True, slots=True)
class LogStatus:
    """`lag` counts positions from the catalog's to the newest in the change log. The others are None where the
    source has no history. `clock_ahead_ms` is by how much the database's clock is ahead of this machine's."""

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
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def read(self) -> Status:
        log = await self._read_log()
        pipeline, hub = self._pipeline, self._pipeline.hub
        if log is not None and log.newest < hub.catalog.position:
            # Asked a moment ago, and overtaken since.
            log = replace(log, newest=hub.catalog.position)
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
            log_id=hub.catalog.log,
            position=hub.catalog.position,
            log=log,
            flags=hub.catalog.flag_count,
            schemas=hub.catalog.schemas,
            ring=RingStatus(len(hub.ring), hub.ring.size_bytes, hub.limits.ring_events, hub.limits.ring_bytes),
            subscribers=hub.subscriber_count,
            behind=hub.behind_count,
            deliveries=hub.deliveries,
            resyncs=hub.resyncs,
            pauses=hub.pauses,
        )

    async def _read_log(self) -> LogStatus | None:
        """Query the change log once for all concurrent readers; a silent database delays them for a second at most."""
        loop = asyncio.get_running_loop()
        if self._asking is None and loop.time() - self._asked_at > _KEPT_S:
            self._asking = asyncio.create_task(self._ask())
        if self._asking is not None:
            done, _ = await asyncio.wait((self._asking,), timeout=_PATIENCE_S)
            if not done:
                return None
        return self._log

    async def _ask(self) -> None:
        try:
            self._log = await self._measure()
        except SourceError as error:
            logger.debug(
                "The size of the change log is unknown",
                extra={"action": "change_log_size_failed", "reason": str(error)},
            )
            self._log = None
        finally:
            self._asked_at = asyncio.get_running_loop().time()
            self._asking = None

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
