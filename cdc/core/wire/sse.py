"""Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html): blocks of bytes.

Every block ends with its empty line. A block with an event name always has data, as some parsers otherwise apply the
name to the next event; a block with only an id updates the resume id of a client and dispatches nothing.
"""

from collections.abc import Iterable

from ..log.position import EventId
from ..subscription.resume import ResyncReason
from ..text.json_text import encode
from .encoded import EncodedEvent
from .snapshot import resync_text
from .stamp import block_with_sent_at as with_sent_at

__all__ = ["batch", "closing", "connected", "keep_alive", "resync", "retry", "snapshot", "unauthorized", "with_sent_at"]


def retry(delay_ms: int) -> bytes:
    """The reconnect delay of the client; the caller adds the jitter."""
    return f"retry: {delay_ms}\n\n".encode()


def connected(event_id: EventId, *, is_fresh: bool, age_ms: int, heartbeat_ms: int | None = None) -> bytes:
    """The first event. It has no SSE id: a client that received nothing else must not resume here.

    `heartbeat_ms` is the interval of keep-alives, for clients that detect a dead connection.
    """
    data = {"position": str(event_id.position), "id": str(event_id), "fresh": is_fresh, "ageMs": age_ms}
    if heartbeat_ms is not None:
        data["heartbeatMs"] = heartbeat_ms
    return f"event: connected\ndata: {encode(data)}\n\n".encode()


def snapshot(event_id: EventId, text: str) -> bytes:
    """A snapshot with the text of `snapshot_text`."""
    return f"event: snapshot\nid: {event_id}\ndata: {text}\n\n".encode()


def resync(event_id: EventId, reason: ResyncReason, snapshot: str) -> bytes:
    """A resync with the snapshot to start from, the text of `snapshot_text`."""
    return f"event: resync\nid: {event_id}\ndata: {resync_text(reason, snapshot)}\n\n".encode()


def batch(events: Iterable[EncodedEvent]) -> bytes:
    """Events of one time window, at least one; the id is that of the last event."""
    texts, last = [], ""
    for event in events:
        texts.append(event.text)
        last = event.id
    return f'event: batch\nid: {last}\ndata: {{"events":[{",".join(texts)}]}}\n\n'.encode()


def keep_alive(event_id: EventId, *, is_fresh: bool, age_ms: int, digest: str | None = None) -> bytes:
    """A comment with position and freshness, then the id; `digest` for subscribers of everything."""
    fresh = "true" if is_fresh else "false"
    tail = "" if digest is None else f" digest={digest}"
    return (
        f": keep-alive position={event_id.position} fresh={fresh} ageMs={age_ms}{tail}\nid: {event_id}\n\n"
    ).encode()


def closing(delay_ms: int) -> bytes:
    """The announcement of a planned close, after which the client reconnects with this delay."""
    return f"retry: {delay_ms}\n: closing\n\n".encode()


def unauthorized(code: str, message: str) -> bytes:
    """The announcement that the stream closes because its credential has expired; without an id, so resume ids stay."""
    return f"event: unauthorized\ndata: {encode({'code': code, 'message': message})}\n\n".encode()
