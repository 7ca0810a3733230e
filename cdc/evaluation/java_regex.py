"""Java's regular expressions, run within bounds.

A constraint's expression is foreign input: anybody who may write to Flagent's tables can put `(a+)+b` there, and
anybody who asks for an evaluation chooses the text. Nothing here may hold up the event loop for long, so

- what can be done without backtracking goes to RE2, whose time is linear in the text and whose memory is capped;
- the rest (look-around beyond leading look-aheads, back-references, possessive and atomic groups that matter, line
  anchors within the text) goes to the `regex` package, for short texts only and with a time limit per match;
- every expression has an allowance of slow time, refilled slowly, so that an expression that is slow again and again,
  in a batch for example, is not even tried.

Where a bound ends a match, `UndecidedMatch` tells so, and the constraint does not hold. Invalid is exactly what Java
refuses, decided by our own parser (`cdc.core.javaregex`), not by what an engine here happens to accept.
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
"""Characters of an expression; longer ones stay undecided. Preparing one takes 3 to 18 us per character (measured)."""

MAX_PATTERNS = 256
"""Expressions kept ready; with `MAX_LINEAR_MEMORY` this bounds the memory of all."""

MAX_LINEAR_MEMORY = 1 << 20
"""Bytes that RE2 may use per expression."""

MAX_LINEAR_WORK = 5_000_000
QUICK_LINEAR_WORK = 100_000
"""Bounds of program size times bytes of text. RE2's worst case is 1 to 6 ns for each (measured), so 5 to 30 ms; below
the second bound, where nearly every constraint is, nothing is even measured."""

MAX_BACKTRACKING_LENGTH = 2000
BACKTRACKING_TIMEOUT_S = 0.005

QUICK_S = 0.0001
"""Processor time of a match that is not counted against the allowance."""

ALLOWANCE_S = 0.025
ALLOWANCE_PER_S = 0.002
"""Slow processor time an expression may take at once, and how much of it comes back per second."""


class _Matcher(Protocol):
    def fullmatch(self, text: str, /) -> bool: ...


class JavaRegexes:
    """A `RegexEngine` for `cdc.core.evaluation`. Safe to use from several threads."""

    def __init__(self) -> None:
        self._matcher = lru_cache(MAX_PATTERNS)(_matcher)

    def compile(self, pattern: str, /) -> "_Pattern":
        """Read an expression; raises `InvalidPattern` where Java does.

        The result is light: what the engines made of it is kept for the `MAX_PATTERNS` used last, and made again
        where it was dropped.
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
    """The slow time that one expression may still take.

    Counted is the thread's processor time: on a busy machine wall time would put quick expressions to rest.
    """

    __slots__ = ("_left_s", "_since")

    def __init__(self) -> None:
        self._left_s = ALLOWANCE_S
        self._since = 0.0

    def run(self, match: Callable[[], bool]) -> bool:
        """Match, and count the time; raises `UndecidedMatch` without trying while the expression rests."""
        if self._left_s <= 0 and not self._has_recovered():
            raise UndecidedMatch("the expression has used up its time; it is tried again in a while")
        started = thread_time()
        try:
            return match()
        finally:
            took_s = thread_time() - started
            if took_s > QUICK_S:
                self._charge(took_s)

    def _has_recovered(self) -> bool:
        """After a full rest only, so that an expression is not tried just to be cut off again."""
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
                "a regular expression in a constraint is too slow and rests; its constraints do not hold meanwhile",
                extra={"action": "regex_rests", "rest_s": round((ALLOWANCE_S - self._left_s) / ALLOWANCE_PER_S)},
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
        # Our text is well-formed: what RE2 refuses is its size.
        pass
    try:
        return _Backtracking(backtracking_text(tree))
    except (Unsupported, regex.error):
        # regex.error: the package loses a group that stands in a repeated look-around.
        return _Undecided("the expression is too large, or needs what no engine here has")


class _Linear:
    __slots__ = ("_allowance", "_plans", "_size")

    def __init__(self, plans: tuple[Plan, ...]) -> None:
        options = re2.Options()
        options.max_mem = MAX_LINEAR_MEMORY
        options.never_capture = True
        options.log_errors = False
        # Given bytes, the package does not translate offsets that nobody asks for: 1.2 instead of 3.5 us per match.
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
        """The package's limit is of wall time; a match that hardly had the processor is tried again, twice."""
        for _ in range(3):
            started = thread_time()
            try:
                return self._program.fullmatch(text, timeout=BACKTRACKING_TIMEOUT_S) is not None
            except TimeoutError:
                if thread_time() - started > BACKTRACKING_TIMEOUT_S / 2:
                    break
            except MemoryError:
                break
        raise UndecidedMatch("the expression takes too long")


class _Undecided:
    __slots__ = ("_reason",)

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def fullmatch(self, _text: str, /) -> bool:
        raise UndecidedMatch(self._reason)
