"""The patterns of SQL's LIKE, as PostgreSQL matches them: `%` is any text, `_` one character, `\\` escapes the next."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

__all__ = ["compile_like"]


class _Piece(NamedTuple):
    """What a pattern demands between two `%`: so many characters, with these texts at these places."""

    length: int
    texts: tuple[tuple[int, str], ...]

    def is_at(self, text: str, start: int) -> bool:
        return len(text) - start >= self.length and all(text.startswith(part, start + at) for at, part in self.texts)

    def find(self, text: str, start: int) -> int | None:
        """The first place at or after `start`, looked for by the longest text, which is rarest."""
        if not self.texts:
            return start if self.is_at(text, start) else None
        at, part = max(self.texts, key=lambda place: len(place[1]))
        found = text.find(part, start + at)
        while found >= 0:
            if self.is_at(text, found - at):
                return found - at
            found = text.find(part, found + 1)
        return None


def compile_like(pattern: str) -> Callable[[str], bool]:
    """A function that says whether the pattern matches a whole text. It never tries a place twice.

    >>> matches = compile_like("%a_c%")
    >>> matches("xxabcxx"), matches("ac"), compile_like("100\\\\%")("100%")
    (True, False, True)
    """
    first, *others = _pieces(pattern)
    if not others:
        return lambda text: len(text) == first.length and first.is_at(text, 0)
    *middle, last = others

    def matches(text: str) -> bool:
        if not first.is_at(text, 0):
            return False
        at = first.length
        # The first place of each piece leaves the most room for those after it.
        for piece in middle:
            found = piece.find(text, at)
            if found is None:
                return False
            at = found + piece.length
        end = len(text) - last.length
        return end >= at and last.is_at(text, end)

    return matches


def _pieces(pattern: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    characters: list[str | None] = []  # None is any character
    rest = iter(pattern)
    for character in rest:
        match character:
            case "%":
                pieces.append(_piece(characters))
                characters = []
            case "_":
                characters.append(None)
            case "\\":
                characters.append(next(rest, character))
            case _:
                characters.append(character)
    return [*pieces, _piece(characters)]


def _piece(characters: Sequence[str | None]) -> _Piece:
    texts = []
    for is_any, run in groupby(enumerate(characters), lambda place: place[1] is None):
        if not is_any:
            places = list(run)
            texts.append((places[0][0], "".join(character for _, character in places if character is not None)))
    return _Piece(len(characters), tuple(texts))
