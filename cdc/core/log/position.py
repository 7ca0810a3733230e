"""The place of a commit and of an event in the log.

Positions grow in commit order, may have holes, and never go back within one log. Which log is meant is part of every
id: after a failover to a lagging replica positions are used again, and only the log part differs. A restored disk keeps
its log's name as well; then only the hash of the commit shows that the position is used for another one.

>>> first, second = EventId.parse("9-0@k7q2mx"), EventId.parse("10-0@k7q2mx")
>>> first.is_before(second), second.is_before(first)
(True, False)
>>> EventId.parse("9-4@k7q2mx").is_before(EventId.parse("9@k7q2mx.3f0c9a"))
True
"""

import re
import zlib
from dataclasses import dataclass
from typing import NewType, Self

from ..errors import InvalidEventId

__all__ = ["COMMIT_HASH_FORM", "LAST_INDEX", "NO_LOG", "CommitHash", "EventId", "LogId", "Position", "commit_hash"]

Position = NewType("Position", int)
LogId = NewType("LogId", str)

NO_LOG = LogId("none")
"""The log of a replica that has read nothing yet."""

CommitHash = NewType("CommitHash", str)
"""Six hexadecimal digits of what distinguishes a commit from another one at the same position."""

# Orders the end of a commit after all its events; no commit has this many.
LAST_INDEX = 1 << 62

# The end of an id or a cursor. Ids of older versions have no hash.
COMMIT_HASH_FORM = r"(?:\.([a-z0-9]{1,16}))?"

# 19 digits hold PostgreSQL's bigint; the log part is six characters today, and may grow.
_FORM = re.compile(r"(\d{1,19})(?:-(\d{1,9}))?@([a-z0-9]{1,32})" + COMMIT_HASH_FORM, re.ASCII)


def commit_hash(committed_at: str, xid: int) -> CommitHash:
    """The hash of a commit: by its time, as text, and its transaction.

    It protects against accidents, not against an attacker: one in 16 million other commits has the same.
    """
    return CommitHash(f"{zlib.crc32(f'{committed_at} {xid}'.encode()) & 0xFFFFFF:06x}")


@dataclass(frozen=True, slots=True)
class EventId:
    """`position-index@log.hash`; without an index, everything up to and including that commit.

    Clients treat the text as opaque. `index` counts the events of one commit from 0. `hash` is the commit's, None where
    it is not known: in an id of an older version, and before the first commit.
    """

    position: Position
    index: int | None
    log: LogId
    hash: CommitHash | None = None

    def __str__(self) -> str:
        log = self.log if self.hash is None else f"{self.log}.{self.hash}"
        if self.index is None:
            return f"{self.position}@{log}"
        return f"{self.position}-{self.index}@{log}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an id as `str()` writes it; raises `InvalidEventId`."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise InvalidEventId(text)
        position, index, log, hash = match.groups()
        return cls(
            Position(int(position)),
            None if index is None else int(index),
            LogId(log),
            None if hash is None else CommitHash(hash),
        )

    @property
    def order(self) -> tuple[Position, int]:
        """What ids of one log are ordered by; a whole commit's id comes after all of its events."""
        return self.position, LAST_INDEX if self.index is None else self.index

    def is_before(self, other: Self) -> bool:
        """Whether `other` comes after this id; both must be of the same log."""
        return self.order < other.order
