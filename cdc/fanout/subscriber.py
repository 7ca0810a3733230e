"""One subscriber, whatever it is connected by.

The seam between the hub and a transport has two small sides. The hub calls `Sink`, the transport calls `Delivery`. A
sink takes every write: it reports that it is full by calling `Delivery.pause`, which may happen inside `write`, and
nothing more is written until it calls `Delivery.resume`.
"""

import asyncio
from collections.abc import Callable
from enum import Enum
from socket import socket
from typing import Protocol

from ..core.subscription.grant import Grant
from ..core.subscription.selection import Selections
from ..core.wire.encoded import EncodedEvent
from ..core.wire.fields import Overflow
from ..core.wire.format import Format
from .backlog import Backlog

__all__ = ["CloseReason", "Delivery", "Sink", "Subscriber"]


class CloseReason(Enum):
    """Why the server closes a stream; the value is the WebSocket close code (RFC 6455, section 7.4, and its
    registry)."""

    RESTARTING = 1012
    BEHIND = 1013
    TOO_SLOW = 1008
    SILENT = 1011
    UNAUTHORIZED = 4401


class Sink(Protocol):
    """Where a subscriber's bytes go; a transport implements it."""

    @property
    def socket(self) -> socket | None:
        """The non-blocking socket below, where bytes may be sent past the sink while the subscriber is live and not
        paused: the sink holds nothing back then, or has called `Delivery.pause`. What the socket does not take at once
        goes to `write`. None where every write must come through the sink."""

    def write(self, data: bytes | memoryview) -> None:
        """Send, without waiting. Never raises; a broken connection is reported by `Delivery.remove`."""

    def close(self, reason: CloseReason, text: str) -> None:
        """Close the stream; what was written before is still sent where possible."""

    def heard_since_last_ping(self) -> bool:
        """Whether the peer has sent anything since the last call."""


class Delivery(Protocol):
    """What a transport calls for its subscriber; the hub that it is subscribed to implements it."""

    def pause(self, subscriber: "Subscriber") -> None:
        """The transport is full: write nothing until `resume`. What was written already will still be sent."""

    def resume(self, subscriber: "Subscriber") -> None:
        """The transport has drained."""

    def send(self, subscriber: "Subscriber", data: bytes) -> None:
        """Send a framed message that is not an event, after what is still to be sent."""

    def close(self, subscriber: "Subscriber", reason: CloseReason, text: str, last: bytes = b"") -> None:
        """Close the stream now. `last` (framed) is sent before, unless other messages still wait to be sent."""

    def remove(self, subscriber: "Subscriber") -> None:
        """The connection is gone. Idempotent."""


class Subscriber:
    """What the hub knows of one subscriber: its selection, its format, and how far it is behind.

    It is live exactly while `backlog` is None. `delivery` is the hub that it is subscribed to. `pending` are events of
    a batch whose time window is open, `pending_bytes` large. `bucket`, `missed_pings` and `paused_rounds` belong to the
    keep-alives.
    """

    __slots__ = (
        "__weakref__",
        "backlog",
        "batch_s",
        "batch_timer",
        "bucket",
        "delivery",
        "format",
        "grant",
        "is_closed",
        "is_paused",
        "missed_pings",
        "on_live",
        "overflow",
        "paused_rounds",
        "pending",
        "pending_bytes",
        "selections",
        "sink",
        "stamps",
    )

    def __init__(
        self,
        sink: Sink,
        delivery: Delivery,
        format: Format,
        selections: Selections,
        *,
        batch_s: float = 0.0,
        overflow: Overflow = Overflow.RESYNC,
        stamps: bool = False,
        on_live: "Callable[[Subscriber], None] | None" = None,
        grant: Grant | None = None,
    ) -> None:
        """`batch_s` is the time window of a batch in seconds, 0 for none; `on_live` is called whenever it goes live."""
        self.sink = sink
        self.delivery = delivery
        self.format = format
        self.selections = selections
        self.batch_s = batch_s
        self.overflow = overflow
        self.stamps = stamps
        self.on_live = on_live
        self.restrict_to(grant)
        self.backlog: Backlog | None = Backlog()
        self.is_closed = False
        self.is_paused = False
        self.pending: list[EncodedEvent] | None = None
        self.pending_bytes = 0
        self.batch_timer: asyncio.TimerHandle | None = None
        self.bucket = 0
        self.missed_pings = 0
        self.paused_rounds = 0

    def restrict_to(self, grant: Grant | None) -> None:
        """Show events as the grant allows; the selections must be within it. None shows everything."""
        self.grant = grant if grant is not None and grant.is_restricted else None

    @property
    def is_live(self) -> bool:
        return self.backlog is None

    @property
    def is_plain(self) -> bool:
        """Whether it gets the same bytes at the same time as every other subscriber of its format."""
        return not self.batch_s and not self.stamps
