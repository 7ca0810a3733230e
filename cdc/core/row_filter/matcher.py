"""Typed conditions: what a filter has become for one table, as functions of a row.

Each test returns True, False or None, which is PostgreSQL's null. The tests that thousands of filters have are objects
with slots: a function that encloses three values takes seven times the memory.
"""

import operator as operators
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ..log.row_text import RowText
from ..text.exact_json import members, read_array, skip
from .expression import Operator
from .value_type import ValueType

__all__ = ["Getter", "Test", "all_of", "any_of", "between", "column", "comparison", "field", "like", "membership"]

Getter = Callable[[RowText], Any]
"""The value of a row that is compared; None is null."""

Test = Callable[[RowText], bool | None]

_COMPARE: Mapping[Operator, Callable[[Any, Any], bool]] = {
    "=": operators.eq,
    "<>": operators.ne,
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
}


@lru_cache(maxsize=1024)
def column(name: str, type: ValueType) -> Getter:
    """The value of a column; null where the row is older than the column."""
    read = type.read

    def get(row: RowText) -> Any:
        value = row.row.get(name)
        return None if value is None else read(value)

    return get


def field(name: str, path: Sequence[str | int], *, is_binary: bool = False) -> Getter:
    """The text at a path within a json column; `is_binary` of jsonb, where a scalar is an array of itself."""

    def get(row: RowText) -> str | None:
        if row.row.get(name) is None:
            return None
        # The text of the value, because PostgreSQL returns what is nested as it was stored.
        text = members(row.text)[name]
        for step in path:
            if isinstance(step, str):
                found = _member(text, step)
            elif is_binary and text[0] not in "{[":
                found = text if step in (0, -1) else None
            else:
                found = _item(text, step)
            if found is None:
                return None
            text = found
        return _as_text(text)

    return get


def _member(text: str, name: str) -> str | None:
    return members(text).get(name) if text.startswith("{") else None


def _item(text: str, index: int) -> str | None:
    if not text.startswith("["):
        return None
    items = read_array(text, 0, _read_text)[0]
    return items[index] if -len(items) <= index < len(items) else None


def _read_text(text: str, at: int) -> tuple[str, int]:
    end = skip(text, at)
    return text[at:end], end


def _as_text(text: str) -> str | None:
    if text == "null":
        return None
    if not text.startswith('"'):
        return text
    value = next(iter(RowText(f'{{"":{text}}}').row.values()))
    if not isinstance(value, str) or "\0" in value or any("\ud800" <= c <= "\udbff" for c in value):
        # PostgreSQL has no such text, and fails where it is asked for it.
        raise ValueError("a text that PostgreSQL cannot hold")
    return value


# Ten thousand filters differ in a tenant and share the rest. Typed, because 1 and true are equal in Python.
@lru_cache(maxsize=1024, typed=True)
def comparison(operator: Operator, left: Getter, right: Any) -> Test:
    """`right` is a value, or a getter."""
    compare = _COMPARE[operator]
    if callable(right):

        def test_both(row: RowText) -> bool | None:
            a, b = left(row), right(row)
            return None if a is None or b is None else compare(a, b)

        return test_both
    return _unknown if right is None else _Comparison(compare, left, right)


def _unknown(row: RowText) -> None:
    return None


class _Comparison:
    __slots__ = ("_compare", "_left", "_right")

    def __init__(self, compare: Callable[[Any, Any], bool], left: Getter, right: Any) -> None:
        self._compare = compare
        self._left = left
        self._right = right

    def __call__(self, row: RowText) -> bool | None:
        value = self._left(row)
        return None if value is None else self._compare(value, self._right)


def membership(value: Getter, items: frozenset[Any], *, has_null: bool) -> Test:
    return _Membership(value, items, None if has_null else False)


class _Membership:
    __slots__ = ("_absent", "_items", "_value")

    def __init__(self, value: Getter, items: frozenset[Any], absent: bool | None) -> None:
        self._value = value
        self._items = items
        self._absent = absent

    def __call__(self, row: RowText) -> bool | None:
        found = self._value(row)
        if found is None:
            return None
        return True if found in self._items else self._absent


def between(value: Getter, low: Any, high: Any) -> Test:
    return all_of((comparison(">=", value, low), comparison("<=", value, high)))


def all_of(tests: Sequence[Test]) -> Test:
    return _decided_by(tests, False)


def any_of(tests: Sequence[Test]) -> Test:
    return _decided_by(tests, True)


def _decided_by(tests: Sequence[Test], decisive: bool) -> Test:
    return tests[0] if len(tests) == 1 else _Decided(tuple(tests), decisive)


class _Decided:
    """One test with the decisive result decides; without it, null is stronger than the other result."""

    __slots__ = ("_decisive", "_tests")

    def __init__(self, tests: tuple[Test, ...], decisive: bool) -> None:
        self._tests = tests
        self._decisive = decisive

    def __call__(self, row: RowText) -> bool | None:
        decisive = self._decisive
        result: bool | None = not decisive
        for part in self._tests:
            found = part(row)
            if found is decisive:
                return found
            if found is None:
                result = None
        return result


class _Piece(NamedTuple):
    """What stands between two `%`; characters that `_` leaves open are dots of the pattern."""

    pattern: re.Pattern[str]
    length: int


def like(value: Getter, pattern: str, escape: str) -> Test:
    """Raises `ValueError` for a pattern that ends with its escape character.

    Each piece between two `%` is searched for once, at its leftmost place: the time is bounded by the product of the
    lengths, whatever the pattern.
    """
    pieces = _pieces(pattern, escape)
    first, last, middle = pieces[0], pieces[-1], pieces[1:-1]

    def test(row: RowText) -> bool | None:
        text = value(row)
        if text is None:
            return None
        if len(pieces) == 1:
            return first.pattern.fullmatch(text) is not None
        if first.pattern.match(text) is None:
            return False
        at, end = first.length, len(text) - last.length
        if end < at or last.pattern.match(text, end) is None:
            return False
        for piece in middle:
            found = piece.pattern.search(text, at, end)
            if found is None:
                return False
            at = found.end()
        return True

    return test


def _pieces(pattern: str, escape: str) -> list[_Piece]:
    pieces: list[list[str]] = [[]]
    characters = iter(pattern)
    for character in characters:
        if escape and character == escape:
            following = next(characters, None)
            if following is None:
                raise ValueError("a pattern must not end with its escape character")
            pieces[-1].append(re.escape(following))
        elif character == "%":
            pieces.append([])
        else:
            pieces[-1].append("." if character == "_" else re.escape(character))
    return [_Piece(re.compile("".join(piece), re.DOTALL), len(piece)) for piece in pieces]
