"""Java regular expressions, with limits on time and memory.

Expressions are untrusted input: every writer of Flagent's tables can store `(a+)+b`, and every evaluation request
chooses the text. To keep the event loop responsive:

- expressions that need no backtracking run on RE2, with time linear in the text and limited memory;
- others (look-around beyond leading look-aheads, back-references, possessive and atomic groups that matter, line
  anchors within the text) run on the `regex` package, for short texts only and with a time limit per match;
- every expression has an allowance of slow time, which refills slowly, so a repeatedly slow expression, for example in
  a batch, is suspended.

A match that exceeds a limit raises `UndecidedMatch`, and the constraint does not hold. An expression is invalid exactly
if Java refuses it; the parser in `cdc.core.javaregex` decides that, not the engines.
"""

import logging
from collections.abc import Callable
from functools import lru_cache
from time import monotonic, thread_time
from typing import Protocol

import re2
import regex

from ..core.errors import UndecidedMatch
from ..core.javaregex import NotLinear, Plan, TooComplex, Unsupported, backtracking_text, linear_plans, parse

__all__ = ["JavaRegexes"]

logger = logging.getLogger(__name__)

MAX_PATTERN_LENGTH = 8192
"""Characters of an expression; longer ones stay undecided. Compilation takes 3 to 18 us per character (measured)."""

MAX_PATTERNS = 256
"""Size of the cache of compiled expressions; with `MAX_LINEAR_MEMORY` it limits their memory."""

MAX_LINEAR_MEMORY = 1 << 20
"""Memory limit of RE2 per expression, in bytes."""

MAX_LINEAR_WORK = 5_000_000
QUICK_LINEAR_WORK = 100_000
"""Limits of program size times bytes of text. RE2's worst case is 1 to 6 ns per unit (measured), so 5 to 30 ms; below
the second limit, as for nearly every constraint, the time is not measured."""

MAX_BACKTRACKING_LENGTH = 2000
BACKTRACKING_TIMEOUT_S = 0.005

QUICK_S = 0.0001
"""Matches with less processor time than this do not use the allowance."""

ALLOWANCE_S = 0.025
ALLOWANCE_PER_S = 0.002
"""The allowance of slow processor time per expression, and its refill per second."""


class _Matcher(Protocol):
    def fullmatch(self, text: str, /) -> bool: ...


class JavaRegexes:
    """A `RegexEngine` for `cdc.core.evaluation`. Safe to use from several threads."""

    def __init__(self) -> None:
        self._matcher = lru_cache(MAX_PATTERNS)(_matcher)

    def compile(self, pattern: str, /) -> "_Pattern":
        """Compile an expression; raises `InvalidPattern` if Java refuses it.

        The result is small: the programs of the engines are in a cache of the `MAX_PATTERNS` used last, and compiled
        again after their eviction.
        """
        self._matcher(pattern)
        return _Pattern(self, pattern)

    def fullmatch(self, pattern: str, text: str) -> bool:
        """Whether the expression matches the whole text; raises `InvalidPattern` or `UndecidedMatch`."""
        return self._matcher(pattern).fullmatch(text)


class _Pattern:
    __slots__ = ("_engine", "_pattern")

    def __init__(self, engine: JavaRegexes, pattern: str) -> None:
        self._engine = engine
        self._pattern = pattern

    def fullmatch(self, text: str, /) -> bool:
        return self._engine.fullmatch(self._pattern, text)


class _Allowance:
    """The remaining slow time of one expression.

    It counts processor time of the thread: on a busy machine, wall time would suspend fast expressions too.
    """

    __slots__ = ("_left_s", "_since")

    def __init__(self) -> None:
        self._left_s = ALLOWANCE_S
        self._since = 0.0

    def run(self, match: Callable[[], bool]) -> bool:
        """Run a match and charge its time; raises `UndecidedMatch` without a try while the expression is suspended."""
        if self._left_s <= 0 and not self._has_recovered():
            raise UndecidedMatch("the expression was too slow and is suspended for a while")
        started = thread_time()
        try:
            return match()
        finally:
            took_s = thread_time() - started
            if took_s > QUICK_S:
                self._charge(took_s)

    def _has_recovered(self) -> bool:
        """Whether the allowance is full again: a partly refilled one would be used up at once."""
        if self._left_s + (monotonic() - self._since) * ALLOWANCE_PER_S < ALLOWANCE_S:
            return False
        self._left_s = ALLOWANCE_S
        return True

    def _charge(self, took_s: float) -> None:
        now = monotonic()
        self._left_s = min(ALLOWANCE_S, self._left_s + (now - self._since) * ALLOWANCE_PER_S) - took_s
        self._since = now
        if self._left_s <= 0:
            logger.warning(
                "A regular expression in a constraint is too slow and suspended; its constraints do not hold meanwhile",
                extra={
                    "action": "regex_suspended",
                    "suspended_s": round((ALLOWANCE_S - self._left_s) / ALLOWANCE_PER_S),
                },
            )


def _matcher(pattern: str) -> _Matcher:
    if len(pattern) > MAX_PATTERN_LENGTH:
        return _Undecided(f"the expression is longer than {MAX_PATTERN_LENGTH} characters")
    try:
        tree = parse(pattern)
    except TooComplex:
        return _Undecided("the expression is nested too deeply")
    try:
        return _Linear(linear_plans(tree))
    except (NotLinear, re2.error):
        # The text is well-formed, so RE2 refused its size.
        pass
    try:
        return _Backtracking(backtracking_text(tree))
    except (Unsupported, regex.error):
        # regex.error: the package loses groups within a repeated look-around.
        return _Undecided("the expression is too large, or needs a feature that no engine has")


class _Linear:
    __slots__ = ("_allowance", "_plans", "_size")

    def __init__(self, plans: tuple[Plan, ...]) -> None:
        options = re2.Options()
        options.max_mem = MAX_LINEAR_MEMORY
        options.never_capture = True
        options.log_errors = False
        # With bytes the package does not translate unneeded offsets: 1.2 instead of 3.5 us per match.
        self._plans = [
            (
                re2.compile(plan.whole.encode(), options),
                [re2.compile(text.encode(), options) for text in plan.required],
                [re2.compile(text.encode(), options) for text in plan.excluded],
            )
            for plan in plans
        ]
        self._size = sum(
            program.programsize
            for whole, required, excluded in self._plans
            for program in (whole, *required, *excluded)
        )
        self._allowance = _Allowance()

    def fullmatch(self, text: str, /) -> bool:
        data = text.encode("utf-8", "replace")
        work = self._size * len(data)
        if work <= QUICK_LINEAR_WORK:
            return self._matches(data)
        if work > MAX_LINEAR_WORK:
            raise UndecidedMatch("the value is too long for the size of the expression")
        return self._allowance.run(lambda: self._matches(data))

    def _matches(self, data: bytes) -> bool:
        for whole, required, excluded in self._plans:
            if (
                whole.fullmatch(data) is not None
                and all(part.match(data) is not None for part in required)
                and not any(part.match(data) is not None for part in excluded)
            ):
                return True
        return False


class _Backtracking:
    __slots__ = ("_allowance", "_program")

    def __init__(self, text: str) -> None:
        self._program = regex.compile(text, regex.VERSION1, cache_pattern=False)
        self._allowance = _Allowance()

    def fullmatch(self, text: str, /) -> bool:
        if len(text) > MAX_BACKTRACKING_LENGTH:
            raise UndecidedMatch("the value is too long for an expression that needs backtracking")
        return self._allowance.run(lambda: self._matches(text))

    def _matches(self, text: str) -> bool:
        """The limit of the package is wall time; a match that got little processor time is retried twice."""
        for _ in range(3):
            started = thread_time()
            try:
                return self._program.fullmatch(text, timeout=BACKTRACKING_TIMEOUT_S) is not None
            except TimeoutError:
                if thread_time() - started > BACKTRACKING_TIMEOUT_S / 2:
                    break
            except MemoryError:
                break
        raise UndecidedMatch("the match exceeded its time limit")


class _Undecided:
    __slots__ = ("_reason",)

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def fullmatch(self, _text: str, /) -> bool:
        raise UndecidedMatch(self._reason)
