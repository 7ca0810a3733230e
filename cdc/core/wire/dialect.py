"""Dialects: how everything that the hub sends to a subscriber is encoded.

The hub itself encodes nothing. A `Format` combines a dialect with framing and compression.
"""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from ..log.position import EventId
from ..subscription.resume import ResyncReason
from . import sse, websocket
from .encoded import EncodedEvent
from .stamp import block_with_sent_at, text_with_sent_at

__all__ = ["ENVELOPES", "EVENTS", "MESSAGES", "Dialect"]

Text = Callable[[], str]
"""Makes the text of a snapshot when it is needed."""


class Dialect(Protocol):
    """One encoding; each method returns SSE blocks or one WebSocket message, empty if there is nothing to send."""

    @property
    def transport(self) -> Literal["sse", "websocket"]: ...

    def connected(self, here: EventId, *, is_fresh: bool, age_ms: int, heartbeat_ms: int | None = None) -> bytes:
        """The first message of a stream."""

    def event(self, event: EncodedEvent) -> bytes: ...

    def event_at(self, event: EncodedEvent, sent_at: str) -> bytes:
        """The event with the time of sending."""

    def batch(self, events: Sequence[EncodedEvent], sent_at: str | None) -> bytes:
        """Events of one time window, at least one."""

    def snapshot(self, here: EventId, text: Text) -> bytes: ...

    def snapshot_head(self, here: EventId, request_id: str) -> bytes:
        """The beginning of a snapshot that answers a request; the text follows without its first brace.

        Empty in a dialect without requests.
        """

    def resync(self, here: EventId, reason: ResyncReason, text: Text) -> bytes: ...

    def keep_alive(self, here: EventId, *, is_fresh: bool, age_ms: int, digest: str | None) -> bytes: ...

    def closing(self, delay_ms: int) -> bytes:
        """The announcement of the close, after which the client reconnects with this delay."""

    def unauthorized(self, code: str, message: str) -> bytes:
        """The announcement that the stream closes because its credential has expired."""


class _Sse:
    """The event stream of flagent-cdc."""

    transport: Literal["sse", "websocket"] = "sse"

    def __init__(self, *, envelope: bool) -> None:
        self._envelope = envelope

    def connected(self, here: EventId, *, is_fresh: bool, age_ms: int, heartbeat_ms: int | None = None) -> bytes:
        return sse.connected(here, is_fresh=is_fresh, age_ms=age_ms, heartbeat_ms=heartbeat_ms)

    def event(self, event: EncodedEvent) -> bytes:
        return event.sse(envelope=self._envelope)

    def event_at(self, event: EncodedEvent, sent_at: str) -> bytes:
        return block_with_sent_at(self.event(event), sent_at)

    def batch(self, events: Sequence[EncodedEvent], sent_at: str | None) -> bytes:
        block = sse.batch(events)
        return block if sent_at is None else block_with_sent_at(block, sent_at)

    def snapshot(self, here: EventId, text: Text) -> bytes:
        return sse.snapshot(here, text())

    def snapshot_head(self, here: EventId, request_id: str) -> bytes:
        return b""

    def resync(self, here: EventId, reason: ResyncReason, text: Text) -> bytes:
        return sse.resync(here, reason, text())

    def keep_alive(self, here: EventId, *, is_fresh: bool, age_ms: int, digest: str | None) -> bytes:
        return sse.keep_alive(here, is_fresh=is_fresh, age_ms=age_ms, digest=digest)

    def closing(self, delay_ms: int) -> bytes:
        return sse.closing(delay_ms)

    def unauthorized(self, code: str, message: str) -> bytes:
        return sse.unauthorized(code, message)


class _Messages:
    """The WebSocket messages of flagent-cdc. The answer to `subscribe` is the first message, a close code the last."""

    transport: Literal["sse", "websocket"] = "websocket"

    def connected(self, here: EventId, *, is_fresh: bool, age_ms: int, heartbeat_ms: int | None = None) -> bytes:
        return b""

    def event(self, event: EncodedEvent) -> bytes:
        return event.text.encode()

    def event_at(self, event: EncodedEvent, sent_at: str) -> bytes:
        return text_with_sent_at(event.text, sent_at).encode()

    def batch(self, events: Sequence[EncodedEvent], sent_at: str | None) -> bytes:
        text = websocket.batch(events)
        return (text if sent_at is None else text_with_sent_at(text, sent_at)).encode()

    def snapshot(self, here: EventId, text: Text) -> bytes:
        return websocket.snapshot(here, text()).encode()

    def snapshot_head(self, here: EventId, request_id: str) -> bytes:
        return websocket.snapshot_head(here, request_id).encode()

    def resync(self, here: EventId, reason: ResyncReason, text: Text) -> bytes:
        return websocket.resync(here, reason, text()).encode()

    def keep_alive(self, here: EventId, *, is_fresh: bool, age_ms: int, digest: str | None) -> bytes:
        return websocket.heartbeat(here, is_fresh=is_fresh, age_ms=age_ms, digest=digest).encode()

    def closing(self, delay_ms: int) -> bytes:
        return b""

    def unauthorized(self, code: str, message: str) -> bytes:
        return websocket.error(code, message, None).encode()


EVENTS: Dialect = _Sse(envelope=False)
ENVELOPES: Dialect = _Sse(envelope=True)
MESSAGES: Dialect = _Messages()
