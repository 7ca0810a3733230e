"""The reading half of a server put together: store, hub, listener, historian and hearts, started and stopped as one.

The hub exists before the database has been reached, so that a server can start first and say that it is not ready.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .core.catalog import Catalog
from .core.position import LogId, Position
from .errors import FlagentCdcError, is_retryable
from .heart import Heart
from .history import LogHistorian
from .hub import Freshness, Hub, HubLimits
from .install import attach_pending
from .listener import Listener, ListenerTimes
from .settings import Settings
from .store import Store

__all__ = ["Feed"]

logger = logging.getLogger(__name__)

_NO_LOG = LogId("none")

_STOP_S = 0.5

# How long one try may take; a table in use by others is tried again at the listener's next idle moment.
_ATTACH_S = 1.0


class Feed:
    """Everything between the database and the sinks, for one process."""

    def __init__(self, settings: Settings, url: str) -> None:
        self._url = url
        self._store = Store(url)
        self._refused_schemas: frozenset[str] = frozenset()
        limits = HubLimits(
            ring_events=settings.ring_events,
            ring_bytes=settings.ring_bytes,
            keep_alive_s=settings.sse_keep_alive_s,
            ping_s=settings.ws_ping_interval_s,
            stall_s=settings.stall_timeout_s,
        )
        self.hub = Hub(Catalog(_NO_LOG), limits, self.freshness)
        self.hub.historian = LogHistorian(self._store, self.hub, settings.replay_limit)
        self.listener = Listener(
            url,
            self._store,
            self.hub,
            ListenerTimes(
                probe_s=settings.probe_interval_s, poll_s=settings.poll_interval_s, gather_s=settings.gather_window_s
            ),
            self._attach_pending,
        )
        self.sse_heart = Heart(self.hub, limits.keep_alive_s)
        self.websocket_heart = Heart(self.hub, limits.ping_s)

    @property
    def is_loaded(self) -> bool:
        """Whether the catalog has been read once; from then on there is always an answer, if perhaps an old one."""
        return self.hub.catalog.log != _NO_LOG

    @property
    def is_ready(self) -> bool:
        return self.is_loaded and self.freshness().fresh

    def freshness(self) -> Freshness:
        return self.listener.freshness()

    async def newest_position(self) -> Position:
        """The newest position in the database; raises `DatabaseError`."""
        return await self._store.newest()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the database until the end of the block."""
        listening = asyncio.create_task(self.listener.run(), name="listener")
        self.sse_heart.start()
        self.websocket_heart.start()
        try:
            yield
        finally:
            await self.sse_heart.stop()
            await self.websocket_heart.stop()
            # Cut, not cancelled: the driver would first ask the database, which may be silent, to cancel its query.
            self.listener.stop()
            await asyncio.wait((listening,), timeout=_STOP_S)
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
            await self._store.close()

    async def _attach_pending(self) -> None:
        """Attach schemas whose tables have appeared since `migrate` waited for them."""
        pending = frozenset(await self._store.pending_schemas())
        if not pending or pending == self._refused_schemas:
            return
        try:
            await asyncio.to_thread(attach_pending, self._url, deadline_s=_ATTACH_S)
        except FlagentCdcError as error:
            if is_retryable(error):
                logger.info("A schema cannot be attached yet", extra={"action": "attach_put_off", "reason": str(error)})
                return
            # Said once: a role that may only read cannot attach, and the sentence names who must do what.
            self._refused_schemas = pending
            logger.warning(
                "A schema waits to be attached; run `flagent-cdc migrate` as its owner",
                extra={"action": "attach_refused", "schemas": sorted(pending), "reason": str(error)},
            )
