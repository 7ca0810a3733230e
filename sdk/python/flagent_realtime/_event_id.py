"""Order of event ids: ``<position>-<index>@<log>``, or ``<position>@<log>`` for a whole commit.

Anything that does not read so, and ids of different logs, have no order. After a failover positions may be used
again, and only the log part tells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(r"([0-9]+)(?:-([0-9]+))?@(.+)", re.DOTALL)


@dataclass(frozen=True)
class EventId:
    """A parsed id; ``index`` is ``None`` for a whole commit, which comes after each of its events."""

    position: int
    index: int | None
    log: str

    @property
    def order(self) -> tuple[int, float]:
        return (self.position, float("inf") if self.index is None else self.index)


def parse_event_id(text: str) -> EventId | None:
    """Read an id; ``None`` when it is not of the known form."""
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


def is_seen(event_id: str, last_id: str | None) -> bool:
    """Whether an event of this id was received already, given the last id received."""
    return last_id is not None and compare_event_ids(event_id, last_id) in (-1, 0)


def is_other_log(event_id: str, last_id: str | None) -> bool:
    """Whether both ids are readable and belong to different logs."""
    if last_id is None:
        return False
    left, right = parse_event_id(event_id), parse_event_id(last_id)
    return left is not None and right is not None and left.log != right.log
