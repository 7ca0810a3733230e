"""How long a connection may be silent. Pure: the caller supplies the time."""

from __future__ import annotations

DEFAULT_HEARTBEAT_INTERVAL = 30.0
"""Seconds, the server's default; used until the server announces its interval or two heartbeats have arrived."""

SHORTEST_OBSERVED = 1.0
"""Seconds; a shorter observed interval counts as this."""
TOLERATED_INTERVALS = 2.5


class Liveness:
    """Measures the silence of a connection. Times are of one monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._announced: float | None = None
        self._observed: float | None = None
        self._last_heartbeat_at: float | None = None
        self._last_message_at: float | None = None

    def connected(self, now: float) -> None:
        """A connection begins. The known interval stays; the time of the last heartbeat does not."""
        self._last_heartbeat_at = None
        self._last_message_at = now

    def announced(self, interval_ms: object) -> None:
        """The server announced its heartbeat interval; a value that is not a positive number is ignored."""
        if isinstance(interval_ms, (int, float)) and not isinstance(interval_ms, bool) and interval_ms > 0:
            self._announced = interval_ms / 1000

    def message(self, now: float) -> None:
        """A message of any kind arrived."""
        self._last_message_at = now

    def heartbeat(self, now: float) -> None:
        """A heartbeat or keep-alive arrived."""
        if self._last_heartbeat_at is not None:
            self._observed = max(SHORTEST_OBSERVED, now - self._last_heartbeat_at)
        self._last_heartbeat_at = self._last_message_at = now

    @property
    def silence_limit(self) -> float:
        """Seconds of silence after which the connection counts as lost: 2.5 heartbeat intervals."""
        return TOLERATED_INTERVALS * (self._announced or self._observed or DEFAULT_HEARTBEAT_INTERVAL)

    def is_silent(self, now: float) -> bool:
        """Whether the silence exceeds the limit."""
        return self._last_message_at is not None and now - self._last_message_at > self.silence_limit + 1e-6
