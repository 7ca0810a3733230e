"""One subscriber of the stream, whatever it is connected by.

The seam between the hub and a transport is two-sided and small. The hub calls the methods of `Sink`; the transport
calls `Hub.pause`, `Hub.resume` and `Hub.remove`. A sink takes every write: it says that it is full by calling
`Hub.pause`, which may happen inside `write`, and the hub writes nothing more until `Hub.resume`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum
from socket import socket
from typing import TYPE_CHECKING, Protocol

from ..core.subscription.grant import Grant
from ..core.subscription.selection import Selections
from ..core.wire.encoded import EncodedEvent
from ..core.wire.fields import Overflow
from ..core.wire.format import Format

__all__ = ["CloseReason", "Sink", "State", "Subscriber"]

if TYPE_CHECKING:
    from .history import History
    from .hub import Hub
    from .keepalive import Keepalive


class CloseReason(Enum):
    """Why the server ends a stream; the value is the WebSocket close code (RFC 6455, section 7.4, and its registry)."""

    RESTARTING = 1012
    BEHIND = 1013
    TOO_SLOW = 1008
    SILENT = 1011
    UNAUTHORIZED = 4401


class Sink(Protocol):
    """Where a subscriber's bytes go."""

    @property
    def socket(self) -> socket | None:
        """The socket below, which does not block, where bytes may be sent past the sink while the subscriber is live
        and not paused: the sink holds nothing back then, or has called `Hub.pause`. What the socket does not take at
        once goes to `write`. None where every write must come through the sink."""

    def write(self, data: bytes | memoryview) -> None:
        """Send, without waiting. Never raises; a broken connection is reported by `Hub.remove`."""

    def close(self, reason: CloseReason, text: str) -> None:
        """End the stream; what was written before is still sent where possible."""

    def heard_since_last_beat(self) -> bool:
        """Whether the other side has shown a sign of life since this was last asked."""


class State(Enum):
    NEW = "new"
    LIVE = "live"
    BEHIND = "behind"  # reads from its outbox, history or the ring until it has caught up
    CLOSED = "closed"


class Subscriber:
    """What the hub knows of one subscriber: its selection, its form, and how far it has come.

    `hub` is the one that it is subscribed to, `heart` the one that beats for it. `cursor` means something only while
    the subscriber is behind. `outbox` holds framed messages that are sent before anything else, shared with other
    subscribers; `sent_bytes` of the first have been written already.
    """

    __slots__ = (
        "__weakref__",
        "batch_s",
        "batch_timer",
        "bucket",
        "cursor",
        "drained",
        "format",
        "grant",
        "heart",
        "history",
        "hub",
        "is_paused",
        "missed_beats",
        "on_live",
        "outbox",
        "overflow",
        "paused_beats",
        "pending",
        "selections",
        "sent_bytes",
        "sink",
        "stamps",
        "state",
        "waiting",
    )

    def __init__(
        self,
        sink: Sink,
        format: Format,
        selections: Selections,
        *,
        batch_s: float = 0.0,
        overflow: Overflow = Overflow.RESYNC,
        stamps: bool = False,
        on_live: "Callable[[Subscriber], None] | None" = None,
        grant: Grant | None = None,
    ) -> None:
        self.sink = sink
        self.format = format
        self.selections = selections
        self.batch_s = batch_s
        self.overflow = overflow
        self.stamps = stamps
        self.on_live = on_live
        self.let_in(grant)
        self.hub: Hub
        self.heart: Keepalive | None = None
        self.state = State.NEW
        self.is_paused = False
        self.cursor = 0
        self.outbox: deque[bytes] | None = None
        self.sent_bytes = 0
        self.history: History | None = None
        self.waiting: asyncio.Task[None] | None = None
        self.drained: asyncio.Event | None = None  # told when all is sent that `waiting` has made so far
        self.pending: list[EncodedEvent] | None = None
        self.batch_timer: asyncio.TimerHandle | None = None
        self.bucket = 0
        self.missed_beats = 0
        self.paused_beats = 0

    def let_in(self, grant: Grant | None) -> None:
        """Tell events as the grant shows them; its selections must be within it. None shows everything."""
        self.grant = grant if grant is not None and grant.is_restricted else None

    @property
    def is_live(self) -> bool:
        return self.state is State.LIVE

    @property
    def is_plain(self) -> bool:
        """Whether it gets the same bytes at the same time as everyone else of its format."""
        return not self.batch_s and not self.stamps
