"""A hub whose commits are made in memory, and sinks that keep what they are given."""

import json
from collections.abc import Sequence
from typing import Any

from cdc.core.flags.catalog import Catalog
from cdc.core.freshness import Freshness
from cdc.core.log.change import Change, Commit
from cdc.core.log.position import EventId, Position
from cdc.core.subscription.selection import Selection, Selections
from cdc.core.wire.dialect import EVENTS, MESSAGES
from cdc.core.wire.format import Format
from cdc.fanout.hub import Hub
from cdc.fanout.limits import HubLimits
from cdc.fanout.subscriber import CloseReason, Delivery, Subscriber
from tests.cdc.core.flagent import LOG, Flagent

__all__ = ["EVERYTHING", "JSON_LINES", "SSE", "MemoryHub", "MemorySink", "keys", "select"]

JSON_LINES = Format(MESSAGES, is_framed=False)
SSE = Format(EVENTS)


def select(**selectors: Any) -> Selections:
    return Selections((Selection.of(**selectors),))


EVERYTHING = select()


class MemorySink:
    """Takes everything; with `room_bytes`, pauses its subscriber whenever it holds more than that."""

    socket = None

    def __init__(self, room_bytes: int | None = None) -> None:
        self.data = bytearray()
        self.writes: list[bytes] = []
        self.closed: tuple[CloseReason, str] | None = None
        self.subscriber: Subscriber | None = None
        self.has_heard = True
        self._room_bytes = room_bytes
        self._held_bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        self.data += data
        self.writes.append(bytes(data))
        self._held_bytes += len(data)
        if self._room_bytes is not None and self._held_bytes > self._room_bytes and self.subscriber is not None:
            self.subscriber.delivery.pause(self.subscriber)

    def close(self, reason: CloseReason, text: str) -> None:
        self.closed = reason, text

    def heard_since_last_ping(self) -> bool:
        return self.has_heard

    def drain(self, room_bytes: int | None = None) -> None:
        """What was written has been taken; `room_bytes` for what comes."""
        assert self.subscriber is not None
        self._room_bytes, self._held_bytes = room_bytes, 0
        self.subscriber.delivery.resume(self.subscriber)

    def fill(self) -> None:
        assert self.subscriber is not None
        self.subscriber.delivery.pause(self.subscriber)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What was written in `JSON_LINES`."""
        return [json.loads(line) for line in bytes(self.data).splitlines()]


def keys(sink: MemorySink) -> list[str]:
    """The flags of all events, also of those in batches."""
    events: list[dict[str, Any]] = []
    for message in sink.messages:
        events += message["events"] if message["type"] == "batch" else [message]
    return [event["flagKey"] for event in events if "flagKey" in event]


class MemoryHub:
    """A Flagent and the hub that follows it; `freshness` is what the hub is given."""

    def __init__(self, limits: HubLimits | None = None, **options: Any) -> None:
        self.flagent = Flagent()
        self.freshness = Freshness(True, 0)
        catalog = Catalog(LOG)
        catalog.attach("public")
        self.hub = Hub(catalog, HubLimits() if limits is None else limits, lambda: self.freshness, **options)

    def commit(self, *others: Change) -> Commit:
        """Publish what was written."""
        commit = self.flagent.commit(*others)
        self.hub.publish([commit])
        return commit

    def flag(self, *flag_keys: str, **columns: Any) -> list[int]:
        """Create flags, each in a commit of its own."""
        ids = []
        for key in flag_keys:
            ids.append(self.flagent.flag(key, **columns))
            self.commit()
        return ids

    def ahead(self, positions: int) -> str:
        """The id of a commit that is still to come."""
        return str(EventId(Position(self.flagent.position + positions), None, LOG))

    @property
    def here(self) -> str:
        return str(self.hub.here())

    def subscriber(
        self,
        selections: Selections = EVERYTHING,
        format: Format = JSON_LINES,
        *,
        room_bytes: int | None = None,
        delivery: Delivery | None = None,
        **options: Any,
    ) -> tuple[Subscriber, MemorySink]:
        """A subscriber that has not been subscribed yet, and its sink."""
        sink = MemorySink(room_bytes)
        subscriber = Subscriber(sink, self.hub if delivery is None else delivery, format, selections, **options)
        sink.subscriber = subscriber
        return subscriber, sink

    def subscribed(
        self,
        selections: Selections = EVERYTHING,
        format: Format = JSON_LINES,
        *,
        first: Sequence[bytes] = (),
        last_event_id: str | None = None,
        snapshot: bool = False,
        **options: Any,
    ) -> tuple[Subscriber, MemorySink]:
        subscriber, sink = self.subscriber(selections, format, **options)
        self.hub.subscribe(subscriber, first=first, last_event_id=last_event_id, snapshot=snapshot)
        return subscriber, sink

    def add(self, subscriber: Subscriber, selection: Selection, **options: Any) -> None:
        """Add a part to a live subscriber's selection, as a WebSocket's `subscribe` does."""
        selections = subscriber.selections.add(selection)
        self.hub.reselect(subscriber, selections, first=(), added=Selections((selection,)), **options)
