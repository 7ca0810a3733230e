"""How many streams of one kind may be open at the same time."""

import random

from ..http.problem import Problem

__all__ = ["RETRY_AFTER_S", "ConnectionLimit"]

RETRY_AFTER_S = (1, 5)


class ConnectionLimit:
    """Counts what is open of one kind, and refuses what is beyond `limit`."""

    __slots__ = ("kind", "limit", "open_count")

    def __init__(self, kind: str, limit: int) -> None:
        self.kind = kind
        self.limit = limit
        self.open_count = 0

    def enter(self) -> None:
        """Raises `Problem` where there is no place; otherwise the caller must `leave` once."""
        if self.open_count >= self.limit:
            raise Problem(
                503,
                "too_many_connections",
                f"all {self.limit} {self.kind} connections are in use; come back later",
                retry_after_s=random.randint(*RETRY_AFTER_S),  # noqa: S311 - jitter, not a secret
            )
        self.open_count += 1

    def leave(self) -> None:
        self.open_count -= 1
