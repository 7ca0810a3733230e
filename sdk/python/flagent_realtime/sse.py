"""The client of the event stream (Server-Sent Events)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._client import RealtimeClient
from ._sse_transport import SseTransport
from .subscriptions import Subscription

__all__ = ["FlagentSSEClient"]


class FlagentSSEClient(RealtimeClient):
    """Live events over one HTTP response: ``FlagentSSEClient("https://host/api/v1/events/stream", api_key=…)``.

    The selection is part of the request: a subscription that widens it replaces the connection by one that resumes, so
    that no event is lost. An event stream cannot select everything and tables at once; use two clients or the WebSocket
    client. See :class:`RealtimeClient` for the arguments.
    """

    def _make_transport(self) -> SseTransport:
        return SseTransport(self, self.url)

    def subscribe(self, handler: Callable[..., Any], **selectors: Any) -> Subscription:
        """The same as :meth:`subscribe_events`; without selectors, every event about a flag."""
        return self.subscribe_events(handler, **selectors)
