"""Java's regular expressions for constraints, bounded in time. An expression must match the whole value.

Python's :mod:`re` with the ASCII flag agrees with Java on common expressions, but it backtracks: one bad expression
would block the application. Therefore :mod:`re` only parses the expression, and matching simulates the automaton: all
states at once, in time bounded by states x characters. The simulation also implements Java's dot, which excludes more
line terminators than Python's.

Look-around, back references and atomic groups cannot be simulated. They are matched by :mod:`re` when at most one part
of the expression repeats, so that backtracking stays linear or quadratic. Everything else is undecided.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

if sys.version_info >= (3, 11):
    from re import _constants as _sre  # type: ignore[attr-defined]
    from re import _parser
else:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import sre_constants as _sre
        import sre_parse as _parser

__all__ = ["Undecided", "full_match"]

MAX_PATTERN_CHARS = 1000
MAX_VALUE_CHARS = 4096
MAX_STATES = 5000
MAX_STEPS = 2_000_000
"""States times characters; half a second in the worst case."""

_JAVA_LINE_ENDS = "\n\r\x85\u2028\u2029"
_NAMED_GROUP = re.compile(r"\\.|\(\?<(?=[A-Za-z])", re.DOTALL)
_DIGITS = frozenset("0123456789")
_SPACES = frozenset(" \t\n\r\f\v")
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_CATEGORIES: dict[Any, tuple[frozenset[str], bool]] = {
    _sre.CATEGORY_DIGIT: (_DIGITS, True),
    _sre.CATEGORY_NOT_DIGIT: (_DIGITS, False),
    _sre.CATEGORY_SPACE: (_SPACES, True),
    _sre.CATEGORY_NOT_SPACE: (_SPACES, False),
    _sre.CATEGORY_WORD: (_WORD, True),
    _sre.CATEGORY_NOT_WORD: (_WORD, False),
}

Test = Callable[[str], bool]


class Undecided(Exception):
    """The match cannot be decided within the limits."""


class _Unsupported(Exception):
    """The expression cannot be simulated as an automaton."""


def full_match(pattern: str, value: str) -> bool:
    """Whether *pattern* matches the whole *value*; an invalid pattern never matches. Raises :exc:`Undecided`."""
    if len(pattern) > MAX_PATTERN_CHARS or len(value) > MAX_VALUE_CHARS:
        raise Undecided
    program = _compile(pattern)
    return program is not None and program(value)


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> Test | None:
    pattern = _NAMED_GROUP.sub(lambda match: "(?P<" if match[0] == "(?<" else match[0], pattern)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # FutureWarning on sets such as [[a]: the present meaning applies
            tree = _parser.parse(pattern, re.ASCII)
            expression = re.compile(pattern, re.ASCII)
    except (re.error, OverflowError, RecursionError):
        return None
    try:
        return _Automaton(tree).matches
    except _Unsupported:
        if _repeats(tree) <= 1:
            return lambda value: expression.fullmatch(value) is not None
        return _undecided
    except RecursionError:
        return _undecided


def _undecided(value: str) -> bool:
    raise Undecided


def _repeats(tree: Any) -> int:
    """The number of parts that repeat a varying number of times; a nested repeat counts double."""
    total = 0
    for op, arg in tree:
        if op in (_sre.MAX_REPEAT, _sre.MIN_REPEAT) or op is getattr(_sre, "POSSESSIVE_REPEAT", None):
            least, most, body = arg
            inner = _repeats(body)
            total += (1 if least != most else 0) + (inner * 2 if most > 1 else inner)
            total += 1 if most > 1 and any(part is _sre.BRANCH for part, _ in body) else 0
        elif op is _sre.BRANCH:
            total += sum(_repeats(branch) for branch in arg[1])
        elif op is _sre.SUBPATTERN:
            total += _repeats(arg[-1])
        elif op in (_sre.ASSERT, _sre.ASSERT_NOT):
            total += _repeats(arg[1])
        elif op is getattr(_sre, "ATOMIC_GROUP", None):
            total += _repeats(arg)
        elif op in (_sre.GROUPREF, _sre.GROUPREF_EXISTS):
            total += 1
    return total


class _Automaton:
    """A nondeterministic automaton; state 0 accepts. Built from the end to the beginning."""

    def __init__(self, tree: Any) -> None:
        self._tests: list[Test | None] = [None]
        self._next: list[tuple[int, ...]] = [()]
        self._asserts: list[Any] = [None]
        self._flags = tree.state.flags
        self._start = self._sequence(tree, 0, self._flags)

    def matches(self, value: str) -> bool:
        if len(self._next) * (len(value) + 1) > MAX_STEPS:
            raise Undecided
        states = self._closure({self._start}, value, 0)
        for index, char in enumerate(value):
            reached: set[int] = set()
            for state in states:
                test = self._tests[state]
                if test is not None and test(char):
                    reached.update(self._next[state])
            if not reached:
                return False
            states = self._closure(reached, value, index + 1)
        return 0 in states

    def _closure(self, states: set[int], value: str, index: int) -> set[int]:
        seen = set(states)
        stack = list(states)
        while stack:
            state = stack.pop()
            if self._tests[state] is not None:
                continue
            check = self._asserts[state]
            if check is not None and not check(value, index):
                continue
            for following in self._next[state]:
                if following not in seen:
                    seen.add(following)
                    stack.append(following)
        return seen

    def _state(self, test: Test | None, following: tuple[int, ...], check: Any = None) -> int:
        if len(self._next) >= MAX_STATES:
            raise _Unsupported
        self._tests.append(test)
        self._next.append(following)
        self._asserts.append(check)
        return len(self._next) - 1

    def _sequence(self, tree: Any, following: int, flags: int) -> int:
        for op, arg in reversed(list(tree)):
            following = self._node(op, arg, following, flags)
        return following

    def _node(self, op: Any, arg: Any, following: int, flags: int) -> int:
        if op in (_sre.LITERAL, _sre.NOT_LITERAL, _sre.ANY, _sre.IN):
            return self._state(_char_test(op, arg, flags), (following,))
        if op is _sre.SUBPATTERN:
            _, added, removed, body = arg
            return self._sequence(body, following, (flags | added) & ~removed)
        if op is _sre.BRANCH:
            return self._state(None, tuple(self._sequence(branch, following, flags) for branch in arg[1]))
        if op in (_sre.MAX_REPEAT, _sre.MIN_REPEAT):
            least, most, body = arg
            return self._repeat(int(least), None if most is _sre.MAXREPEAT else int(most), body, following, flags)
        if op is _sre.AT:
            return self._state(None, (following,), _position_test(arg, flags))
        raise _Unsupported

    def _repeat(self, least: int, most: int | None, body: Any, following: int, flags: int) -> int:
        if most is None:
            loop = self._state(None, (following,))
            self._next[loop] = (self._sequence(body, loop, flags), following)
            start = loop
        else:
            start = following
            for _ in range(most - least):
                start = self._state(None, (self._sequence(body, start, flags), following))
        for _ in range(least):
            start = self._sequence(body, start, flags)
        return start


def _char_test(op: Any, arg: Any, flags: int) -> Test:
    if op is _sre.ANY:
        return (lambda char: True) if flags & re.DOTALL else (lambda char: char not in _JAVA_LINE_ENDS)
    if op in (_sre.LITERAL, _sre.NOT_LITERAL):
        parts: list[Any] = [(_sre.LITERAL, arg)]
        negated = op is _sre.NOT_LITERAL
    else:
        parts = list(arg)
        negated = bool(parts) and parts[0][0] is _sre.NEGATE
        parts = parts[1:] if negated else parts
    singles = {chr(value) for kind, value in parts if kind is _sre.LITERAL}
    ranges = [(chr(value[0]), chr(value[1])) for kind, value in parts if kind is _sre.RANGE]
    categories = [_CATEGORIES[value] for kind, value in parts if kind is _sre.CATEGORY]
    ignores_case = bool(flags & re.IGNORECASE)

    def has(char: str) -> bool:
        return (
            char in singles
            or any(low <= char <= high for low, high in ranges)
            or any((char in members) is wanted for members, wanted in categories)
        )

    def test(char: str) -> bool:
        found = has(char) or (ignores_case and char.isascii() and char.isalpha() and has(char.swapcase()))
        return found is not negated

    return test


def _position_test(kind: Any, flags: int) -> Callable[[str, int], bool]:
    multiline = bool(flags & re.MULTILINE)
    if kind is _sre.AT_BEGINNING_STRING or (kind is _sre.AT_BEGINNING and not multiline):
        return lambda value, index: index == 0
    if kind is _sre.AT_BEGINNING:
        return lambda value, index: index == 0 or value[index - 1] == "\n"
    if kind is _sre.AT_END_STRING:
        return lambda value, index: index == len(value)
    if kind is _sre.AT_END:
        if multiline:
            return lambda value, index: index == len(value) or value[index] == "\n"
        return lambda value, index: index == len(value) or (index == len(value) - 1 and value[index] == "\n")
    if kind in (_sre.AT_BOUNDARY, _sre.AT_NON_BOUNDARY):
        wanted = kind is _sre.AT_BOUNDARY

        def is_boundary(value: str, index: int) -> bool:
            before = index > 0 and value[index - 1] in _WORD
            after = index < len(value) and value[index] in _WORD
            return (before is not after) is wanted

        return is_boundary
    raise _Unsupported
