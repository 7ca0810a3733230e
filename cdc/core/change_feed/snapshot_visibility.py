"""The transactions visible to a snapshot, for lanes in which a position does not imply them.

Lanes with order `read` are read only below the oldest running transaction. A snapshot of a table also sees faster
transactions above it: they are read later, and must not be delivered again.

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
    """Every transaction below `end`, except those from `begin` on that were `running`."""

    begin: int
    end: int
    running: frozenset[int]

    def __str__(self) -> str:
        """The short form in cursors: `begin`, then all other numbers as distances from it."""
        return "_".join(str(xid - self.begin if place else xid) for place, xid in enumerate(self._numbers))

    @property
    def as_pg_snapshot(self) -> str:
        """The form of PostgreSQL's type pg_snapshot (manual, table "Snapshot Components")."""
        return f"{self.begin}:{self.end}:{','.join(map(str, sorted(self.running)))}"

    @property
    def _numbers(self) -> list[int]:
        return [self.begin, self.end, *sorted(self.running)]

    def sees(self, xid: int) -> bool:
        """Whether the snapshot includes a transaction."""
        return xid < self.end and xid not in self.running

    @classmethod
    def of_pg_snapshot(cls, text: str) -> Self:
        """Parse PostgreSQL's form, which is trusted."""
        begin, end, running = text.split(":")
        return cls(int(begin), int(end), frozenset(int(xid) for xid in running.split(",") if xid))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse the short form; None for any other text, also for values that PostgreSQL would refuse."""
        if _FORM.fullmatch(text) is None:
            return None
        begin, length, *running = map(int, text.split("_"))
        if not 0 < begin <= _MAX_XID - length or any(offset >= length for offset in running):
            return None
        return cls(begin, begin + length, frozenset(begin + offset for offset in running))
