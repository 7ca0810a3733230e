"""The expressions that a filter may consist of: the subset of PostgreSQL's that is decided from a row alone.

What a parser makes of the text of a filter, before it is known which table it is for. Values are what is compared,
conditions are true, false or null.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "And",
    "Between",
    "Claim",
    "Column",
    "Compare",
    "Condition",
    "Constant",
    "Field",
    "In",
    "IsNull",
    "IsTruth",
    "Like",
    "Not",
    "Operator",
    "Or",
    "Parameter",
    "Value",
    "claims_of",
    "values_of",
]

Operator = Literal["=", "<>", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `has_byte_order` where the expression says `collate "C"`."""

    name: str
    has_byte_order: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """`column -> 'a' ->> 'b'`: a text out of a json column; `path` are names of members and indexes of items."""

    column: str
    path: tuple[str | int, ...]
    has_byte_order: bool = False


@dataclass(frozen=True, slots=True)
class Constant:
    """`text` is as it was written, None for null. `kind` is its form: a quoted text, which takes the type of what it is
    compared with, a number or a boolean. A `parameter` is as free as a quoted text. `cast` is the type it was cast to.
    """

    kind: Literal["text", "number", "boolean", "null", "parameter"]
    text: str | None
    cast: str | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """`$1`, `$2`, …"""

    number: int
    cast: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """`claim('a.b')`: a value out of the client's token."""

    path: str
    cast: str | None = None


Value = Column | Field | Constant | Parameter | Claim


@dataclass(frozen=True, slots=True)
class Compare:
    operator: Operator
    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class In:
    value: Value
    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Between:
    value: Value
    low: Value
    high: Value


@dataclass(frozen=True, slots=True)
class Like:
    """`escape` is one character, or empty where nothing escapes."""

    value: Value
    pattern: Value
    escape: str = "\\"


@dataclass(frozen=True, slots=True)
class IsNull:
    value: Value


@dataclass(frozen=True, slots=True)
class IsTruth:
    """A boolean value as a condition: alone (`is_strict` False), or before `is true` and `is false`, never null."""

    value: Value
    truth: bool = True
    is_strict: bool = False


@dataclass(frozen=True, slots=True)
class Not:
    part: "Condition"


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple["Condition", ...]


Condition = Compare | In | Between | Like | IsNull | IsTruth | Not | And | Or


def values_of(condition: Condition) -> Iterator[Value]:
    """Every value in a condition, in the order of the text."""
    match condition:
        case Compare(_, left, right):
            yield from (left, right)
        case In(value, items):
            yield value
            yield from items
        case Between(value, low, high):
            yield from (value, low, high)
        case Like(value, pattern):
            yield from (value, pattern)
        case IsNull(value) | IsTruth(value):
            yield value
        case Not(part):
            yield from values_of(part)
        case And(parts) | Or(parts):
            for part in parts:
                yield from values_of(part)


def claims_of(condition: Condition) -> frozenset[str]:
    """The paths of all claims that a condition reads."""
    return frozenset(value.path for value in values_of(condition) if isinstance(value, Claim))
