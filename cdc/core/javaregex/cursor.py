"""A cursor over the characters of a regular expression, with the active flags."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["DIGITS", "LETTERS", "MAX_DEPTH", "Cursor", "TooComplex"]

MAX_DEPTH = 100
"""Maximum nesting of groups and classes; Java's stack overflows at a few thousand."""

LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
DIGITS = frozenset("0123456789")
_BLANKS = frozenset("\t\n\v\f\r ")


class TooComplex(Exception):
    """The expression is nested deeper than `MAX_DEPTH`."""


class Cursor:
    """A cursor over the characters of a pattern; `""` is the end.

    Characters between `\\Q` and `\\E` are marked as quoted and are always literals.
    """

    def __init__(self, pattern: str) -> None:
        self.chars: list[str] = []
        self.quoted: list[bool] = []
        self._unquote(pattern)
        self.chars += ["", "", ""]
        self.quoted += [False, False, False]
        self.at = 0
        self.flags: frozenset[str] = frozenset()
        self.depth = 0

    def _unquote(self, pattern: str) -> None:
        at, quoted = 0, False
        while at < len(pattern):
            pair = pattern[at : at + 2]
            if quoted and pair == "\\E":
                quoted = False
                at += 2
            elif not quoted and pair == "\\Q":
                quoted = True
                at += 2
            elif not quoted and pair[0] == "\\":
                self.chars += pair
                self.quoted += [False] * len(pair)
                at += 2
            else:
                self.chars.append(pair[0])
                self.quoted.append(quoted)
                at += 1

    def _peek(self) -> str:
        """The character at the cursor, which first skips blanks and comments under (?x)."""
        if "x" in self.flags:
            self._skip_comments()
        return self.chars[self.at]

    def _skip_comments(self) -> None:
        while not self.quoted[self.at]:
            if self.chars[self.at] in _BLANKS and self.chars[self.at]:
                self.at += 1
            elif self.chars[self.at] == "#":
                ends = "\n" if "d" in self.flags else "\n\r\x85\u2028\u2029"
                while self.chars[self.at] and self.chars[self.at] not in ends:
                    self.at += 1
            else:
                return

    def _special(self) -> str:
        """The character at the cursor if it may be special, "" at the end and for a quoted one."""
        char = self._peek()
        return "" if self.quoted[self.at] else char

    def _take(self) -> str:
        char = self._peek()
        self.at += 1
        return char

    def _is_over(self) -> bool:
        self._peek()
        return not self.chars[self.at]

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooComplex
        yield
        self.depth -= 1
