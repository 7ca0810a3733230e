"""The recent events, in order, shared by all subscribers.

A subscriber that is behind is a number, its cursor: the sequence number of the next event that it needs. Sequence
numbers count from 0 within the process; outside of it only ids have a meaning.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from ..log.position import LAST_INDEX, EventId, Position

__all__ = ["Key", "Ring", "RingEntry"]

Key = tuple[Position, int]


class RingEntry(Protocol):
    """What the ring holds."""

    @property
    def event_id(self) -> EventId: ...

    @property
    def size_bytes(self) -> int: ...


E = TypeVar("E", bound=RingEntry)


class Ring(Generic[E]):
    """Holds at most `max_events` events and `max_bytes` bytes; the oldest are evicted first, an eighth at a time.

    `floor` is a position: every event after it is in the ring, until one is evicted.
    """

    __slots__ = ("_events", "_floor", "_keys", "_max_bytes", "_max_events", "_size_bytes", "_sizes", "_start")

    def __init__(self, max_events: int, max_bytes: int, floor: Position) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events: list[E] = []
        self._keys: list[Key] = []
        self._sizes: list[int] = []
        self._start = 0
        self._size_bytes = 0
        self._floor: Key = (floor, LAST_INDEX)

    def __len__(self) -> int:
        return len(self._events)

    @property
    def start(self) -> int:
        """Sequence number of the oldest event held."""
        return self._start

    @property
    def end(self) -> int:
        """Sequence number that the next event will have."""
        return self._start + len(self._events)

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def extend(self, events: Sequence[E]) -> None:
        """Append events in the order of their ids; evicts the oldest when a limit is exceeded."""
        self.extend_measured(events, [event.event_id.order for event in events], [event.size_bytes for event in events])

    def extend_measured(self, events: Sequence[E], keys: Sequence[Key], sizes: Sequence[int]) -> None:
        """The same with the order of each id and the size of each event: to find tens of thousands takes long."""
        self._events += events
        self._keys += keys
        self._sizes += sizes
        self._size_bytes += sum(sizes)
        if len(self._events) > self._max_events or self._size_bytes > self._max_bytes:
            self._evict()

    def _evict(self) -> None:
        # Deleting from the front of a list moves the rest, so it is done rarely and for many at once.
        keep_events, keep_bytes = self._max_events - self._max_events // 8, self._max_bytes - self._max_bytes // 8
        gone = 0
        while gone < len(self._events) - 1 and (
            len(self._events) - gone > keep_events or self._size_bytes > keep_bytes
        ):
            self._size_bytes -= self._sizes[gone]
            gone += 1
        if gone:
            self._floor = self._keys[gone - 1]
            del self._events[:gone], self._keys[:gone], self._sizes[:gone]
            self._start += gone

    def after(self, id: EventId) -> int | None:
        """Cursor of the first event after `id`; None where events after it may have been evicted."""
        key = id.order
        if key < self._floor:
            return None
        return self._start + bisect_right(self._keys, key)

    def read(self, cursor: int, limit: int) -> Sequence[E]:
        """At most `limit` events from `cursor` on; `cursor` must not be before `start`."""
        if cursor < self._start:
            raise IndexError(f"cursor {cursor} is before the ring's start {self._start}")
        offset = cursor - self._start
        return self._events[offset : offset + limit]
