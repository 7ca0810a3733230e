"""How long silence may last, without a clock of its own."""

from __future__ import annotations

ASSUMED_INTERVAL = 30.0
"""Seconds between heartbeats until the server shows or announces its own; the server's default setting."""

SHORTEST_OBSERVED = 1.0
TOLERATED_INTERVALS = 2.5


class Liveness:
    """Watches the gaps between messages of a connection. Times are of one monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._announced: float | None = None
        self._observed: float | None = None
        self._last_heartbeat_at: float | None = None
        self._last_message_at: float | None = None

    def connected(self, now: float) -> None:
        """A connection begins; what the last one showed still stands, its last heartbeat does not."""
        self._last_heartbeat_at = None
        self._last_message_at = now

    def announced(self, interval_ms: object) -> None:
        """The server announced its heartbeat interval; anything but a positive number is ignored."""
        if isinstance(interval_ms, (int, float)) and not isinstance(interval_ms, bool) and interval_ms > 0:
            self._announced = interval_ms / 1000

    def message(self, now: float) -> None:
        """Any sign of life."""
        self._last_message_at = now

    def heartbeat(self, now: float) -> None:
        """A heartbeat or keep-alive."""
        if self._last_heartbeat_at is not None:
            self._observed = max(SHORTEST_OBSERVED, now - self._last_heartbeat_at)
        self._last_heartbeat_at = self._last_message_at = now

    @property
    def limit(self) -> float:
        """Seconds of silence that are still fine."""
        return TOLERATED_INTERVALS * (self._announced or self._observed or ASSUMED_INTERVAL)

    def is_silent(self, now: float) -> bool:
        """Whether the silence has lasted too long."""
        return self._last_message_at is not None and now - self._last_message_at > self.limit + 1e-6
