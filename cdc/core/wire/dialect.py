"""How a stream is spelled: everything that the hub may have to say to a subscriber, in one dialect.

The hub knows no spelling. A `Format` names the dialect and what is done to its text on the way to the socket.
"""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from ..log.position import EventId
from . import sse, websocket
from .encoded import EncodedEvent
from .snapshot import ResyncReason
from .stamp import block_with_sent_at, text_with_sent_at

__all__ = ["ENVELOPES", "EVENTS", "MESSAGES", "Dialect"]

Text = Callable[[], str]
"""Makes a snapshot's text, for those who want it."""


class Dialect(Protocol):
    """One spelling; what it returns is one SSE block (or several), or one WebSocket message. Empty: nothing to say."""

    @property
    def transport(self) -> Literal["sse", "websocket"]: ...

    def connected(self, here: EventId, *, is_fresh: bool, age_ms: int, heartbeat_ms: int | None = None) -> bytes:
        """The greeting."""

    def event(self, event: EncodedEvent) -> bytes: ...

    def event_at(self, event: EncodedEvent, sent_at: str) -> bytes:
        """The event with the time of sending."""

    def batch(self, events: Sequence[EncodedEvent], sent_at: str | None) -> bytes:
        """Events of one time window, at least one."""

    def snapshot(self, here: EventId, text: Text) -> bytes: ...

    def snapshot_head(self, here: EventId, request_id: str) -> bytes:
        """What stands before a snapshot's text, its first brace taken off, where the snapshot answers a request.

        Empty in a dialect that has no requests.
        """

    def resync(self, here: EventId, reason: ResyncReason, text: Text) -> bytes: ...

    def keep_alive(self, here: EventId, *, is_fresh: bool, age_ms: int, digest: str | None) -> bytes: ...

    def closing(self, delay_ms: int) -> bytes:
        """Goodbye: come back after the delay."""

    def unauthorized(self, code: str, message: str) -> bytes:
        """The stream ends because its credential has ended."""


class _Sse:
    """Our own event stream."""

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
    """Our own WebSocket messages. The greeting is the answer to `subscribe`, and goodbye is a close code."""

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
