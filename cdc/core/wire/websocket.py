"""The messages of the server on a WebSocket: one JSON object per text message, `type` first.

Events are sent as `EncodedEvent.text`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from json.encoder import encode_basestring as _quoted
from typing import Any

from ..log.position import EventId, Position
from ..subscription.resume import ResyncReason
from ..subscription.selection import Selection, Selections
from ..text.json_text import encode
from .encoded import EncodedEvent
from .stamp import text_with_sent_at as with_sent_at

__all__ = [
    "authenticated",
    "batch",
    "error",
    "evaluation_result",
    "evaluation_results",
    "heartbeat",
    "pong",
    "resync",
    "snapshot",
    "subscribed",
    "unsubscribed",
    "with_sent_at",
]


def subscribed(
    request_id: str,
    event_id: EventId,
    added: Sequence[Selection],
    selections: Selections,
    *,
    is_fresh: bool,
    age_ms: int,
    heartbeat_ms: int,
) -> str:
    """The answer to `subscribe`: what it added, and the size of the resulting `selections`.

    Not the selections themselves: a client that subscribes a thousand times would get all of them a thousand times.
    `heartbeat_ms` is the interval of heartbeats, to detect dead connections.
    """
    state = {**_state(event_id, is_fresh, age_ms), "heartbeatMs": heartbeat_ms}
    return encode({"type": "subscribed", "requestId": request_id, **state, "added": _added(added), **_size(selections)})


def _added(added: Sequence[Selection]) -> dict[str, Any]:
    """What was added, as one object: tables with filters of their own are objects, as they were sent."""
    plain = [part for part in added if part.row_query is None]
    shown = (plain[0] if plain else replace(added[0], tables=frozenset(), row_query=None)).to_json()
    filtered = [
        {"name": name, **part.row_query.to_json()}
        for part in added
        if part.row_query is not None
        for name in part.tables
    ]
    return {**shown, "tables": [*shown["tables"], *filtered]}


def unsubscribed(
    request_id: str,
    event_id: EventId,
    removed: Selection | None,
    selections: Selections,
    *,
    is_fresh: bool,
    age_ms: int,
) -> str:
    """The answer to `unsubscribe`: what it removed, None for everything, and the size of the remaining `selections`."""
    gone = None if removed is None else removed.to_json()
    state = _state(event_id, is_fresh, age_ms)
    return encode({"type": "unsubscribed", "requestId": request_id, **state, "removed": gone, **_size(selections)})


def _size(selections: Selections) -> dict[str, int]:
    return {"selectors": selections.count, "clauses": len(selections.clauses)}


def _state(event_id: EventId, is_fresh: bool, age_ms: int) -> dict[str, Any]:
    return {"position": str(event_id.position), "id": str(event_id), "fresh": is_fresh, "ageMs": age_ms}


def snapshot(event_id: EventId, text: str) -> str:
    """A snapshot with the text of `snapshot_text`."""
    return f'{{"type":"snapshot","id":"{event_id}",{text[1:]}'


def snapshot_head(event_id: EventId, request_id: str) -> str:
    """The beginning of a snapshot that answers a request; `snapshot_text` follows without its first brace."""
    return f'{{"type":"snapshot","id":"{event_id}","requestId":{encode(request_id)},'


def resync(event_id: EventId, reason: ResyncReason, snapshot: str) -> str:
    """A resync with the snapshot to start from, the text of `snapshot_text`."""
    return f'{{"type":"resync","id":"{event_id}","reason":"{reason}","snapshot":{snapshot}}}'


def batch(events: Iterable[EncodedEvent]) -> str:
    """Events of one time window, at least one; the id is that of the last event."""
    texts, last = [], ""
    for event in events:
        texts.append(event.text)
        last = event.id
    return f'{{"type":"batch","id":"{last}","events":[{",".join(texts)}]}}'


def heartbeat(event_id: EventId, *, is_fresh: bool, age_ms: int, digest: str | None = None) -> str:
    """Position and freshness; `digest` for subscribers of everything."""
    message = {"type": "heartbeat", **_state(event_id, is_fresh, age_ms)}
    return encode(message if digest is None else {**message, "digest": digest})


def authenticated(request_id: str) -> str:
    """The answer to an accepted `auth`."""
    return encode({"type": "authenticated", "requestId": request_id})


def pong(request_id: str) -> str:
    """The answer to `ping`."""
    return encode({"type": "pong", "requestId": request_id})


def evaluation_result(request_id: str, position: Position, result: str) -> str:
    """The answer to `evaluate`, with the position of the evaluated state; `result` is JSON."""
    return f'{_evaluation_head(request_id, position)},"result":{result}}}'


def evaluation_results(request_id: str, position: Position, results: Iterable[str]) -> str:
    """The answer to `evaluate_batch`; each of the results is JSON."""
    return f'{_evaluation_head(request_id, position)},"results":[{",".join(results)}]}}'


def _evaluation_head(request_id: str, position: Position) -> str:
    # `encode` would take a tenth of the whole answer's time.
    quoted = _quoted(request_id) if request_id.isascii() else encode(request_id)
    return f'{{"type":"evaluation_result","requestId":{quoted},"position":"{position}"'


def error(code: str, message: str, request_id: str | None) -> str:
    """The answer to an invalid message; `request_id` is None if it could not be read."""
    return encode({"type": "error", "code": code, "message": message, "requestId": request_id})
