"""The token bucket behind every rate limit."""

__all__ = ["TokenBucket"]


class TokenBucket:
    """Refills at `rate_per_s` up to `capacity`; a new bucket is full.

    The caller passes the clock, in seconds of any monotonic clock.

    >>> bucket = TokenBucket(rate_per_s=2, capacity=1, now=0.0)
    >>> bucket.take(0.0), bucket.take(0.0), bucket.take(0.4), bucket.take(0.5)
    (True, False, False, True)
    """

    __slots__ = ("_capacity", "_rate_per_s", "_tokens", "_updated_at")

    def __init__(self, rate_per_s: float, capacity: float, now: float) -> None:
        self._rate_per_s = rate_per_s
        self._capacity = capacity
        self._tokens = capacity
        self._updated_at = now

    def take(self, now: float) -> bool:
        """Take one token; False when there is none."""
        self._tokens = min(self._capacity, self._tokens + (now - self._updated_at) * self._rate_per_s)
        self._updated_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
