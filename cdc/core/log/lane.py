"""A stream: one order of commits with ids of its own.

That of the flags is the first; a table with heavy writes may belong to another one. Nothing orders two streams against
each other, so a subscription is of exactly one.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = ["FLAGS", "Lane", "WatchedTable"]


@dataclass(frozen=True, slots=True)
class Lane:
    """`id` is its number in the database; `mode` is `notify` or `horizon`, which nobody is notified of."""

    name: str
    id: int
    mode: str

    @property
    def is_polled(self) -> bool:
        return self.mode == "horizon"

    @property
    def log_kind(self) -> Literal["flags", "stream", "horizon"]:
        """How its log is read."""
        if self.id == 0:
            return "flags"
        return "horizon" if self.is_polled else "stream"


FLAGS = Lane("flags", 0, "notify")


@dataclass(frozen=True, slots=True)
class WatchedTable:
    schema: str
    table: str
    lane: Lane
