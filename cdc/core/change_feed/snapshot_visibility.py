"""Which transactions a snapshot has seen, where no position can say it.

Streams of mode horizon are read only below the oldest transaction that is still running. A snapshot of a table also
sees quicker ones that are not below it: they are read later, and must not be told again.

>>> seen = SnapshotVisibility.parse("1050_10_0_5")
>>> [seen.sees(xid) for xid in (1049, 1050, 1054, 1055, 1059, 1060)]
[True, False, True, False, True, False]
"""

import re
from dataclasses import dataclass
from typing import Self

__all__ = ["SnapshotVisibility"]

_MAX_XID = 2**63 - 1

_FORM = re.compile(r"\d{1,19}_\d{1,10}(_\d{1,10})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class SnapshotVisibility:
    """Every transaction below `end` but those from `begin` on that were still `running`."""

    begin: int
    end: int
    running: frozenset[int]

    def __str__(self) -> str:
        """Short, as it travels in cursors: the beginning, and how far from it all else is."""
        return "_".join(str(xid - self.begin if place else xid) for place, xid in enumerate(self._numbers))

    @property
    def as_pg_snapshot(self) -> str:
        """In PostgreSQL's own form (its manual, table "Snapshot Components")."""
        return f"{self.begin}:{self.end}:{','.join(map(str, sorted(self.running)))}"

    @property
    def _numbers(self) -> list[int]:
        return [self.begin, self.end, *sorted(self.running)]

    def sees(self, xid: int) -> bool:
        return xid < self.end and xid not in self.running

    @classmethod
    def of_pg_snapshot(cls, text: str) -> Self:
        begin, end, running = text.split(":")
        return cls(int(begin), int(end), frozenset(int(xid) for xid in running.split(",") if xid))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read it as `str()` writes it; None for anything else, also for what PostgreSQL would not take for one."""
        if _FORM.fullmatch(text) is None:
            return None
        begin, length, *running = map(int, text.split("_"))
        if not 0 < begin <= _MAX_XID - length or any(offset >= length for offset in running):
            return None
        return cls(begin, begin + length, frozenset(begin + offset for offset in running))
