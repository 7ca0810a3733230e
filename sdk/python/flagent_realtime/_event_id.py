"""Order of event ids: ``<position>-<index>@<log>.<hash>``, or without the index for a whole commit.

Ids of another form and ids of different logs have no order. After a failover the database may assign the same
positions again; then the log part is the only difference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(r"([0-9]+)(?:-([0-9]+))?@([^.]+)(?:\.[a-z0-9]{1,16})?")


@dataclass(frozen=True)
class EventId:
    """A parsed id; ``index`` is ``None`` for a whole commit, which is ordered after each of its events."""

    position: int
    index: int | None
    log: str

    @property
    def order(self) -> tuple[int, float]:
        return (self.position, float("inf") if self.index is None else self.index)


def parse_event_id(text: str) -> EventId | None:
    """Parse an id; ``None`` when it has another form."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    return EventId(int(match[1]), None if match[2] is None else int(match[2]), match[3])


def compare_event_ids(a: str, b: str) -> int | None:
    """-1, 0 or 1 as *a* is before, at or after *b*; ``None`` when they cannot be compared."""
    if a == b:
        return 0
    left, right = parse_event_id(a), parse_event_id(b)
    if left is None or right is None or left.log != right.log:
        return None
    return (left.order > right.order) - (left.order < right.order)


class Cursor:
    """The id of the last event, snapshot or heartbeat received; ``id`` is ``None`` before the first."""

    def __init__(self, last_id: str | None = None) -> None:
        self.replace(last_id)

    @property
    def position(self) -> int | None:
        """The position in the id; ``None`` without an id or when the id has another form."""
        return None if self._parsed is None else self._parsed.position

    def covers(self, event_id: str) -> bool:
        """Whether *event_id* is at or before this cursor in the same log, hence received already."""
        return self.id is not None and compare_event_ids(event_id, self.id) in (-1, 0)

    def is_other_log(self, event_id: str) -> bool:
        """Whether both ids are readable and belong to different logs."""
        other = parse_event_id(event_id)
        return self._parsed is not None and other is not None and other.log != self._parsed.log

    def advance(self, event_id: str) -> None:
        """Move to *event_id*, never back within one log."""
        if not self.covers(event_id):
            self.replace(event_id)

    def replace(self, event_id: str | None) -> None:
        """Move to *event_id*, even when it is an earlier one: the state was replaced."""
        self.id = event_id
        self._parsed = None if event_id is None else parse_event_id(event_id)
