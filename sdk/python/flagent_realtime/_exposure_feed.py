"""Exposures on their way from an evaluation, in any thread, to the handlers of a client."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ._dispatcher import Dispatcher
from ._home import Home

QUEUE_SIZE = 10_000


@dataclass(frozen=True)
class Exposure:
    """An entity got a variant, or none, of a flag.

    ``position`` is that of the store. ``context_keys`` are the names of the entity's context, never its values.
    ``time`` is in UTC.
    """

    flag_key: str
    flag_id: int
    schema: str | None
    variant_key: str | None
    entity_id: str
    segment_id: int | None
    position: int | None
    context_keys: tuple[str, ...]
    time: datetime


class FeedHost(Protocol):
    """What a feed uses of its client; underscored, because the client is public."""

    _dispatcher: Dispatcher
    _home: Home


class ExposureFeed:
    """Calls handlers of exposures from the client's queue; ``dropped`` counts those that found no room.

    Evaluations come from any thread; handlers are called as the client calls all of its handlers.
    """

    def __init__(self, client: FeedHost) -> None:
        self.handlers: list[Callable[..., Any]] = []
        self.dropped = 0
        self._client = client
        self._waiting: deque[Exposure] = deque()
        self._is_scheduled = False

    def publish(self, exposure: Exposure) -> None:
        """Queue an exposure for the handlers. Never waits, and never raises."""
        if len(self._waiting) >= QUEUE_SIZE:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(exposure)
        if self._is_scheduled:
            return
        loop = self._client._home.loop
        if loop is None or loop.is_closed() or self._client._home.is_forked:
            return
        self._is_scheduled = True
        try:
            loop.call_soon_threadsafe(self._post)
        except RuntimeError:
            # The event loop was closed in between: there is no handler to call any more.
            self._is_scheduled = False

    def _post(self) -> None:
        self._client._dispatcher.post(self._deliver)

    async def _deliver(self) -> None:
        self._is_scheduled = False
        while self._waiting:
            exposure = self._waiting.popleft()
            for handler in list(self.handlers):
                await self._client._dispatcher.call(handler, exposure)
