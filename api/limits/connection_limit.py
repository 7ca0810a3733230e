"""The limit on open streams of one kind."""

import random

from ..http.problem import Problem

__all__ = ["RETRY_AFTER_S", "ConnectionLimit"]

RETRY_AFTER_S = (1, 5)
"""The range of Retry-After on refused streams, in seconds: jittered, so that clients do not return in one wave."""


class ConnectionLimit:
    """Counts the open streams of one kind, and refuses those beyond `limit`."""

    __slots__ = ("kind", "limit", "open_count")

    def __init__(self, kind: str, limit: int) -> None:
        self.kind = kind
        self.limit = limit
        self.open_count = 0

    def enter(self) -> None:
        """Count a stream; raises `Problem` at the limit. Without an exception the caller must call `leave` once."""
        if self.open_count >= self.limit:
            raise Problem(
                503,
                "too_many_connections",
                f"all {self.limit} {self.kind} connections of this server are in use; "
                "reconnect after the time in Retry-After",
                retry_after_s=random.randint(*RETRY_AFTER_S),  # noqa: S311 - jitter, not a secret
            )
        self.open_count += 1

    def leave(self) -> None:
        """Count a stream out."""
        self.open_count -= 1
