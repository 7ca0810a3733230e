"""Which transport a client uses: the WebSocket, else the event stream, else polling. Pure.

Call contract: the shell reports what happens to its connection as an :class:`Input`, with the time in seconds of one
monotonic clock, and does what the :class:`Step` says:

- ``CONNECT``: open ``transport`` at once. ``BACKOFF``: wait, then open ``transport``.
- ``PROBE``: try ``probe`` beside the connection that works, and report PROBE_WORKED or PROBE_FAILED. A probe that is
  under way when the connection ends is abandoned and not reported.
- ``SWITCH``: replace the connection by one of ``transport``.
- ``NOTHING``: go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Action", "Input", "Step", "TransportChoice", "TransportName"]

LOSSES = 3
LOSSES_WITHIN_S = 30.0
UNAVAILABLE_IN_A_ROW = 3
RETRY_BETTER_AFTER_S = 300.0


class TransportName(str, Enum):
    """How a client reaches the server, best first."""

    WEBSOCKET = "websocket"
    SSE = "sse"
    POLLING = "polling"


class Input(str, Enum):
    """What happened to a connection."""

    FIRST_MESSAGE = "firstMessage"
    FAILED = "failed"
    """The handshake got an answer that this transport cannot use."""
    SILENT = "silent"
    """Connected, and no byte in time."""
    REFUSED = "refused"
    """No connection: TCP, DNS or TLS. It says nothing about the transport."""
    UNAVAILABLE = "unavailable"
    """The server, or a proxy, asked to come back later."""
    LOST = "lost"
    """The connection ended after its first message."""
    TICK = "tick"
    """Time has passed."""
    PROBE_WORKED = "probeWorked"
    PROBE_FAILED = "probeFailed"


class Action(str, Enum):
    """What the shell does next."""

    CONNECT = "connect"
    BACKOFF = "backoff"
    PROBE = "probe"
    SWITCH = "switch"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Step:
    """What to do next; ``probe`` is the transport to try, with ``PROBE`` only."""

    action: Action
    probe: TransportName | None = None


_ORDER = tuple(TransportName)
_LAST = len(_ORDER) - 1


class TransportChoice:
    """The choice of one client; it begins with the best transport."""

    def __init__(self, retry_better_after_s: float = RETRY_BETTER_AFTER_S) -> None:
        self._retry_better_after_s = retry_better_after_s
        self._index = 0
        self._losses: list[float] = []
        self._unavailable = 0
        self._lesser_since = 0.0
        self._is_connected = False
        self._probed: int | None = None

    @property
    def transport(self) -> TransportName:
        """The transport of the present connection, or of the next one."""
        return _ORDER[self._index]

    def step(self, event: Input, now: float) -> Step:
        """Report what happened; returns what to do."""
        if event is Input.FIRST_MESSAGE:
            self._unavailable = 0
            self._is_connected = True
            return Step(Action.NOTHING)
        if event is Input.TICK:
            return self._tick(now)
        if event is Input.PROBE_WORKED:
            return self._switch(now)
        if event is Input.PROBE_FAILED:
            return self._probe_failed(now)
        return self._ended(event, now)

    def _ended(self, event: Input, now: float) -> Step:
        is_enough = event in (Input.FAILED, Input.SILENT)
        if event is Input.LOST:
            self._unavailable = 0
            self._losses = [at for at in self._losses if now - at <= LOSSES_WITHIN_S] + [now]
            is_enough = len(self._losses) >= LOSSES
        elif event is Input.UNAVAILABLE:
            self._unavailable += 1
            is_enough = self._unavailable >= UNAVAILABLE_IN_A_ROW
        self._is_connected, self._probed = False, None
        if is_enough and self._index < _LAST:
            self._use(self._index + 1, now)
            return Step(Action.CONNECT)
        if self._is_retry_due(now):
            self._use(0, now)
        return Step(Action.BACKOFF)

    def _tick(self, now: float) -> Step:
        if not self._is_connected or self._probed is not None or not self._is_retry_due(now):
            return Step(Action.NOTHING)
        return self._probe(0)

    def _probe_failed(self, now: float) -> Step:
        if self._probed is None:
            return Step(Action.NOTHING)
        if self._probed + 1 < self._index:
            return self._probe(self._probed + 1)
        self._probed, self._lesser_since = None, now
        return Step(Action.NOTHING)

    def _switch(self, now: float) -> Step:
        if self._probed is None:
            return Step(Action.NOTHING)
        self._use(self._probed, now)
        self._is_connected, self._probed = False, None
        return Step(Action.SWITCH)

    def _probe(self, index: int) -> Step:
        self._probed = index
        return Step(Action.PROBE, _ORDER[index])

    def _use(self, index: int, now: float) -> None:
        self._index, self._lesser_since = index, now
        self._losses, self._unavailable = [], 0

    def _is_retry_due(self, now: float) -> bool:
        return self._index > 0 and now - self._lesser_since >= self._retry_better_after_s
