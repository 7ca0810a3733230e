"""The stream for Flagent's existing Go, Kotlin and web clients: six dotted names, one payload for all three.

These clients refetch everything on any event, so one notice per commit and flag is enough: the stream sends the most
significant event and drops the others. The payload is the intersection of three strict parsers: `flagID` and
`timestamp` are integers, `message` is always present, every value inside `data` is a string, the line stays far below
the 64 KiB limit of Go's scanner, and no event has a name without data. Keep-alives are comments: these clients do not
resume, so they need no ids.

Such a client fetches when it starts and on every event, but not when its stream connects. So a stream that does not
resume begins with an event, as one does after a resync: what was committed before it connected is fetched.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from ..flags.events import Event, EventType
from ..log.position import EventId
from ..subscription.resume import ResyncReason
from ..text.json_text import encode
from .dialect import Text
from .encoded import EncodedEvent

__all__ = ["REALTIME"]

# The most significant first. Constraints and distributions arrive as their segment, tags as a change of the flag.
_NAMES = {
    EventType.FLAG_DELETED: "flag.deleted",
    EventType.FLAG_CREATED: "flag.created",
    EventType.FLAG_ENABLED: "flag.toggled",
    EventType.FLAG_DISABLED: "flag.toggled",
    EventType.VARIANT_UPDATED: "variant.updated",
    EventType.SEGMENT_UPDATED: "segment.updated",
    EventType.DISTRIBUTION_UPDATED: "segment.updated",
    EventType.FLAG_UPDATED: "flag.updated",
}
_RANKS = {type: rank for rank, type in enumerate(_NAMES)}

# A key has at most 64 characters in the table; a longer one, from another writer, must not exceed the line limit.
_MAX_KEY = 1_000


def most_significant(events: Sequence[Event]) -> Event:
    """The most significant of the events of one flag in one commit."""
    return min(events, key=lambda event: _RANKS[event.type])


class _Realtime:
    """The dialect of Flagent's realtime stream."""

    transport: Literal["sse", "websocket"] = "sse"

    def connected(self, here: EventId, *, is_fresh: bool, age_ms: int, heartbeat_ms: int | None = None) -> bytes:
        return b'event: connected\ndata: {"type":"connected","message":"Connected to real-time updates"}\n\n'

    def event(self, event: EncodedEvent) -> bytes:
        one = event.event
        if one.flag_id is None or one.type not in _NAMES:
            return b""
        # A renamed key is a deletion and a creation, two flags to these clients.
        of_flag = [
            e for e in event.siblings if (e.schema, e.flag_id, e.flag_key) == (one.schema, one.flag_id, one.flag_key)
        ]
        if of_flag and most_significant(of_flag) is not one:
            return b""
        return _block(_NAMES[one.type], one.flag_id, one.flag_key or "", _data(one), _epoch_ms(one.committed_at))

    def event_at(self, event: EncodedEvent, sent_at: str) -> bytes:
        return self.event(event)

    def batch(self, events: Sequence[EncodedEvent], sent_at: str | None) -> bytes:
        return b"".join([self.event(event) for event in events])

    def snapshot(self, here: EventId, text: Text) -> bytes:
        return _REFETCH_ALL

    def snapshot_head(self, here: EventId, request_id: str) -> bytes:
        return b""

    def resync(self, here: EventId, reason: ResyncReason, text: Text) -> bytes:
        return _REFETCH_ALL

    def keep_alive(self, here: EventId, *, is_fresh: bool, age_ms: int, digest: str | None) -> bytes:
        return f": keep-alive position={here.position} fresh={'true' if is_fresh else 'false'}\n\n".encode()

    def closing(self, delay_ms: int) -> bytes:
        return f"retry: {delay_ms}\n: closing\n\n".encode()

    def unauthorized(self, code: str, message: str) -> bytes:
        return f": {code}: {message}\n\n".encode()


def _data(event: Event) -> dict[str, str] | None:
    """Strings only, as Kotlin's map of strings requires."""
    match event.type:
        case EventType.FLAG_ENABLED | EventType.FLAG_DISABLED:
            return {"enabled": "true" if event.type is EventType.FLAG_ENABLED else "false"}
        case EventType.SEGMENT_UPDATED | EventType.DISTRIBUTION_UPDATED:
            return {"segmentID": str(event.detail["segmentID"])}
        case EventType.VARIANT_UPDATED:
            return {"variantID": str(event.detail["variantID"])}
        case _:
            return None


def _block(
    name: str, flag_id: int, key: str, data: dict[str, str] | None, timestamp: int, message: str | None = None
) -> bytes:
    key = key[:_MAX_KEY]
    payload: dict[str, Any] = {
        "type": name,
        "flagID": flag_id,
        "flagKey": key,
        "message": message or f"{_WORDS[name]}: {key}",
        **({} if data is None else {"data": data}),
        "timestamp": timestamp,
    }
    id_line = f"id: {timestamp}\n" if timestamp else ""
    return f"event: {name}\n{id_line}data: {encode(payload)}\n\n".encode()


_WORDS = {
    "flag.created": "Flag created",
    "flag.updated": "Flag updated",
    "flag.deleted": "Flag deleted",
    "flag.toggled": "Flag toggled",
    "segment.updated": "Segment updated",
    "variant.updated": "Variant updated",
}


def _epoch_ms(committed_at: str) -> int:
    return int(datetime.fromisoformat(committed_at).timestamp() * 1000)


# These clients know neither snapshot nor resync, but any event makes them refetch everything.
_REFETCH_ALL = _block("flag.updated", 0, "", None, 0, "Refetch all flags")


REALTIME = _Realtime()
