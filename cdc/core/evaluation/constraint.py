"""A constraint of a segment, compiled to a predicate over the value of its property.

An absent property fails every constraint, whatever its operator; the caller ensures that.
"""

from collections.abc import Callable
from typing import Protocol

from ..errors import InvalidPattern, UndecidedMatch
from ..text.kotlin_text import WHITESPACE
from .number import parse_double

__all__ = ["CompiledPattern", "RegexEngine", "Test", "compile_constraint"]

Test = Callable[[str], bool]
"""Whether a constraint holds for a value of its property."""


class CompiledPattern(Protocol):
    """A compiled regular expression."""

    def fullmatch(self, text: str, /) -> bool:
        """Whether the pattern matches the whole text; raises `UndecidedMatch` if a limit is exceeded first."""


class RegexEngine(Protocol):
    """Java regular expressions, limited in time and memory."""

    def compile(self, pattern: str, /) -> CompiledPattern:
        """Compile a pattern; raises `InvalidPattern` if Java refuses it."""


def compile_constraint(operator: str, value: str, regexes: RegexEngine) -> Test:
    """Compile a constraint. Regular expressions are compiled at their first use.

    An operator other than the twelve never holds. Values are neither trimmed, unquoted nor case-folded, except that the
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
    """Both sides must be doubles; one closure per operator, as a further call would double the cost."""
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
    """EREG holds if the pattern matches, NEREG if it does not; an invalid pattern never matches.

    An undecided match fails both: a slow expression must not admit an entity that it might exclude.
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
