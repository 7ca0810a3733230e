"""Parsing of WebSocket messages from clients into one frozen dataclass per message type.

A null counts as an absent field. Unknown fields are refused by name, so a misspelt selector never becomes a
subscription to everything.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidInput, InvalidMessage
from ..log.point_in_time import PointInTime, parse_point_in_time
from ..log.position import EventId, Position
from ..row_filter.row_query import RowQuery
from ..subscription.selection import Selection
from . import fields

__all__ = [
    "Auth",
    "ClientMessage",
    "Evaluate",
    "EvaluateBatch",
    "Ping",
    "Subscribe",
    "Unsubscribe",
    "parse_message",
]

MAX_REQUEST_ID = 128
MAX_DEPTH = 16
MAX_TOKEN = 16 * 1024


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Add a selection, in several parts where tables have filters of their own.

    `batch_ms` and `stamps` are None if the message does not change them.
    """

    request_id: str | None
    selections: tuple[Selection, ...]
    snapshot: bool
    last_event_id: EventId | None
    batch_ms: int | None
    stamps: bool | None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Remove a selection; None removes all."""

    request_id: str | None
    selection: Selection | None


@dataclass(frozen=True, slots=True)
class Ping:
    """Ask for a `pong`."""

    request_id: str | None


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Evaluate one flag. `request` holds the fields of the evaluation (b.9), not validated."""

    request_id: str | None
    request: Mapping[str, Any]
    min_position: Position | None
    at: PointInTime | None = None


@dataclass(frozen=True, slots=True)
class EvaluateBatch:
    """Evaluate several flags for several entities. `request` holds the fields of b.11, not validated."""

    request_id: str | None
    request: Mapping[str, Any]
    min_position: Position | None
    at: PointInTime | None = None


@dataclass(frozen=True, slots=True)
class Auth:
    """A credential, from a client that cannot send one with the handshake."""

    request_id: str | None
    token: str = field(repr=False)


ClientMessage = Auth | Subscribe | Unsubscribe | Ping | Evaluate | EvaluateBatch

_SELECTORS = ("flags", "flagIDs", "tags", "subscribeAll", "segments", "tables", "types", "schemas")
_EVALUATE = ("flagKey", "flagID", "entityID", "entityType", "entityContext", "enableDebug")
_EVALUATE_BATCH = ("entities", "flagIDs", "flagKeys", "flagTags", "flagTagsOperator", "enableDebug")

_TABLE = ("name", "where", "params", "columns")

_FIELDS: Mapping[str, tuple[str, ...]] = {
    "subscribe": (*_SELECTORS, "snapshot", "lastEventId", "batchMs", "stamps"),
    "unsubscribe": _SELECTORS,
    "ping": (),
    "auth": ("token",),
    "evaluate": (*_EVALUATE, "minPosition", "at"),
    "evaluate_batch": (*_EVALUATE_BATCH, "minPosition", "at"),
}

_ALLOWED = {kind: frozenset(("type", "requestId", *names)) for kind, names in _FIELDS.items()}


def parse_message(text: str) -> ClientMessage:
    """Parse one text message; raises `InvalidMessage` with the `requestId` of the message, if it has one."""
    body = _decode(text)
    request_id = body.get("requestId")
    try:
        if request_id is not None:
            request_id, unchecked = None, request_id
            request_id = fields.text("requestId", unchecked, MAX_REQUEST_ID)
        return _parse(body, request_id)
    except InvalidInput as error:
        raise InvalidMessage(str(error), name=error.name, code=error.code, request_id=request_id) from error


def _decode(text: str) -> dict[str, Any]:
    try:
        # `json.loads` would make a new decoder for each message, which takes as long as the decoding.
        try:
            body, end = _scan_json(text, 0)
        except StopIteration:
            end = -1
        # The decoder, which looks for blanks around the value, also says what is wrong.
        if end != len(text):
            body = _decode_json(text)
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        raise InvalidMessage(f"the message is not valid JSON: {error}", code="invalid_json") from error
    if not isinstance(body, dict):
        raise InvalidMessage("a message must be a JSON object", code="invalid_message")
    # As many brackets open at least.
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_deeper(body, MAX_DEPTH):
        raise _too_deep()
    return body


def _too_deep() -> InvalidMessage:
    return InvalidMessage(f"a message must not be nested deeper than {MAX_DEPTH} levels", code="invalid_message")


def _finite(number: str) -> float:
    value = fields.ExactNumber(number)
    if not math.isfinite(value):
        raise ValueError(f"the number {number[:32]} is too large")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not allowed")


_decoder = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant)
_decode_json = _decoder.decode
_scan_json: Callable[[str, int], tuple[Any, int]] = _decoder.scan_once  # type: ignore[attr-defined]


def _is_deeper(value: object, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        below: list[object] = []
        for item in layer:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return False
        layer = below
    return True


def _parse(body: dict[str, Any], request_id: str | None) -> ClientMessage:
    kind = body.get("type")
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise fields.refuse("type", kind, f"one of {fields.listed(_FIELDS)}", code="unknown_type")
    if not body.keys() <= _ALLOWED[kind]:
        unknown = fields.shown_name(next(name for name in body if name not in _ALLOWED[kind]))
        raise InvalidInput(
            f"{kind} has no field {unknown}; it has {fields.listed(('type', 'requestId', *_FIELDS[kind]))}",
            name=unknown,
            code="unknown_field",
        )
    if kind == "evaluate" and "at" not in body and "minPosition" not in body:
        return Evaluate(request_id, {name: body[name] for name in _EVALUATE if body.get(name) is not None}, None)
    given = {name: value for name, value in body.items() if value is not None}
    match kind:
        case "subscribe":
            return _subscribe(given, request_id)
        case "unsubscribe":
            chosen = any(name in given for name in _SELECTORS)
            return Unsubscribe(request_id, _selection(given) if chosen else None)
        case "ping":
            return Ping(request_id)
        case "auth":
            return Auth(request_id, _token(given))
        case "evaluate":
            return Evaluate(request_id, _picked(given, _EVALUATE), _min_position(given), _at(given))
        case _:
            return EvaluateBatch(request_id, _picked(given, _EVALUATE_BATCH), _min_position(given), _at(given))


def _subscribe(given: Mapping[str, Any], request_id: str | None) -> Subscribe:
    selections = _selections(given)
    if given.get("subscribeAll") is False and selections[0].everything:
        raise InvalidInput(
            "nothing is selected while subscribeAll is false; name flags, flagIDs, tags, segments or tables,"
            " or omit subscribeAll to select everything",
            name="subscribeAll",
        )
    return Subscribe(
        request_id,
        selections,
        snapshot=fields.boolean("snapshot", given.get("snapshot", False)),
        last_event_id=fields.last_event_id(given["lastEventId"]) if "lastEventId" in given else None,
        batch_ms=fields.batch_ms("batchMs", given["batchMs"]) if "batchMs" in given else None,
        stamps=fields.boolean("stamps", given["stamps"]) if "stamps" in given else None,
    )


def _selections(given: Mapping[str, Any]) -> tuple[Selection, ...]:
    """The selection without the tables that are objects, unless nothing else is selected, and one for each of those."""
    tables = _list(given, "tables")
    filtered = [entry for entry in tables if isinstance(entry, dict)]
    if not filtered:
        return (_selection(given),)
    fields.check_selectors(len(tables))
    plain = {**given, "tables": [entry for entry in tables if not isinstance(entry, dict)]}
    narrowing = {name: given[name] for name in ("types", "schemas") if name in given}
    parts = [_selection(narrowing, _table(entry), _row_query(entry)) for entry in filtered]
    names = ("flags", "flagIDs", "tags", "tables", "subscribeAll", "segments")
    return (*([_selection(plain)] if any(plain.get(name) for name in names) else []), *parts)


def _table(entry: Mapping[str, Any]) -> str:
    unknown = next((name for name in entry if name not in _TABLE), None)
    if unknown is not None:
        shown = fields.shown_name(unknown)
        raise InvalidInput(
            f"an entry of tables has no field {shown}; it has {fields.listed(_TABLE)}",
            name="tables",
            code="unknown_field",
        )
    return fields.text("tables.name", entry.get("name"))


def _row_query(entry: Mapping[str, Any]) -> RowQuery | None:
    where, columns = entry.get("where"), entry.get("columns")
    values = _list(entry, "params")
    if where is None and columns is None and not values:
        return None
    return RowQuery(
        None if where is None else fields.text("where", where, fields.MAX_WHERE),
        fields.parameters("params", values),
        None if columns is None else fields.columns("columns", columns),
    )


def _selection(given: Mapping[str, Any], table: str | None = None, row_query: RowQuery | None = None) -> Selection:
    lists = {name: _list(given, name) for name in ("flags", "flagIDs", "tags", "tables", "types", "schemas")}
    fields.check_selectors(sum(map(len, lists.values())))
    return Selection.of(
        everything=fields.boolean("subscribeAll", given.get("subscribeAll", False)),
        flag_keys=[fields.text("flags", value) for value in lists["flags"]],
        flag_ids=[fields.flag_id("flagIDs", value) for value in lists["flagIDs"]],
        tags=[fields.text("tags", value) for value in lists["tags"]],
        segments=fields.boolean("segments", given.get("segments", False)),
        tables=[fields.text("tables", value) for value in lists["tables"]] if table is None else [table],
        types=fields.event_types("types", lists["types"]),
        schemas=[fields.text("schemas", value) for value in lists["schemas"]],
        row_query=row_query,
    )


def _token(given: Mapping[str, Any]) -> str:
    value = given.get("token")
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TOKEN:
        # The message does not repeat the value, which may be a valid credential.
        raise InvalidInput(f"token must be a string of 1 to {MAX_TOKEN} characters", name="token")
    return value


def _list(given: Mapping[str, Any], name: str) -> list[Any]:
    value = given.get(name, [])
    if not isinstance(value, list):
        raise fields.refuse(name, value, "a list")
    return value


def _picked(given: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}


def _min_position(given: Mapping[str, Any]) -> Position | None:
    return fields.min_position("minPosition", given["minPosition"]) if "minPosition" in given else None


def _at(given: Mapping[str, Any]) -> PointInTime | None:
    if "at" not in given:
        return None
    if "minPosition" in given:
        raise InvalidInput("at and minPosition exclude each other; send one of them", name="at")
    return parse_point_in_time("at", given["at"])
