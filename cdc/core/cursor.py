"""Where a reader of the change feed stands: after a whole commit, or after some of its changes.

Opaque to clients. Not an event id: an event id counts events within a commit, a cursor counts changes, and one taken
for the other would lose some.

>>> str(Cursor.parse("1042.57@k7q2mx")), Cursor.parse("1042@k7q2mx").index is None
('1042.57@k7q2mx', True)
"""

import re
from dataclasses import dataclass
from typing import Self

from .errors import InvalidInput
from .position import LogId, Position

__all__ = ["Cursor"]

_FORM = re.compile(r"(\d{1,19})(?:\.(\d{1,9}))?@([a-z0-9]{1,32})", re.ASCII)
_MAX_POSITION = 2**63 - 1
_SHOWN = 64


@dataclass(frozen=True, slots=True)
class Cursor:
    """After change `index` (from 1) of the commit at `position`; after all of it where `index` is None."""

    position: Position
    index: int | None
    log: LogId

    def __str__(self) -> str:
        return f"{self.position}{'' if self.index is None else f'.{self.index}'}@{self.log}"

    @classmethod
    def parse(cls, text: str, name: str = "after") -> Self:
        """Read a cursor as `str()` writes it, or an id of a whole commit; raises `InvalidInput`."""
        match = _FORM.fullmatch(text)
        if match is None or int(match[1]) > _MAX_POSITION:
            shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
            raise InvalidInput(
                f"{name} is {shown!r}, which is not a cursor; cursors come as `next`, leave {name} out to begin"
                " with the oldest change",
                name=name,
                code="invalid_cursor",
            )
        position, index, log = match.groups()
        return cls(Position(int(position)), None if index is None else int(index), LogId(log))
