"""Patterns of `like`. The time to match one is bounded: it is the turn of everybody who waits for the row.

What stands between two `%` is a piece, which is searched for once, at its leftmost place. A literal is found in a time
that grows with the text alone. A piece with `_` may have to be compared at each place of the text: `wild`, the length
of all such pieces between two `%`, is what costs time. Limit both lengths in patterns of clients.

>>> pattern = LikePattern.parse("a%b_d%", "\\\\")
>>> pattern.matches("a bcd"), pattern.matches("abd"), pattern.wild
(True, False, 3)
"""

import re
from collections.abc import Callable
from itertools import groupby
from typing import NamedTuple, Self

__all__ = ["LikePattern"]


class _Piece(NamedTuple):
    """`literals` are texts by their place in the piece; the rest is open."""

    length: int
    literals: tuple[tuple[int, str], ...]

    @property
    def is_literal(self) -> bool:
        return sum(len(literal) for _, literal in self.literals) == self.length

    def stands_at(self, text: str, at: int) -> bool:
        """Of a text that is long enough."""
        return all(text.startswith(literal, at + place) for place, literal in self.literals)

    def regex(self) -> re.Pattern[str]:
        written, at = [], 0
        for place, literal in self.literals:
            written += ["." * (place - at), re.escape(literal)]
            at = place + len(literal)
        return re.compile("".join([*written, "." * (self.length - at)]), re.DOTALL)


class LikePattern:
    """Call `parse`; `matches` says whether a text is like it. `wild` is the length of the pieces with `_` between two
    `%`, whose search is made at the first match."""

    __slots__ = ("_pieces", "_searches", "wild")

    def __init__(self, pieces: list[_Piece]) -> None:
        self._pieces = pieces
        self._searches: list[Callable[[str, int, int], int]] | None = None
        self.wild = sum(piece.length for piece in pieces[1:-1] if not piece.is_literal)

    @classmethod
    def parse(cls, pattern: str, escape: str) -> Self:
        """Raises `ValueError` for a pattern that ends with its escape character."""
        pieces: list[list[str | None]] = [[]]
        characters = iter(pattern)
        for character in characters:
            if escape and character == escape:
                following = next(characters, None)
                if following is None:
                    raise ValueError("a pattern must not end with its escape character")
                pieces[-1].append(following)
            elif character == "%":
                pieces.append([])
            else:
                pieces[-1].append(None if character == "_" else character)
        return cls([_piece(piece) for piece in pieces])

    def matches(self, text: str) -> bool:
        first, last = self._pieces[0], self._pieces[-1]
        if len(self._pieces) == 1:
            return len(text) == first.length and first.stands_at(text, 0)
        at, end = first.length, len(text) - last.length
        if end < at or not first.stands_at(text, 0) or not last.stands_at(text, end):
            return False
        if self._searches is None:
            self._searches = [_search(piece) for piece in self._pieces[1:-1] if piece.length]
        for search in self._searches:
            at = search(text, at, end)
            if at < 0:
                return False
        return True


def _piece(characters: list[str | None]) -> _Piece:
    """None are open."""
    literals, place = [], 0
    for is_open, run in groupby(characters, lambda character: character is None):
        found = list(run)
        if not is_open:
            literals.append((place, "".join(filter(None, found))))
        place += len(found)
    return _Piece(place, tuple(literals))


def _search(piece: _Piece) -> Callable[[str, int, int], int]:
    """Where the leftmost place of a piece within a part of a text ends, -1 where there is none."""
    if piece.is_literal:
        ((_, literal),) = piece.literals

        def find(text: str, at: int, end: int) -> int:
            found = text.find(literal, at, end)
            return -1 if found < 0 else found + len(literal)

        return find
    regex = piece.regex()

    def search(text: str, at: int, end: int) -> int:
        found = regex.search(text, at, end)
        return -1 if found is None else found.end()

    return search
