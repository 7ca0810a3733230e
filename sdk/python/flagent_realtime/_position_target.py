"""What a caller waits for: a position, or an event id. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from ._event_id import EventId, parse_event_id

_DIGITS = re.compile("[0-9]{1,19}")


class Progress(Enum):
    """How far a store is: before the target, in the middle of its commit, or there."""

    BEFORE = "before"
    PARTLY = "partly"
    REACHED = "reached"


@dataclass(frozen=True)
class PositionTarget:
    """A position, with the log and the index where they are known."""

    position: int
    event: EventId | None

    @classmethod
    def parse(cls, given: int | str) -> PositionTarget:
        """Raises :exc:`ValueError` for what is neither a position nor an event id."""
        if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
            return cls(given, None)
        if isinstance(given, str):
            if _DIGITS.fullmatch(given):
                return cls(int(given), None)
            event = parse_event_id(given)
            if event is not None:
                return cls(event.position, event)
        raise ValueError(f"{str(given)[:60]!r} is neither a position nor an event id such as 1042-0@k7q2mx.3f0c9a")

    def progress(self, at: str | None, *, is_confirmed: bool) -> Progress:
        """How far a store is that is complete up to the id *at*.

        Raises :exc:`ValueError` when the target is of another log than the store. A store that the server has not
        confirmed may still come to that log.
        """
        here = None if at is None else parse_event_id(at)
        if here is None:
            return Progress.BEFORE
        if self.event is not None and self.event.log != here.log:
            if not is_confirmed:
                return Progress.BEFORE
            raise ValueError(f"the target is of change log {self.event.log!r}, but the store follows {here.log!r}")
        if here.position != self.position:
            return Progress.REACHED if here.position > self.position else Progress.BEFORE
        if here.index is None:
            return Progress.REACHED
        if self.event is not None and self.event.index is not None:
            return Progress.REACHED if here.index >= self.event.index else Progress.BEFORE
        return Progress.PARTLY
