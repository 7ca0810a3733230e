"""Parsing of the query string of the SSE stream."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import InvalidInput
from ..log.position import EventId
from ..row_filter.row_query import RowQuery
from ..subscription.selection import Selection
from . import fields
from .fields import Overflow

__all__ = ["StreamRequest", "parse_stream_query", "row_query"]

_REPEATABLE = ("flag", "flagID", "tag", "type", "schema", "table", "param")
_SINGLE = ("where", "columns", "segments", "snapshot", "lastEventId", "batchMs", "envelope", "stamps", "overflow")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """The options of an SSE stream; `batch_ms` 0 sends every event at once."""

    selection: Selection
    snapshot: bool = False
    last_event_id: EventId | None = None
    batch_ms: int = 0
    envelope: bool = False
    stamps: bool = False
    overflow: Overflow = Overflow.RESYNC


def parse_stream_query(pairs: Iterable[tuple[str, str]], *, last_event_id: str | None = None) -> StreamRequest:
    """Parse the decoded pairs of a query string; `last_event_id` is the header, which overrides the parameter.

    Raises `InvalidInput` with the name of the parameter.
    """
    lists: dict[str, list[str]] = {name: [] for name in _REPEATABLE}
    single: dict[str, str] = {}
    for name, value in pairs:
        if name in lists:
            lists[name].append(value)
        elif name not in _SINGLE:
            shown = fields.shown_name(name)
            allowed = fields.listed((*_REPEATABLE, *_SINGLE))
            message = f"there is no parameter {shown}; there are {allowed}"
            raise InvalidInput(message, name=shown, code="unknown_parameter")
        elif name in single:
            raise InvalidInput(f"{name} is given more than once", name=name)
        else:
            single[name] = value
    fields.check_selectors(sum(len(values) for name, values in lists.items() if name != "param"))
    selection = Selection.of(
        flag_keys=[fields.text("flag", value) for value in lists["flag"]],
        flag_ids=[fields.flag_id("flagID", _number(value)) for value in lists["flagID"]],
        tags=[fields.text("tag", value) for value in lists["tag"]],
        segments=_boolean(single, "segments"),
        tables=[fields.text("table", value) for value in lists["table"]],
        types=fields.event_types("type", lists["type"]),
        schemas=[fields.text("schema", value) for value in lists["schema"]],
        row_query=row_query(lists["table"], single.get("where"), lists["param"], single.get("columns")),
    )
    return StreamRequest(
        selection,
        snapshot=_boolean(single, "snapshot"),
        last_event_id=fields.last_event_id(single.get("lastEventId", "") if last_event_id is None else last_event_id),
        batch_ms=fields.batch_ms("batchMs", _number(single.get("batchMs", "0"))),
        envelope=_boolean(single, "envelope"),
        stamps=_boolean(single, "stamps"),
        overflow=fields.overflow("overflow", single.get("overflow", Overflow.RESYNC)),
    )


def row_query(
    tables: Sequence[str], where: str | None, parameters: Sequence[str], columns: str | None
) -> RowQuery | None:
    """What `where`, `param` and `columns` ask of the rows of one table; None without them. `columns` are names with
    commas between them, those with commas or quotes in them in double quotes."""
    if where is None and not parameters and columns is None:
        return None
    if len(tables) != 1:
        raise InvalidInput("where, param and columns are for the rows of one table: name exactly one", name="table")
    return RowQuery(
        None if where is None else fields.text("where", where, fields.MAX_WHERE),
        fields.parameters("param", parameters),
        None if columns is None else fields.columns("columns", fields.split_names("columns", columns)),
    )


def _boolean(single: dict[str, str], name: str) -> bool:
    value = single.get(name, "false")
    if value not in _BOOLEANS:
        raise fields.refuse(name, value, "one of true, false, 1, 0")
    return _BOOLEANS[value]


def _number(text: str) -> int | str:
    """The text as a number, else the text, which the validation refuses. No valid number has more than ten digits."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else text
