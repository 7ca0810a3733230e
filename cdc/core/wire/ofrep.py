"""OpenFeature's remote evaluation protocol (OFREP 0.3): answers, and the stream of refetch notices (its ADR-0008).

Mapping of a Flagent flag to an OpenFeature value: a flag whose variants are all called on/off, true/false, yes/no or
enabled/disabled is a boolean; for every other flag the value is the key of the variant. A flag that is disabled, or has
no variant for the entity, has no value: the provider uses the default of the caller. Attachments are the metadata.

A provider evaluates first and connects to the stream afterwards; its web version does not fetch again once it is
connected. So a stream without a `Last-Event-ID` starts with a notice: the provider fetches what was committed in
between.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from ..errors import InvalidInput
from ..evaluation.request import Entity, EvaluationRequest
from ..flags.events import Event
from ..flags.flag import FlagJson
from ..log.position import EventId
from ..subscription.resume import ResyncReason
from ..text.json_text import encode
from ..text.kotlin_text import WHITESPACE
from .dialect import Text
from .encoded import EncodedEvent

__all__ = ["COALESCED_REFETCH", "REFETCH", "answer", "read_context", "request_for"]

_BOOLEANS = {
    "on": True, "true": True, "yes": True, "enabled": True,
    "off": False, "false": False, "no": False, "disabled": False,
}  # fmt: skip


def read_context(raw: object) -> Entity:
    """The entity in the `context` of a request; raises `InvalidInput` with the error code of OFREP.

    Properties that are not strings, numbers or booleans are ignored: no constraint can compare them.
    """
    context = raw.get("context") if isinstance(raw, Mapping) else None
    if not isinstance(context, Mapping):
        raise InvalidInput("context must be a JSON object", name="context", code="INVALID_CONTEXT")
    key = context.get("targetingKey")
    if key is None or (isinstance(key, str) and not key.strip(WHITESPACE)):
        raise InvalidInput("context.targetingKey is missing", name="context.targetingKey", code="TARGETING_KEY_MISSING")
    if not isinstance(key, str):
        raise InvalidInput("context.targetingKey must be a string", name="context.targetingKey", code="INVALID_CONTEXT")
    scalars = {name: value for name, value in context.items() if isinstance(value, str | int | float | bool)}
    try:
        return Entity.parse({"entityID": key, "entityContext": scalars})
    except InvalidInput as error:
        raise InvalidInput(str(error), name=error.name, code="INVALID_CONTEXT") from error


def request_for(flag: FlagJson, entity: Entity) -> EvaluationRequest:
    """The evaluation request for one flag."""
    return EvaluationRequest(entity, flag_id=flag["id"])


def answer(flag: FlagJson, result: Mapping[str, Any]) -> dict[str, Any]:
    """One evaluated flag, from the flag and its evaluation result, which is ignored for a disabled flag."""
    if not flag["enabled"]:
        return _default(flag, "DISABLED")
    if result["variantID"] is None:
        return _default(flag, "UNKNOWN")
    variant = result["variantKey"] or ""
    return {
        "key": flag["key"],
        "value": _BOOLEANS[variant.lower()] if _is_boolean(flag) and variant.lower() in _BOOLEANS else variant,
        "reason": _reason(flag, result),
        "variant": variant,
        "metadata": {**(result["variantAttachment"] or {}), **_metadata(flag)},
    }


def _default(flag: FlagJson, reason: str) -> dict[str, Any]:
    """An answer without a value. The variant is optional in OFREP, but the Python provider fails without it."""
    return {"key": flag["key"], "reason": reason, "variant": "", "metadata": _metadata(flag)}


def _is_boolean(flag: FlagJson) -> bool:
    return bool(flag["variants"]) and all(variant["key"].lower() in _BOOLEANS for variant in flag["variants"])


def _reason(flag: FlagJson, result: Mapping[str, Any]) -> str:
    """STATIC if every entity gets the variant, TARGETING_MATCH if a constraint decided, SPLIT if the bucket did."""
    segment = next((s for s in flag["segments"] if s["id"] == result["segmentID"]), None)
    if segment is None:
        return "UNKNOWN"
    if segment["rolloutPercent"] < 100 or len([d for d in segment["distributions"] if d["percent"] > 0]) > 1:
        return "SPLIT"
    is_only = flag["segments"][0]["id"] == segment["id"]
    return "STATIC" if is_only and not segment["constraints"] else "TARGETING_MATCH"


def _metadata(flag: FlagJson) -> dict[str, Any]:
    return {"flagID": flag["id"], "snapshotID": flag["snapshotID"]}


class _Refetch:
    """One notice per commit; its etag is the minimum position for the answer to the refetch."""

    transport: Literal["sse", "websocket"] = "sse"

    def connected(self, here: EventId, *, is_fresh: bool, age_ms: int, heartbeat_ms: int | None = None) -> bytes:
        return b": connected\n\n"

    def event(self, event: EncodedEvent) -> bytes:
        one = event.event
        first = event.first[0] if event.first else one
        if one.flag_id is None or first is not one:
            return b""
        return _notice_of(one)

    def event_at(self, event: EncodedEvent, sent_at: str) -> bytes:
        return self.event(event)

    def batch(self, events: Sequence[EncodedEvent], sent_at: str | None) -> bytes:
        return b"".join([self.event(event) for event in events])

    def snapshot(self, here: EventId, text: Text) -> bytes:
        return _notice(here, None)

    def snapshot_head(self, here: EventId, request_id: str) -> bytes:
        return b""

    def resync(self, here: EventId, reason: ResyncReason, text: Text) -> bytes:
        return _notice(here, None)

    def keep_alive(self, here: EventId, *, is_fresh: bool, age_ms: int, digest: str | None) -> bytes:
        return f": keep-alive fresh={'true' if is_fresh else 'false'}\nid: {here}\n\n".encode()

    def closing(self, delay_ms: int) -> bytes:
        return f"retry: {delay_ms}\n: closing\n\n".encode()

    def unauthorized(self, code: str, message: str) -> bytes:
        return f": {code}: {message}\n\n".encode()


class _CoalescedRefetch(_Refetch):
    """One notice per time window, for grants that may not cover the first event of a commit."""

    def event(self, event: EncodedEvent) -> bytes:
        return self.batch((event,), None)

    def batch(self, events: Sequence[EncodedEvent], sent_at: str | None) -> bytes:
        last = next((one.event for one in reversed(events) if one.event.flag_id is not None), None)
        return b"" if last is None else _notice_of(last)


def _notice_of(event: Event) -> bytes:
    whole = EventId(event.id.position, None, event.id.log, event.id.hash)
    return _notice(whole, int(datetime.fromisoformat(event.committed_at).timestamp()))


def _notice(id: EventId, last_modified: int | None) -> bytes:
    data: dict[str, Any] = {"type": "refetchEvaluation", "etag": str(id)}
    if last_modified is not None:
        data["lastModified"] = last_modified
    return f"id: {id}\nevent: message\ndata: {encode(data)}\n\n".encode()


REFETCH = _Refetch()
COALESCED_REFETCH = _CoalescedRefetch()
