"""Sets of characters: ranges of code points, and Unicode properties whose ranges only the engines know.

A set is `Ranges`, `Property`, or built from these with `AnyOf`, `AllOf` and `Not`. Operations on ranges are computed,
so only a set with properties stays a tree.
"""

from bisect import bisect_left
from dataclasses import dataclass
from functools import cache

__all__ = [
    "ANY",
    "NONE",
    "AllOf",
    "AnyOf",
    "CharSet",
    "Not",
    "Property",
    "Ranges",
    "any_of",
    "are_disjoint",
    "both_of",
    "fold_ascii",
    "fold_unicode",
    "none_of",
    "ranges",
]

_LAST = 0x10FFFF


@dataclass(frozen=True, slots=True)
class Ranges:
    """Pairs of first and last code point; sorted, not adjacent."""

    pairs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Property:
    """A Unicode property by its name in the backtracking engine, and its name in RE2 if it has one."""

    name: str
    linear_name: str | None = None


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The union of sets."""

    parts: "tuple[CharSet, ...]"


@dataclass(frozen=True, slots=True)
class AllOf:
    """The intersection of sets."""

    parts: "tuple[CharSet, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    """The complement of a set."""

    part: "CharSet"


CharSet = Ranges | Property | AnyOf | AllOf | Not


def ranges(*pairs: tuple[int, int]) -> Ranges:
    """Sort and merge ranges."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(pairs):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return Ranges(tuple(merged))


ANY = Ranges(((0, _LAST),))
NONE = Ranges(())


def any_of(*parts: CharSet) -> CharSet:
    """The union."""
    pairs: list[tuple[int, int]] = []
    others: list[CharSet] = []
    for part in parts:
        if isinstance(part, Ranges):
            pairs.extend(part.pairs)
        elif isinstance(part, AnyOf):
            for inner in part.parts:
                if isinstance(inner, Ranges):
                    pairs.extend(inner.pairs)
                else:
                    others.append(inner)
        else:
            others.append(part)
    known = ranges(*pairs)
    if not others:
        return known
    if known.pairs:
        others.insert(0, known)
    return others[0] if len(others) == 1 else AnyOf(tuple(others))


def none_of(part: CharSet) -> CharSet:
    """The complement."""
    if isinstance(part, Not):
        return part.part
    if not isinstance(part, Ranges):
        return Not(part)
    gaps: list[tuple[int, int]] = []
    start = 0
    for first, last in part.pairs:
        if first > start:
            gaps.append((start, first - 1))
        start = last + 1
    if start <= _LAST:
        gaps.append((start, _LAST))
    return Ranges(tuple(gaps))


def both_of(left: CharSet, right: CharSet) -> CharSet:
    """The intersection."""
    if isinstance(left, Ranges) and isinstance(right, Ranges):
        return none_of(any_of(none_of(left), none_of(right)))
    return AllOf((left, right))


def are_disjoint(left: CharSet, right: CharSet) -> bool:
    """Whether no character is in both; False if that is unknown."""
    return both_of(left, right) == NONE


def fold_ascii(known: Ranges) -> Ranges:
    """Add the other case of every ASCII letter, as `(?i)` alone does in Java."""
    pairs = list(known.pairs)
    for letters, other in ((0x41, 0x61), (0x61, 0x41)):
        for first, last in known.pairs:
            low, high = max(first, letters), min(last, letters + 25)
            if low <= high:
                pairs.append((low - letters + other, high - letters + other))
    return ranges(*pairs)


def fold_unicode(known: Ranges) -> Ranges:
    """Add every character that equals one of the set under `(?iu)`: by simple upper case, then lower case of that."""
    if len(known.pairs) == 1 and known.pairs[0][0] == known.pairs[0][1]:
        return _fold_single(known)
    pairs = list(known.pairs)
    for by_case in _cased():
        for first, last in known.pairs:
            start, stop = bisect_left(by_case, (first, 0)), bisect_left(by_case, (last + 1, 0))
            pairs.extend((code, code) for _, code in by_case[start:stop])
    return ranges(*pairs)


def _fold_single(known: Ranges) -> Ranges:
    lower = _lower(_upper(known.pairs[0][0]))
    if _upper(lower) == lower:
        return known  # Java does not fold characters without upper case, such as ß
    by_lower = _cased()[1]
    start, stop = bisect_left(by_lower, (lower, 0)), bisect_left(by_lower, (lower + 1, 0))
    return ranges(*known.pairs, (lower, lower), *((code, code) for _, code in by_lower[start:stop]))


# The areas of letters with case; a scan of all of Unicode would take a hundred times as long.
_CASED_AREAS = ((0x41, 0x24EA), (0x2C00, 0x2D2E), (0xA640, 0xABBF), (0xFB00, 0xFF5B), (0x10400, 0x10D00))
_CASED_AREAS_BEYOND = ((0x118A0, 0x118E0), (0x16E40, 0x16E80), (0x1E900, 0x1E944))


@cache
def _cased() -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(simple upper case, code point) and (lower case of that, code point), sorted, where case changes anything."""
    uppers: list[tuple[int, int]] = []
    lowers: list[tuple[int, int]] = []
    for first, last in _CASED_AREAS + _CASED_AREAS_BEYOND:
        for code in range(first, last):
            upper = _upper(code)
            lower = _lower(upper)
            if upper != code or lower != code:
                uppers.append((upper, code))
                lowers.append((lower, code))
    return sorted(uppers), sorted(lowers)


def _upper(code: int) -> int:
    """Simple upper case: if the full mapping is longer than one character, title case may still be one."""
    for mapped in (chr(code).upper(), chr(code).title()):
        if len(mapped) == 1:
            return ord(mapped)
    return code


def _lower(code: int) -> int:
    # Only U+0130 has a longer lower case, which begins with the simple one.
    return ord(chr(code).lower()[0])
