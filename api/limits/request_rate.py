"""Rate limits on ordinary requests, for all clients together and for each; requests beyond them are answered 429.

A bucket holds the requests of one second, so a short burst passes. `client_address` says which requests count as one
client's.
"""

import asyncio
from collections import OrderedDict

from ..http.problem import Problem
from .token_bucket import TokenBucket

__all__ = ["RequestRateLimiter"]

# The number of client buckets kept. The least recently used one is dropped first; it has long since filled up again.
_MAX_CLIENTS = 10_000


class RequestRateLimiter:
    """Limits requests to `per_s` in total and `per_s_and_client` for each client; None disables a limit."""

    def __init__(self, per_s: int | None = None, per_s_and_client: int | None = None) -> None:
        self._per_s = per_s
        self._per_s_and_client = per_s_and_client
        self._total: TokenBucket | None = None
        self._clients: OrderedDict[str, TokenBucket] = OrderedDict()
        self.refused = 0
        self.is_limited = per_s is not None or per_s_and_client is not None

    def use(self, client: str | None) -> None:
        """Count a request; raises `Problem` beyond a limit. `client` None is exempt from the limit per client."""
        per_client = None if client is None else self._per_s_and_client
        if self._per_s is None and per_client is None:
            return
        now = asyncio.get_running_loop().time()
        # The client's bucket comes first, so that a client beyond its own limit takes nothing from the total.
        if client is not None and per_client is not None and not self._bucket_of(client, per_client, now).take(now):
            self._refuse(f"more than {per_client} requests per second from your address")
        if self._per_s is not None:
            if self._total is None:
                self._total = TokenBucket(self._per_s, self._per_s, now)
            if not self._total.take(now):
                self._refuse(f"more than {self._per_s} requests per second to this server")

    def _bucket_of(self, client: str, per_s: int, now: float) -> TokenBucket:
        bucket = self._clients.get(client)
        if bucket is None:
            bucket = self._clients[client] = TokenBucket(per_s, per_s, now)
            if len(self._clients) > _MAX_CLIENTS:
                self._clients.popitem(last=False)
        else:
            self._clients.move_to_end(client)
        return bucket

    def _refuse(self, reason: str) -> None:
        self.refused += 1
        raise Problem(429, "too_many_requests", f"{reason}; retry after the time in Retry-After", retry_after_s=1)
