"""A cursor of the change feed: after a whole commit, or after some of its changes.

Opaque to clients. It is not an event id: event ids count events within a commit, cursors count changes; to confuse them
would lose changes.

>>> str(Cursor.parse("1042.57@k7q2mx.3f0c9a")), Cursor.parse("1042@k7q2mx").index is None
('1042.57@k7q2mx.3f0c9a', True)
"""

import re
from dataclasses import dataclass
from typing import Self

from ..errors import InvalidInput
from ..log.position import COMMIT_HASH_FORM, CommitHash, LogId, Position
from .snapshot_visibility import SnapshotVisibility

__all__ = ["Cursor"]

# The visibility of a snapshot has one number per running transaction: a few hundred on a busy server.
_FORM = re.compile(r"(\d{1,19})(?:\.(\d{1,19}))?(?:~([\d_]{1,32768}))?@([a-z0-9]{1,32})" + COMMIT_HASH_FORM, re.ASCII)
_MAX_POSITION = 2**63 - 1
_SHOWN = 64


@dataclass(frozen=True, slots=True)
class Cursor:
    """After change `index` of the commit at `position`; after all of it where `index` is None.

    `index` counts from 1; in lanes with order `read` it is the sequence of the change. `seen`: the later changes that
    the reader already has, from a snapshot. `hash` is that of the commit, as in event ids.
    """

    position: Position
    index: int | None
    log: LogId
    seen: SnapshotVisibility | None = None
    hash: CommitHash | None = None

    def __str__(self) -> str:
        index = "" if self.index is None else f".{self.index}"
        seen = "" if self.seen is None else f"~{self.seen}"
        hash = "" if self.hash is None else f".{self.hash}"
        return f"{self.position}{index}{seen}@{self.log}{hash}"

    @classmethod
    def after(
        cls, position: Position, index: int | None, log: LogId, seen: SnapshotVisibility | None, hash: CommitHash | None
    ) -> Self:
        """The cursor after a change or commit; it drops `seen` once the reader has passed it."""
        if seen is not None and position >= (seen.end - 1 if index is None else seen.end):
            seen = None
        return cls(position, index, log, seen, hash)

    @classmethod
    def parse(cls, text: str, name: str = "after") -> Self:
        """Parse a cursor, or the event id of a whole commit; raises `InvalidInput`."""
        match = _FORM.fullmatch(text)
        position, index, seen, log, hash = (None, None, None, "", None) if match is None else match.groups()
        parsed = None if seen is None else SnapshotVisibility.parse(seen)
        is_whole = seen is None or parsed is not None
        if position is None or max(int(position), int(index or 0)) > _MAX_POSITION or not is_whole:
            shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
            raise InvalidInput(
                f"{name} is {shown!r}, which is not a cursor; use the `next` of an answer, or leave {name} out to start"
                " with the oldest change",
                name=name,
                code="invalid_cursor",
            )
        return cls(
            Position(int(position)),
            None if index is None else int(index),
            LogId(log),
            parsed,
            None if hash is None else CommitHash(hash),
        )
