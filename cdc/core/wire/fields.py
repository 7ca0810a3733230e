"""Validation of the fields of requests, in WebSocket messages and in query strings.

Each function returns the typed value, or raises `InvalidInput` with the field, the value and what is allowed.

>>> integer("batchMs", 20_000, 0, 10_000)
Traceback (most recent call last):
    ...
cdc.core.errors.InvalidInput: batchMs is 20000, but must be an integer from 0 to 10000
"""

import json
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Self

from ..errors import InvalidEventId, InvalidInput
from ..flags.events import EventType
from ..log.position import EventId, Position
from ..row_filter.expression import Constant

__all__ = [
    "MAX_BATCH_MS",
    "MAX_SELECTORS",
    "MAX_TEXT",
    "MAX_WHERE",
    "ExactNumber",
    "Overflow",
    "batch_ms",
    "boolean",
    "check_selectors",
    "columns",
    "event_types",
    "flag_id",
    "integer",
    "last_event_id",
    "listed",
    "min_position",
    "overflow",
    "parameters",
    "refuse",
    "split_names",
    "text",
]

MAX_BATCH_MS = 10_000
MAX_COLUMNS = 1_600
MAX_PARAMETERS = 100
MAX_WHERE = 8_192
MAX_SELECTORS = 1_000
MAX_TEXT = 256
"""Longest selector: flag keys and tags have at most 64 characters, two PostgreSQL names and a dot 127."""

_ONE_NAME = r'(?:"(?:[^"]|"")+"|[^",]+)'
_NAME = re.compile(_ONE_NAME)
_NAMES = re.compile(f"{_ONE_NAME}(?:,{_ONE_NAME})*+")

_MAX_POSITION = 2**63 - 1
_MAX_ID = 2**31 - 1
_SHOWN = 64


class ExactNumber(float):
    """A number with a decimal point or an exponent, which also keeps its text."""

    text: str

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __str__(self) -> str:
        return self.text


class Overflow(StrEnum):
    """What the server does when the buffer of a subscriber is full."""

    RESYNC = "resync"
    DISCONNECT = "disconnect"


def refuse(name: str, value: object, allowed: str, *, code: str = "invalid_parameter") -> InvalidInput:
    """The error for a field `name` with an invalid `value`; `allowed` describes valid ones."""
    return InvalidInput(f"{name} is {_shown(value)}, but must be {allowed}", name=name, code=code)


def listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def shown_name(name: str) -> str:
    """A name from a client, safe to send back."""
    return _short(name)


def text(name: str, value: object, max_length: int = MAX_TEXT) -> str:
    if not isinstance(value, str) or not value or len(value) > max_length:
        raise refuse(name, value, f"a string of 1 to {max_length} characters")
    return value


def boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise refuse(name, value, "true or false")
    return value


def integer(name: str, value: object, lowest: int, highest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise refuse(name, value, f"an integer from {lowest} to {highest}")
    return value


def flag_id(name: str, value: object) -> int:
    return integer(name, value, 1, _MAX_ID)


def batch_ms(name: str, value: object) -> int:
    return integer(name, value, 0, MAX_BATCH_MS)


def event_types(name: str, values: Iterable[object]) -> list[EventType]:
    found = []
    for value in values:
        if not isinstance(value, str) or value not in EventType.__members__.values():
            raise refuse(name, value, f"one of {listed(EventType)}")
        found.append(EventType(value))
    return found


def overflow(name: str, value: object) -> Overflow:
    if not isinstance(value, str) or value not in Overflow.__members__.values():
        raise refuse(name, value, f"one of {listed(Overflow)}")
    return Overflow(value)


def last_event_id(value: object) -> EventId | None:
    """An event id; None for an empty one, which a client without an id may send."""
    if not isinstance(value, str):
        raise InvalidEventId(_shown(value))
    return EventId.parse(value) if value else None


def min_position(name: str, value: object) -> Position:
    """A position, as a string of digits or as a number."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 19:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_POSITION:
        raise refuse(name, value, 'a position that the server sent, such as "1042"')
    return Position(value)


def parameters(name: str, values: Sequence[object]) -> tuple[Constant, ...]:
    """The values of `$1`, `$2`, …: texts, numbers, booleans and nulls. In a query string all are texts."""
    if len(values) > MAX_PARAMETERS:
        raise InvalidInput(
            f"{len(values)} parameters are given, but a filter may have {MAX_PARAMETERS}",
            name=name,
            code="too_many_parameters",
        )
    return tuple(_parameter(name, value) for value in values)


def _parameter(name: str, value: object) -> Constant:
    match value:
        case None:
            return Constant("null", None)
        case bool():
            return Constant("parameter", "true" if value else "false")
        case str() if len(value) <= MAX_WHERE and "\0" not in value:
            return Constant("parameter", value)
        case int() | ExactNumber():
            return Constant("parameter", str(value))
    raise refuse(name, value, f"a text of at most {MAX_WHERE} characters, a number, a boolean or null")


def columns(name: str, values: object) -> tuple[str, ...]:
    """Names of columns, each once, in their order."""
    if not isinstance(values, list) or not 0 < len(values) <= MAX_COLUMNS:
        raise refuse(name, values, f"a list of 1 to {MAX_COLUMNS} names of columns")
    return tuple(dict.fromkeys(text(name, value) for value in values))


def split_names(name: str, value: str) -> list[str]:
    """Names with commas between them; in double quotes one may hold commas, and double quotes twice.

    >>> split_names("columns", 'id,"a,""b",total')
    ['id', 'a,"b', 'total']
    """
    if _NAMES.fullmatch(value) is None:
        raise refuse(name, value, "names of columns with commas between them")
    return [_unquoted(found[0]) for found in _NAME.finditer(value)]


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def check_selectors(count: int) -> None:
    """Refuse a subscription with more than `MAX_SELECTORS` selectors."""
    if count > MAX_SELECTORS:
        raise InvalidInput(
            f"{count} flags, ids, tags and tables are selected, but at most {MAX_SELECTORS} are allowed;"
            " select all, or send several messages",
            code="too_many_selectors",
        )


def _shown(value: object) -> str:
    return _short(json.dumps(value, default=str))


def _short(shown: str) -> str:
    shown = shown.encode("utf-8", "backslashreplace").decode()
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
