"""Handshakes, at most so many per second, in the order in which they came.

After a deploy everybody comes back at once. A handshake costs 100 to 200 µs, twenty to forty times what a delivery
costs: unlimited, ten thousand of them would hold up the live stream for more than a second. Those beyond the rate wait
in their connection, first come, first served, and the loop turns in between.
"""

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["HandshakeRateLimiter"]

# So much of a second's handshakes may begin in one turn of the loop: at the default rate, ten to twenty milliseconds
# of work.
_BURST_S = 0.01


class HandshakeRateLimiter:
    """Calls what it is given now or soon, never more than `rate_per_s` a second; 0 is no limit."""

    def __init__(self, rate_per_s: int) -> None:
        self._rate_per_s = rate_per_s
        self._burst = max(1.0, rate_per_s * _BURST_S)
        self._tokens = self._burst
        self._counted_at = 0.0
        self._waiting: deque[Callable[[], None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def admit(self, begin: Callable[[], None]) -> None:
        """Begin now where nobody waits and the rate allows it, else in turn. `begin` must cope with a connection
        that has gone meanwhile."""
        if not self._rate_per_s:
            begin()
            return
        if not self._waiting and self._take():
            begin()
            return
        self._waiting.append(begin)
        if self._timer is None:
            self._schedule()

    def _take(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._tokens = min(self._burst, self._tokens + (now - self._counted_at) * self._rate_per_s)
        self._counted_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _schedule(self) -> None:
        # Woken once for several, as a timer for each would cost as much as the handshake's own work.
        delay_s = min(_BURST_S, len(self._waiting) / self._rate_per_s)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._release)

    def _release(self) -> None:
        self._timer = None
        while self._waiting and self._take():
            self._waiting.popleft()()
        if self._waiting:
            self._schedule()
