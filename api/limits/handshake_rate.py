"""A rate limit on stream handshakes that queues instead of refusing, in order of arrival.

After a deploy all clients reconnect at once. A handshake costs 100 to 200 µs, twenty to forty times the cost of a
delivery: unlimited, ten thousand of them would hold up the live stream for more than a second. Handshakes beyond the
rate wait in their connection, first come, first served, while the loop serves everything else.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from .token_bucket import TokenBucket

__all__ = ["HandshakeRateLimiter"]

# The share of a second's handshakes that may begin in one turn of the loop: at the default rate, ten to twenty
# milliseconds of work.
_BURST_S = 0.01


class HandshakeRateLimiter:
    """Starts handshakes now or later, at most `rate_per_s` a second; 0 disables the limit."""

    def __init__(self, rate_per_s: int = 0) -> None:
        self._rate_per_s = rate_per_s
        self._bucket = TokenBucket(rate_per_s, max(1.0, rate_per_s * _BURST_S), 0.0)
        self._queue: deque[Callable[[], None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Handshakes in the queue."""
        return len(self._queue)

    def admit(self, begin: Callable[[], None]) -> None:
        """Call `begin` now when the queue is empty and the rate allows it, otherwise in turn.

        The connection may have been closed by then: `begin` has to handle that.
        """
        if not self._rate_per_s:
            begin()
            return
        if not self._queue and self._take():
            begin()
            return
        self._queue.append(begin)
        if self._timer is None:
            self._schedule()

    def _take(self) -> bool:
        return self._bucket.take(asyncio.get_running_loop().time())

    def _schedule(self) -> None:
        # One timer for several handshakes: one for each would cost as much as the handshake itself.
        delay_s = min(_BURST_S, len(self._queue) / self._rate_per_s)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._release)

    def _release(self) -> None:
        self._timer = None
        while self._queue and self._take():
            self._queue.popleft()()
        if self._queue:
            self._schedule()
