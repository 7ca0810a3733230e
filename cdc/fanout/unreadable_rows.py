"""Rows that could not be delivered: counted, and reported in the application log, not for each of them."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..core.flags.events import Event
from ..core.log.position import Position
from ..core.log.row_text import Unreadable

__all__ = ["UnreadableRow", "UnreadableRows"]

logger = logging.getLogger(__name__)

# Between two log lines about the same table and reason.
_QUIET_S = 60.0


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """The last row of a table that could not be delivered for a reason, and how many there were."""

    table: str
    reason: Unreadable
    count: int
    position: Position
    committed_at: str


class UnreadableRows:
    """Those of one hub since its start; `counts` by reason. There is one entry per table and reason."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[Unreadable] = Counter()
        self._clock = clock
        self._entries: dict[tuple[str, Unreadable], UnreadableRow] = {}
        self._logged_at: dict[tuple[str, Unreadable], float] = {}

    def note(self, events: Sequence[Event]) -> None:
        """Take note of those among newly published events."""
        for event in events:
            if (reason := event.detail.get("unreadable")) is not None:
                self._note(event, reason)

    def entries(self) -> list[UnreadableRow]:
        """By table and reason."""
        return [self._entries[place] for place in sorted(self._entries)]

    def _note(self, event: Event, reason: Unreadable) -> None:
        self.counts[reason] += 1
        table: str = event.detail["table"]
        place = (table, reason)
        before = self._entries.get(place)
        count = 1 if before is None else before.count + 1
        entry = self._entries[place] = UnreadableRow(table, reason, count, event.id.position, event.committed_at)
        now = self._clock()
        if now - self._logged_at.get(place, float("-inf")) >= _QUIET_S:
            self._logged_at[place] = now
            logger.warning(
                "A row was delivered without its values",
                extra={
                    "action": "row_unreadable",
                    "table": table,
                    "reason": reason.value,
                    "position": entry.position,
                    "count": entry.count,
                },
            )
