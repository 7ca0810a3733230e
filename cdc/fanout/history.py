"""What a replay hands to a subscriber that is behind: events of the past, and how they are asked for."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ..core.log.position import EventId
from ..core.subscription.resume import ResyncReason
from ..core.wire.encoded import EncodedEvent

__all__ = ["Historian", "History"]


@dataclass(frozen=True, slots=True)
class History:
    """Events of the past, shared by all that read them, from `first` on; complete up to the id `until`."""

    events: Sequence[EncodedEvent]
    until: EventId
    first: int = 0


Historian = Callable[[EventId], Awaitable[History | ResyncReason]]
"""Reads the events after an id from the change log, as they were then, or gives the reason why it cannot."""
