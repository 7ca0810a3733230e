"""How many requests per second are answered, in total and to one client; those beyond it are told when to come back.

A bucket holds a second's worth, so that a short burst is no offence. Who is one client is told by `client`.
"""

import asyncio
from collections import OrderedDict

from ..http.problem import Problem

__all__ = ["RequestRateLimiter"]

# Buckets kept; the one that was not used for the longest goes first, and has filled up again long since.
_MAX_CLIENTS = 10_000


class _Bucket:
    __slots__ = ("counted_at", "tokens")

    def __init__(self, now: float, size: float) -> None:
        self.counted_at = now
        self.tokens = size

    def take(self, now: float, rate_per_s: float) -> bool:
        self.tokens = min(rate_per_s, self.tokens + (now - self.counted_at) * rate_per_s)
        self.counted_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class RequestRateLimiter:
    """None is no limit."""

    def __init__(self, per_s: int | None = None, per_s_and_client: int | None = None) -> None:
        self._per_s = per_s
        self._per_s_and_client = per_s_and_client
        self._all: _Bucket | None = None
        self._clients: OrderedDict[str, _Bucket] = OrderedDict()
        self.refused = 0

    def use(self, client: str | None) -> None:
        """Count a request, None being a client without a limit; raises `Problem` where it is one too many."""
        per_client = None if client is None else self._per_s_and_client
        if self._per_s is None and per_client is None:
            return
        now = asyncio.get_running_loop().time()
        if client is not None and per_client is not None and not self._client(client, now).take(now, per_client):
            # Asked first, so that one who asks too much uses up nothing of the others'.
            self._refuse(f"your address may ask {per_client} times a second")
        if self._per_s is not None:
            if self._all is None:
                self._all = _Bucket(now, self._per_s)
            if not self._all.take(now, self._per_s):
                self._refuse(f"the server answers {self._per_s} requests a second")

    def _client(self, client: str, now: float) -> _Bucket:
        bucket = self._clients.get(client)
        if bucket is None:
            assert self._per_s_and_client is not None
            bucket = self._clients[client] = _Bucket(now, self._per_s_and_client)
            if len(self._clients) > _MAX_CLIENTS:
                self._clients.popitem(last=False)
        else:
            self._clients.move_to_end(client)
        return bucket

    def _refuse(self, why: str) -> None:
        self.refused += 1
        raise Problem(429, "too_many_requests", f"{why}; come back later", retry_after_s=1)
