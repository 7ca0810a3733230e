"""The stream that Flagent's present Go, Kotlin and web clients read: six dotted names, one payload for all three.

They use an event as the word to refetch everything, so one notice per change is enough: what a commit did to one
flag is told by its most telling event, and the others of that commit and flag are left out. The payload is the
intersection of three strict readers: `flagID` and `timestamp` are integers, `message` is always there, every value
inside `data` is a string, the line stays far below the 64 KiB at which Go's scanner gives up, and no event has a name
without data. Heartbeats are comments: none of these clients resumes, so ids mean nothing to them.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from ..flags.events import Event, EventType
from ..log.position import EventId
from ..text.json_text import encode
from .dialect import Text
from .snapshot import ResyncReason

if TYPE_CHECKING:
    from .encoded import EncodedEvent

__all__ = ["REALTIME"]

# The most telling first. Constraints arrive as their segment, distributions as theirs, tags as the flag's own change.
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

# A key has at most 64 characters in the table; a foreign writer's longer one must not break the line's bound.
_MAX_KEY = 1_000


def most_telling(events: Sequence[Event]) -> Event:
    """The event that stands for all of one flag in one commit. Deletion and creation are two flags to these clients."""
    return min(events, key=lambda event: _RANKS[event.type])


class _Realtime:
    transport: Literal["sse", "websocket"] = "sse"

    def connected(self, here: EventId, *, is_fresh: bool, age_ms: int, heartbeat_ms: int | None = None) -> bytes:
        return b'event: connected\ndata: {"type":"connected","message":"Connected to real-time updates"}\n\n'

    def event(self, event: "EncodedEvent") -> bytes:
        told = event.event
        if told.flag_id is None or told.type not in _NAMES:
            return b""
        about_it = [
            e for e in event.siblings if (e.schema, e.flag_id, e.flag_key) == (told.schema, told.flag_id, told.flag_key)
        ]
        if about_it and most_telling(about_it) is not told:
            return b""
        return _block(_NAMES[told.type], told.flag_id, told.flag_key or "", _data(told), _epoch_ms(told.committed_at))

    def event_at(self, event: "EncodedEvent", sent_at: str) -> bytes:
        return self.event(event)

    def batch(self, events: "Sequence[EncodedEvent]", sent_at: str | None) -> bytes:
        return b"".join([self.event(event) for event in events])

    def snapshot(self, here: EventId, text: Text) -> bytes:
        return b""

    def snapshot_head(self, here: EventId, request_id: str) -> bytes:
        return b""

    def resync(self, here: EventId, reason: ResyncReason, text: Text) -> bytes:
        # They know no resync: any event makes them refetch everything, which is the same.
        return _block("flag.updated", 0, "", None, 0, "Refetch all flags")

    def keep_alive(self, here: EventId, *, is_fresh: bool, age_ms: int, digest: str | None) -> bytes:
        return f": keep-alive position={here.position} fresh={'true' if is_fresh else 'false'}\n\n".encode()

    def closing(self, delay_ms: int) -> bytes:
        return f"retry: {delay_ms}\n: closing\n\n".encode()

    def unauthorized(self, code: str, message: str) -> bytes:
        return f": {code}: {message}\n\n".encode()


def _data(event: Event) -> dict[str, str] | None:
    """Only strings, as Kotlin's map of strings demands."""
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
    return f"event: {name}\nid: {timestamp}\ndata: {encode(payload)}\n\n".encode()


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


REALTIME = _Realtime()
