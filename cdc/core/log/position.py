"""The place of a commit and of an event in the log.

Positions grow in commit order, may have holes, and never go back within one log. Which log is meant is part of every
id: after a restore or a failover to a lagging replica positions are used again, and only the log part differs.

>>> first, second = EventId.parse("9-0@k7q2mx"), EventId.parse("10-0@k7q2mx")
>>> first.is_before(second), second.is_before(first)
(True, False)
>>> EventId.parse("9-4@k7q2mx").is_before(EventId.parse("9@k7q2mx"))
True
"""

import re
from dataclasses import dataclass
from typing import NewType, Self

from ..errors import InvalidEventId

__all__ = ["LAST_INDEX", "EventId", "LogId", "Position"]

Position = NewType("Position", int)
LogId = NewType("LogId", str)

# Orders the end of a commit after all its events; no commit has this many.
LAST_INDEX = 1 << 62

# 19 digits hold PostgreSQL's bigint; the log part is six characters today, and may grow.
_FORM = re.compile(r"(\d{1,19})(?:-(\d{1,9}))?@([a-z0-9]{1,32})", re.ASCII)


@dataclass(frozen=True, slots=True)
class EventId:
    """`position-index@log`; without an index, everything up to and including that commit.

    Clients treat the text as opaque. `index` counts the events of one commit from 0.
    """

    position: Position
    index: int | None
    log: LogId

    def __str__(self) -> str:
        if self.index is None:
            return f"{self.position}@{self.log}"
        return f"{self.position}-{self.index}@{self.log}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an id as `str()` writes it; raises `InvalidEventId`."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise InvalidEventId(text)
        position, index, log = match.groups()
        return cls(Position(int(position)), None if index is None else int(index), LogId(log))

    @property
    def order(self) -> tuple[Position, int]:
        """What ids of one log are ordered by; a whole commit's id comes after all of its events."""
        return self.position, LAST_INDEX if self.index is None else self.index

    def is_before(self, other: Self) -> bool:
        """Whether `other` comes after this id; both must be of the same log."""
        return self.order < other.order
