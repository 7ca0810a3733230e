"""One constraint of a segment, prepared as a function from a property's value to whether the constraint holds.

A property that is absent fails every constraint, whatever its operator; the caller sees to that.
"""

from collections.abc import Callable
from typing import Protocol

from ..errors import InvalidPattern, UndecidedMatch
from .number import parse_double

__all__ = ["WHITESPACE", "CompiledPattern", "RegexEngine", "Test", "compile_constraint"]

Test = Callable[[str], bool]
"""Whether a constraint holds for this value of its property."""

# What Kotlin calls whitespace: with no-break spaces, without U+0085, which Python's str.isspace includes.
WHITESPACE = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


class CompiledPattern(Protocol):
    def fullmatch(self, text: str, /) -> bool:
        """Whether the pattern matches the whole of `text`; raises `UndecidedMatch` where its bounds end first."""


class RegexEngine(Protocol):
    """Java's regular expressions, bounded in time and memory."""

    def compile(self, pattern: str, /) -> CompiledPattern:
        """Prepare a pattern; raises `InvalidPattern` for what Java refuses."""


def compile_constraint(operator: str, value: str, regexes: RegexEngine) -> Test:
    """The constraint as a function. Regular expressions are prepared at their first use.

    An operator that is none of the twelve holds for nothing. No trimming, no quotes, no case folding, except that the
    pieces of IN and NOTIN are trimmed.
    """
    match operator:
        case "EQ":
            return value.__eq__
        case "NEQ":
            return value.__ne__
        case "IN":
            return _pieces(value).__contains__
        case "NOTIN":
            pieces = _pieces(value)
            return lambda text: text not in pieces
        case "CONTAINS":
            return lambda text: value in text
        case "NOTCONTAINS":
            return lambda text: value not in text
        case "LT" | "LTE" | "GT" | "GTE":
            return _compile_comparison(operator, value)
        case "EREG":
            return _compile_regex(value, regexes, wanted=True)
        case "NEREG":
            return _compile_regex(value, regexes, wanted=False)
        case _:
            return _never


def _never(_text: str) -> bool:
    return False


def _pieces(value: str) -> frozenset[str]:
    return frozenset(piece.strip(WHITESPACE) for piece in value.split(","))


def _compile_comparison(operator: str, value: str) -> Test:
    """Both sides are doubles or the constraint fails; one closure per operator, as a call would cost as much again."""
    bound = parse_double(value)
    if bound is None:
        return _never
    match operator:
        case "LT":
            return lambda text: (number := parse_double(text)) is not None and number < bound
        case "LTE":
            return lambda text: (number := parse_double(text)) is not None and number <= bound
        case "GT":
            return lambda text: (number := parse_double(text)) is not None and number > bound
        case _:
            return lambda text: (number := parse_double(text)) is not None and number >= bound


def _compile_regex(pattern: str, regexes: RegexEngine, *, wanted: bool) -> Test:
    """EREG holds where the pattern matches, NEREG where it does not; a pattern that is none never matches.

    A match left undecided fails both: who might be excluded is not let in because an expression was too slow.
    """
    fullmatch: Test | None = None

    def test(text: str) -> bool:
        nonlocal fullmatch
        if fullmatch is None:
            try:
                fullmatch = regexes.compile(pattern).fullmatch
            except InvalidPattern:
                fullmatch = _never
        try:
            return fullmatch(text) == wanted
        except UndecidedMatch:
            return False

    return test
