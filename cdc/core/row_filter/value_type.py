"""The types that filters compare: how a literal and a value in a row become what compares as in PostgreSQL.

Numbers keep all their digits, `NaN` equals itself and is above all others, texts are compared by their code points,
which is the order of their bytes in UTF-8 and so the collation "C", times in UTC, enums in the order of their labels.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import total_ordering
from typing import Any

from ..log.table_column import TableColumn
from ..text.exact_json import JsonText
from .instant import read_date, read_time

__all__ = ["NAN", "TEXT", "ValueType", "cast_type", "type_of"]

_INTEGERS = {"int2": 2**15, "int4": 2**31, "int8": 2**63}

_INTEGER = re.compile(r"[+-]?\d{1,1000}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d{1,8000}(?:\.\d{0,8000})?|\.\d{1,8000})(?:[eE][+-]?\d{1,5})?", re.ASCII)
_SPECIAL = re.compile(r"nan|([+-]?)inf(?:inity)?", re.IGNORECASE)
_UUID = re.compile(r"\{?((?:[0-9a-f]{4}-?){7}[0-9a-f]{4})\}?", re.IGNORECASE | re.ASCII)

# So many digits are read as an integer, which takes a third of a decimal's memory and equals it.
_SHORT = 18

# What PostgreSQL's numeric holds: digits before and after the point.
_MOST_BEFORE, _MOST_AFTER = 131_072, 16_383

# PostgreSQL takes every unique prefix; these are the ones that it documents.
_BOOLEANS = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}


@total_ordering
class _NotANumber:
    """PostgreSQL's NaN of type numeric: equal to itself, above every number."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return other is self

    def __lt__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 1

    def __repr__(self) -> str:
        return "NaN"


NAN = _NotANumber()


@dataclass(frozen=True, slots=True)
class ValueType:
    """One type, or one family whose members compare with each other: `int2` to `int8` and `numeric`, `text` and
    `varchar`.

    `parse` reads a literal, and raises `ValueError` where PostgreSQL would refuse it or would depend on more than the
    text. `read` reads a value in a row, which is never null. `name` is what SQL casts a literal to.
    """

    family: str
    name: str
    parse: Callable[[str], Any]
    read: Callable[[Any], Any]
    labels: tuple[str, ...] | None = None


def type_of(column: TableColumn) -> ValueType | None:
    """The type of a column; None for one that filters cannot compare. A json column has one, which only `->>` uses."""
    if column.labels is not None:
        return _enum(column)
    return None if column.builtin is None else _TYPES.get(column.builtin)


def cast_type(name: str) -> ValueType | None:
    """The type of a cast by the name that `int4` and its like have in PostgreSQL's catalog."""
    return None if name in ("json", "jsonb") else _TYPES.get(name)


def _enum(column: TableColumn) -> ValueType:
    labels = column.labels or ()
    places: Mapping[str, int] = {label: place for place, label in enumerate(labels)}

    def place(value: Any) -> int:
        if value not in places:
            raise ValueError(f"not one of {', '.join(labels)[:200]}")
        return places[value]

    return ValueType(f"enum {column.type}", column.type, place, place, labels)


def _integer(builtin: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        stripped = text.strip(" \t\n\r\f\v")
        if _INTEGER.fullmatch(stripped) is None:
            raise ValueError("not an integer")
        value = int(stripped)
        if not -_INTEGERS[builtin] <= value < _INTEGERS[builtin]:
            raise ValueError(f"out of the range of {builtin}")
        return value

    return parse


def _numeric(text: str) -> Any:
    stripped = text.strip(" \t\n\r\f\v")
    special = _SPECIAL.fullmatch(stripped)
    if special is not None:
        if special[0].lower() == "nan":
            return NAN
        return Decimal("-Infinity" if special[1] == "-" else "Infinity")
    if len(stripped) <= _SHORT and stripped.isdecimal() and stripped.isascii():
        return int(stripped)
    if _NUMBER.fullmatch(stripped) is None:
        raise ValueError("not a number")
    value = Decimal(stripped)
    exponent = value.as_tuple().exponent
    if value.adjusted() >= _MOST_BEFORE or (isinstance(exponent, int) and -exponent > _MOST_AFTER):
        raise ValueError("out of the range of numeric")
    return value


def _read_number(value: Any) -> Any:
    if type(value) is int:
        return value
    if isinstance(value, JsonText):
        return Decimal(value)
    return NAN if value == "NaN" else Decimal(value)


def _boolean(text: str) -> bool:
    value = _BOOLEANS.get(text.strip(" \t\n\r\f\v").lower())
    if value is None:
        raise ValueError("neither true nor false")
    return value


def _read_boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("not a boolean")
    return value


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError("a text with a null character")
    return text


def _read_text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("not a text")
    return value


def _uuid(text: str) -> str:
    found = _UUID.fullmatch(text)
    if found is None or (text[0] == "{") != (text[-1] == "}"):
        raise ValueError("not a uuid")
    digits = found[1].replace("-", "").lower()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _time_without_zone(text: str) -> float:
    return read_time(text, zone=False)


def _json(text: str) -> Any:
    raise ValueError("not comparable")


TEXT = ValueType("text", "text", _text, _read_text)

_TYPES: Mapping[str, ValueType] = {
    "bool": ValueType("boolean", "boolean", _boolean, _read_boolean),
    **{name: ValueType("number", name, _integer(name), _read_number) for name in _INTEGERS},
    "numeric": ValueType("number", "numeric", _numeric, _read_number),
    "text": TEXT,
    "varchar": TEXT,
    "uuid": ValueType("uuid", "uuid", _uuid, _read_text),
    "date": ValueType("date", "date", read_date, read_date),
    "timestamp": ValueType("timestamp", "timestamp", _time_without_zone, read_time),
    "timestamptz": ValueType("timestamptz", "timestamptz", read_time, read_time),
    "json": ValueType("json", "json", _json, _json),
    "jsonb": ValueType("json", "jsonb", _json, _json),
}
