"""Typed conditions: what a filter has become for one table, as functions of a row.

Each test returns True, False or None, which is PostgreSQL's null. The tests that thousands of filters have are objects
with slots: a function that encloses three values takes seven times the memory.
"""

import operator as operators
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from ..log.row_text import RowText
from ..text.exact_json import members, read_array, skip
from .expression import Operator
from .like_pattern import LikePattern
from .value_type import ValueType

__all__ = ["Getter", "Test", "all_of", "any_of", "between", "column", "comparison", "field", "like", "membership"]

T = TypeVar("T")

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

    steps = tuple(path)

    def get(row: RowText) -> str | None:
        if row.row.get(name) is None:
            return None
        found = _json_at(row, name, steps, is_binary=is_binary)
        return None if found is None else row.remember(("text", name, *steps), lambda: _as_text(found))

    return get


def _json_at(row: RowText, name: str, steps: tuple[str | int, ...], *, is_binary: bool) -> str | None:
    """The text of the value, because PostgreSQL returns what is nested as it was stored.

    A value is taken apart once, for all filters that look into it.
    """
    if not steps:
        return row.remember("members", lambda: members(row.text))[name]
    *before, step = steps
    text = _json_at(row, name, tuple(before), is_binary=is_binary)
    if text is None:
        return None
    if isinstance(step, str):
        return _parts(row, text, members, name, before).get(step) if text.startswith("{") else None
    if is_binary and text[0] not in "{[":
        return text if step in (0, -1) else None
    if not text.startswith("["):
        return None
    items = _parts(row, text, _items, name, before)
    return items[step] if -len(items) <= step < len(items) else None


def _parts(row: RowText, text: str, read: Callable[[str], T], name: str, steps: Sequence[str | int]) -> T:
    return row.remember(("parts", name, *steps), lambda: read(text))


def _items(text: str) -> list[str]:
    return read_array(text, 0, _read_text)[0]


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


def like(value: Getter, pattern: LikePattern) -> Test:
    def test(row: RowText) -> bool | None:
        text = value(row)
        return None if text is None else pattern.matches(text)

    return test
