"""One lane in one process: source, catalog, hub and keep-alives, started and stopped as one.

The hub exists before the source has been reached, so that a server can start first and report that it is not ready.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ..change_feed.backfill import Backfills
from ..change_feed.page_reader import ChangeFeed
from ..change_feed.row_stream import RowStream
from ..core.flags.catalog import Catalog
from ..core.freshness import Freshness
from ..core.log.lane import FLAGS, Lane
from ..core.log.position import NO_LOG, Position
from ..fanout.encode_ahead import encode_ahead
from ..fanout.history import Historian
from ..fanout.hub import Hub
from ..fanout.keepalive import Keepalive
from ..fanout.limits import HubLimits
from ..fanout.observer import HubObserver
from ..fanout.row_sender import RowSender
from ..fanout.subscriber import Subscriber
from ..history.replay import ReplayReader
from ..history.time_travel import TimeTravel
from ..settings.settings import Settings
from ..source.cancellation import cancel_and_wait, stop_and_wait
from ..source.upstream import Upstream

__all__ = ["Pipeline"]


class Pipeline:
    """Everything between the source of commits and the sinks of subscribers, for one lane."""

    def __init__(
        self,
        settings: Settings,
        upstream: Upstream,
        lane: Lane = FLAGS,
        *,
        observer: HubObserver | None = None,
        tables: Backfills | None = None,
    ) -> None:
        """`tables` are those of another pipeline of this process, so that the limit on backfills is one for all."""
        limits = HubLimits(
            ring_events=settings.pipeline.ring_events,
            ring_bytes=settings.pipeline.ring_bytes,
            max_flag_bytes=settings.pipeline.max_flag_bytes,
            keep_alive_s=settings.sse.keep_alive_s,
            ping_s=settings.websocket.ping_interval_s,
            stall_s=settings.pipeline.stall_timeout_s,
        )
        # The source publishes to the hub, and what replays the past reads the present from it: the hub comes first, and
        # asks for history and rows through the pipeline.
        self.hub = Hub(
            Catalog(NO_LOG),
            limits,
            self.freshness,
            historian=lambda id: self.replay(id),
            row_sender=lambda subscriber, names, write: self.send_rows(subscriber, names, write),
            observer=observer,
        )
        source = upstream.open(self.hub, lane)
        self.log = source.log
        self.listener = source.listener
        self.maintenance = source.maintenance
        self.capture = source.capture
        self.replay: Historian = ReplayReader(self.log, self.hub, settings.pipeline.replay_limit)
        self.changes = ChangeFeed(upstream.log_history(lane), self.hub)
        self._has_own_tables = tables is None
        self.tables = (
            Backfills(upstream.table_source, settings.pipeline.backfill_timeout_s) if tables is None else tables
        )
        self.send_rows: RowSender = RowStream(self.tables, self.changes).send
        self.past = TimeTravel(upstream.log_history(), self.hub, settings.pipeline.replay_limit)
        self.sse_keepalive = Keepalive(self.hub, limits.keep_alive_s)
        self.websocket_keepalive = Keepalive(self.hub, limits.ping_s)

    # -- subscribers -------------------------------------------------------------------------------------------

    def join(
        self,
        subscriber: Subscriber,
        *,
        first: Sequence[bytes] = (),
        last_event_id: str | None = None,
        snapshot: bool = False,
    ) -> None:
        """Register a subscriber for events and keep-alives, as `Hub.subscribe` begins; it must `leave` once."""
        self._keepalive_of(subscriber).add(subscriber)
        self.hub.subscribe(subscriber, first=first, last_event_id=last_event_id, snapshot=snapshot)

    def leave(self, subscriber: Subscriber) -> None:
        """Unregister a subscriber, whose connection is gone or continues in another pipeline. Idempotent."""
        self.hub.remove(subscriber)
        self._keepalive_of(subscriber).remove(subscriber)

    def _keepalive_of(self, subscriber: Subscriber) -> Keepalive:
        return self.sse_keepalive if subscriber.format.transport == "sse" else self.websocket_keepalive

    # -- life cycle --------------------------------------------------------------------------------------------

    @property
    def is_loaded(self) -> bool:
        """Whether the catalog has been read once. From then on every question has an answer, perhaps a stale one."""
        return self.hub.catalog.log != NO_LOG

    async def loaded(self, timeout_s: float) -> bool:
        """Wait until the catalog has been read once; False where it was not within `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self.is_loaded:
                    await self.hub.advance()
        return self.is_loaded

    @property
    def is_ready(self) -> bool:
        return self.is_loaded and self.freshness().fresh

    def freshness(self) -> Freshness:
        return self.listener.freshness()

    @property
    def capture_problems(self) -> Sequence[str]:
        """Why changes are not captured, or not all, for people; what is captured is delivered all the same."""
        return () if self.capture is None else self.capture.problems

    def check_capture(self) -> None:
        """Something about the watched tables has changed: look whether the log has it."""
        if self.capture is not None:
            self.capture.look_soon()

    async def newest_position(self) -> Position:
        """The newest position of the source; raises `SourceError`."""
        return await self.log.newest()

    def stop_answering(self) -> None:
        """The server shuts down: answer waiting readers of the change feed now, and abort backfills."""
        self.changes.stop_waiting()
        self.tables.stop()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the source until the end of the block."""
        tasks = [asyncio.create_task(self.listener.run(), name="listener")]
        upkeep = [each for each in (self.maintenance, self.capture) if each is not None]
        tasks += [asyncio.create_task(each.run(), name="maintenance") for each in upkeep]
        self.sse_keepalive.start()
        self.websocket_keepalive.start()
        encoding = asyncio.create_task(encode_ahead(self.hub), name="encode-ahead")
        try:
            yield
        finally:
            await cancel_and_wait([encoding])
            await self.sse_keepalive.stop()
            await self.websocket_keepalive.stop()
            await stop_and_wait([self.listener, *upkeep], tasks)
            await self.changes.close()
            if self._has_own_tables:
                await self.tables.close()
            await self.past.close()
            await self.log.close()
