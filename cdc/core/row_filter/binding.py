"""Binds a condition to a table: columns get their types, literals become values, and the condition a test of rows.

Nothing is guessed: what PostgreSQL would compare in another way than this (texts in a language's order, floating point
numbers, times with and without zone) is refused by name.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, assert_never

from ..errors import InvalidInput
from ..log.table_column import TableColumn
from . import matcher
from .expression import (
    And,
    Between,
    Claim,
    Column,
    Compare,
    Condition,
    Constant,
    Field,
    In,
    IsNull,
    IsTruth,
    Like,
    Not,
    Operator,
    Or,
    Parameter,
    Value,
)
from .like_pattern import LikePattern
from .matcher import Getter, Test
from .value_type import TEXT, ValueType, cast_type, type_of

__all__ = [
    "MAX_PATTERN_CHARACTERS",
    "MAX_WILD_CHARACTERS",
    "Bound",
    "ClaimMissing",
    "IndexKey",
    "Sql",
    "bind",
    "refuse",
    "sql_of",
]

_MIRRORED: Mapping[Operator, Operator] = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

_COMPARABLE = (
    "boolean, smallint, integer, bigint, numeric, text, varchar, uuid, date, timestamp, timestamptz, enums,"
    " and ->> of json and jsonb"
)

MAX_PATTERN_CHARACTERS = 8_192
MAX_WILD_CHARACTERS = 32
"""Of all patterns of `like` in a condition: they are read in one turn, and the second bounds what matching a row takes
beside its length."""

Sql = Mapping[str, Any]
"""One node of the condition as `flagent_cdc.filter_condition` reads it."""


class ClaimMissing(Exception):
    """A claim that the filter needs is not in the token: it matches no row."""


class IndexKey(NamedTuple):
    """Only rows whose `column` has one of these values can match; `read` makes a value of the row comparable."""

    column: str
    type: ValueType
    values: tuple[Any, ...]

    @property
    def place(self) -> tuple[str, str]:
        """The column and the family of its type: what keys of different filters have in common."""
        return self.column, self.type.family


@dataclass(frozen=True, slots=True)
class Bound:
    """A condition for one table. `key` is an equality that it implies, if any."""

    test: Test
    key: IndexKey | None


def refuse(message: str, code: str = "invalid_filter") -> InvalidInput:
    return InvalidInput(message, name="where", code=code)


def bind(
    condition: Condition,
    columns: Mapping[str, TableColumn],
    parameters: Sequence[Constant] = (),
    claims: Mapping[str, Any] | None = None,
) -> Bound:
    """Raises `InvalidInput` naming what is wrong, and `ClaimMissing`.

    `columns` are the visible ones: any other does not exist. `claims` are values by path, None where none are allowed.
    """
    test, _, key = _Binder(columns, parameters, claims).bound(condition)
    return Bound(test, key)


def sql_of(
    condition: Condition,
    columns: Mapping[str, TableColumn],
    parameters: Sequence[Constant] = (),
    claims: Mapping[str, Any] | None = None,
) -> Sql:
    """The same condition for PostgreSQL; made when it is needed, because there are many filters and few are read from
    a table at a time."""
    return _Binder(columns, parameters, claims).bound(condition)[1]


class _Operand(NamedTuple):
    """A side that comes out of the row; `name` is how messages call it."""

    name: str
    type: ValueType
    get: Getter
    sql: Sql
    has_byte_order: bool
    is_deterministic: bool
    column: str | None


class _Binder:
    def __init__(
        self, columns: Mapping[str, TableColumn], parameters: Sequence[Constant], claims: Mapping[str, Any] | None
    ) -> None:
        self._columns = columns
        self._parameters = parameters
        self._claims = claims
        self._pattern_characters = 0
        self._wild_characters = 0

    def bound(self, condition: Condition) -> tuple[Test, Sql, IndexKey | None]:
        match condition:
            case And(parts):
                bound = [self.bound(part) for part in parts]
                key = next((key for _, _, key in bound if key is not None), None)
                return matcher.all_of([each[0] for each in bound]), _node("and", bound), key
            case Or(parts):
                bound = [self.bound(part) for part in parts]
                return matcher.any_of([each[0] for each in bound]), _node("or", bound), _either([b[2] for b in bound])
            case Not(part):
                test, sql, _ = self.bound(part)
                return _negated(test), {"op": "not", "args": [sql]}, None
            case Compare(operator, left, right):
                return self._compare(operator, left, right)
            case In(value, items):
                return self._in(value, items)
            case Between(value, low, high):
                return self._between(value, low, high)
            case Like(value, pattern, escape):
                return self._like(value, pattern, escape)
            case IsNull(value):
                side = self._operand(value, "is null", any_type=True)
                if side.type.family == "json":
                    raise refuse(f"{side.name} is {side.type.name}, whose null cannot be known from a change; use ->>")
                get = side.get if side.column is None else _raw(side.column)
                return (lambda row: get(row) is None), {"op": "is null", "args": [side.sql]}, None
            case IsTruth(value, truth, is_strict):
                return self._truth(value, truth, is_strict=is_strict)
            case other:
                assert_never(other)

    # -- conditions ------------------------------------------------------------------------------------------------

    def _compare(self, operator: Operator, left: Value, right: Value) -> tuple[Test, Sql, IndexKey | None]:
        if not isinstance(left, Column | Field):
            left, right, operator = right, left, _MIRRORED[operator]
        side = self._operand(left, operator)
        if isinstance(right, Column | Field):
            other = self._operand(right, operator)
            if other.type.family != side.type.family:
                raise refuse(
                    f"{side.name} is {side.type.name} and {other.name} is {other.type.name}, which cannot be compared"
                )
            self._check_order(side, operator, also=other)
            self._check_order(other, operator, also=side)
            return matcher.comparison(operator, side.get, other.get), _binary(operator, side.sql, other.sql), None
        self._check_order(side, operator, also=right)
        value, sql = self._value(right, side)
        test = matcher.comparison(operator, side.get, value)
        key = None
        if operator == "=" and side.column is not None and value is not None:
            key = IndexKey(side.column, side.type, (value,))
        return test, _binary(operator, side.sql, sql), key

    def _in(self, value: Value, items: Sequence[Value]) -> tuple[Test, Sql, IndexKey | None]:
        side = self._operand(value, "in")
        self._check_order(side, "=")
        values, sqls = [], []
        for item in items:
            if isinstance(item, Column | Field):
                raise refuse(f"in compares {side.name} with literals and parameters, not with columns")
            found, sql = self._value(item, side)
            values.append(found)
            sqls.append(sql)
        known = frozenset(found for found in values if found is not None)
        key = None if side.column is None else IndexKey(side.column, side.type, tuple(known))
        test = matcher.membership(side.get, known, has_null=None in values)
        return test, {"op": "in", "args": [side.sql, *sqls]}, key

    def _between(self, value: Value, low: Value, high: Value) -> tuple[Test, Sql, IndexKey | None]:
        lower, lower_sql, _ = self._compare(">=", value, low)
        upper, upper_sql, _ = self._compare("<=", value, high)
        return matcher.all_of((lower, upper)), {"op": "and", "args": [lower_sql, upper_sql]}, None

    def _like(self, value: Value, pattern: Value, escape: str) -> tuple[Test, Sql, IndexKey | None]:
        side = self._operand(value, "like")
        if side.type.family != "text":
            raise refuse(f"{side.name} is {side.type.name}, and like compares text")
        self._check_order(side, "=")
        if isinstance(pattern, Column | Field):
            raise refuse("the pattern of like must be a literal or a parameter")
        text, sql = self._value(pattern, side)
        node = {"op": "like", "args": [side.sql, sql], "escape": escape}
        if text is None:
            return (lambda row: None), node, None
        self._pattern_characters += len(text)
        if self._pattern_characters > MAX_PATTERN_CHARACTERS:
            raise refuse(f"the patterns of like have more than {MAX_PATTERN_CHARACTERS} characters together")
        try:
            found = LikePattern.parse(text, escape)
        except ValueError as error:
            raise refuse(f"the pattern {_shown(text)} of like is invalid: {error}") from error
        self._wild_characters += found.wild
        if self._wild_characters > MAX_WILD_CHARACTERS:
            raise refuse(
                f"the patterns of like have more than {MAX_WILD_CHARACTERS} characters in parts between two % that"
                " contain _"
            )
        return matcher.like(side.get, found), node, None

    def _truth(self, value: Value, truth: bool, *, is_strict: bool) -> tuple[Test, Sql, IndexKey | None]:
        side = self._operand(value, "a condition by itself")
        if side.type.family != "boolean":
            raise refuse(f"{side.name} is {side.type.name}; only a boolean is a condition by itself")
        get = side.get
        if not is_strict:
            return get, side.sql, None
        return (lambda row: get(row) is truth), {"op": f"is {str(truth).lower()}", "args": [side.sql]}, None

    @staticmethod
    def _check_order(side: _Operand, operator: Operator, also: object = None) -> None:
        if side.type.family != "text":
            return
        is_bytes = side.has_byte_order or getattr(also, "has_byte_order", False)
        if operator not in ("=", "<>") and not is_bytes:
            raise refuse(
                f'{side.name} {operator} … depends on the order of its language; compare {side.name} collate "C"',
                "collation",
            )
        if not side.is_deterministic and not is_bytes:
            raise refuse(
                f"{side.name} has a collation in which different texts are equal, which filters cannot compare"
            )

    # -- values ----------------------------------------------------------------------------------------------------

    def _operand(self, value: Value, operator: str, *, any_type: bool = False) -> _Operand:
        """The side that is read from the row."""
        match value:
            case Column(name, has_byte_order):
                column, type = self._column(name, operator, any_type=any_type)
                if has_byte_order and type.family != "text":
                    raise refuse(f"collate applies to text, and the column {name} is {column.type}")
                return _Operand(
                    f"the column {name}", type, matcher.column(name, type),
                    {"op": "column", "name": name, "collate": has_byte_order},
                    has_byte_order or column.has_byte_order, column.is_deterministic or has_byte_order, name,
                )  # fmt: skip
            case Field(name, path, has_byte_order):
                column, type = self._column(name, "->>", any_type=True)
                if type.family != "json":
                    raise refuse(f"->> reads json and jsonb, and the column {name} is {column.type}")
                return _Operand(
                    f"->> of the column {name}", TEXT, matcher.field(name, path, is_binary=column.builtin == "jsonb"),
                    {"op": "field", "name": name, "path": list(path), "collate": has_byte_order},
                    has_byte_order, True, None,
                )  # fmt: skip
            case _:
                raise refuse(f"one side of {operator} must be a column")

    def _column(self, name: str, operator: str, *, any_type: bool) -> tuple[TableColumn, ValueType]:
        column = self._columns.get(name)
        if column is None or column.is_hidden:
            visible = ", ".join(each.name for each in self._columns.values() if not each.is_hidden)
            raise refuse(f"there is no column {name[:64]}; there are {visible[:400]}", "unknown_column")
        type = type_of(column)
        if type is None or (type.family == "json" and not any_type):
            if any_type:
                type = TEXT
            else:
                raise refuse(
                    f"the column {name} is {column.type}, which filters cannot compare with {operator};"
                    f" they compare {_COMPARABLE}",
                    "uncomparable_type",
                )
        return column, type

    def _value(self, value: Value, side: _Operand) -> tuple[Any, Sql]:
        """A literal of the other side, as what compares with it; null is None."""
        match value:
            case Parameter(number, cast):
                if not 1 <= number <= len(self._parameters):
                    count = len(self._parameters)
                    raise refuse(f"${number} has no value: {count} parameters were given", "missing_parameter")
                given = self._parameters[number - 1]
                value = Constant(given.kind, given.text, cast)
            case Claim(path, cast):
                value = self._claim(path, cast, side)
            case Column() | Field():
                raise AssertionError("columns are operands")
        assert isinstance(value, Constant)
        if value.text is None:
            return None, {"op": "value", "text": None, "type": side.type.name}
        type = self._type_of_literal(value, side)
        text = value.text
        if type is TEXT and value.kind == "number":
            text = _canonical(text, side)
        try:
            found = type.parse(text)
        except (ValueError, ArithmeticError) as error:
            raise refuse(f"{_shown(text)} is no value for {side.name}, which is {side.type.name}: {error}") from error
        return found, {"op": "value", "text": text, "type": type.name}

    def _type_of_literal(self, value: Constant, side: _Operand) -> ValueType:
        side_type = side.type
        if value.cast is not None:
            type = cast_type(value.cast)
            if type is None or type.family != side_type.family:
                raise refuse(f"{side.name} is {side_type.name} and cannot be compared with {value.cast}")
            return type
        is_number = side_type.family == "number"
        if value.kind == "number":
            if not is_number:
                raise refuse(f"{side.name} is {side_type.name} and cannot be compared with the number {value.text}")
            return _NUMERIC
        if value.kind == "boolean" and side_type.family != "boolean":
            raise refuse(f"{side.name} is {side_type.name} and cannot be compared with {value.text}")
        # A parameter for a number may have more digits than its column: it is compared all the same.
        return _NUMERIC if is_number and value.kind == "parameter" else side_type

    def _claim(self, path: str, cast: str | None, side: _Operand) -> Constant:
        if self._claims is None:
            raise refuse("claim() is for the scopes of keys and tokens, not for filters of clients")
        if path not in self._claims:
            raise ClaimMissing(path)
        found = self._claims[path]
        family = side.type.family
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        if found is None:
            raise ClaimMissing(path)
        if isinstance(found, bool):
            fits, kind = family == "boolean", "boolean"
        elif is_number:
            fits, kind = family == "number", "number"
        else:
            fits, kind = isinstance(found, str) and family not in ("boolean", "number"), "text"
        if not fits:
            raise refuse(
                f"the claim {path[:64]} has the wrong type for {side.name}, which is {side.type.name}", "claim_type"
            )
        text = found if isinstance(found, str) else json.dumps(found)
        return Constant(kind, text, cast)  # type: ignore[arg-type]


_NUMERIC = cast_type("numeric") or TEXT


def _raw(name: str) -> Getter:
    return lambda row: row.row.get(name)


def _negated(test: Test) -> Test:
    def negated(row: Any) -> bool | None:
        found = test(row)
        return None if found is None else not found

    return negated


def _node(op: str, bound: Iterable[tuple[Test, Sql, IndexKey | None]]) -> Sql:
    return {"op": op, "args": [sql for _, sql, _ in bound]}


def _binary(operator: str, left: Sql, right: Sql) -> Sql:
    return {"op": operator, "args": [left, right]}


def _either(keys: Sequence[IndexKey | None]) -> IndexKey | None:
    """The key of a disjunction: all of its parts need one of the same column."""
    first = keys[0]
    if first is None or any(key is None or key.place != first.place for key in keys):
        return None
    return first._replace(values=tuple(dict.fromkeys(value for key in keys if key is not None for value in key.values)))


def _canonical(text: str, side: _Operand) -> str:
    """A number that was cast to text."""
    try:
        return str(int(text))
    except ValueError as error:
        raise refuse(f"{_shown(text)} is no value for {side.name}; quote it") from error


def _shown(text: str) -> str:
    return repr(text if len(text) <= 64 else text[:64] + "…")
