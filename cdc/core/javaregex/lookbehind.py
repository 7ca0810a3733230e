"""The maximum length of a look-behind, which decides whether Java accepts it.

Java requires an "obvious maximum length", as computed by its 32-bit arithmetic: it accepts `(?<=a*)` and
`(?<=(?:abc)*)`, refuses `(?<=(?:ab)*)`, and accepts `(?<=a*b*)`, which never matches as its length has become negative.
The sums here equal Java's, including what it adds only after a choice.
"""

from collections.abc import Sequence as Items
from dataclasses import dataclass

from .syntax import (
    Anchored,
    Backreference,
    Chars,
    Choice,
    Grapheme,
    Group,
    Kind,
    LineBreak,
    Look,
    Node,
    Repeat,
    Sequence,
)

__all__ = ["maximum_length"]

_ENDLESS = 2**31 - 1


def maximum_length(node: Node) -> int | None:
    """The maximum length in Java, possibly negative; None if Java refuses the look-behind."""
    sums = _Sums()
    _add([node], sums)
    return sums.most if sums.is_bounded else None


@dataclass(slots=True)
class _Sums:
    most: int = 0
    is_bounded: bool = True
    is_deterministic: bool = True


def _int32(number: int) -> int:
    return (number + 2**31) % 2**32 - 2**31


def _add(items: Items[Node], sums: _Sums) -> None:
    for index, item in enumerate(items):
        match item:
            case Anchored() | Look() | Grapheme():
                pass  # Java counts a grapheme cluster as 0
            case Chars():
                sums.most = _int32(sums.most + 1)
            case LineBreak():
                sums.most = _int32(sums.most + 2)
            case Backreference():
                sums.is_bounded = False
            case Sequence(inner):
                return _add([*inner, *items[index + 1 :]], sums)
            case Group(inner):
                return _add([inner, *items[index + 1 :]], sums)
            case Choice(branches):
                return _add_choice(branches, items[index + 1 :], sums)
            case Repeat(inner, 0, 1, kind) if isinstance(inner, Group) and not inner.atomic and _gives_back(kind):
                return _add_choice((inner, Sequence(())), items[index + 1 :], sums)
            case Repeat():
                _add_repeat(item, sums)


def _gives_back(kind: Kind) -> bool:
    return kind is not Kind.POSSESSIVE


def _add_choice(branches: Items[Node], rest: Items[Node], sums: _Sums) -> None:
    """Add the longest branch, then what follows the choice, summed separately."""
    longest = -1
    for branch in branches:
        inner = _Sums()
        _add([branch], inner)
        longest = max(longest, inner.most)
        sums.is_bounded &= inner.is_bounded
    after = _Sums()
    _add(rest, after)
    sums.most = _int32(sums.most + longest + after.most)
    sums.is_bounded &= after.is_bounded
    sums.is_deterministic = False


def _add_repeat(node: Repeat, sums: _Sums) -> None:
    item = node.item
    if isinstance(item, Chars) and node.most is None and node.kind is Kind.GREEDY:
        # The only repetition that Java does not check for overflow.
        sums.most = _int32(sums.most + _ENDLESS)
        sums.is_deterministic = False
        return
    inner = _Sums()
    _add([item], inner)
    if node.least == 0 and node.most == 1:
        sums.most = _int32(sums.most + inner.most)
        sums.is_bounded &= inner.is_bounded
        sums.is_deterministic = False
        return
    if isinstance(item, Group) and not item.atomic and _gives_back(node.kind) and not inner.is_deterministic:
        sums.is_bounded = sums.is_deterministic = False
        return
    before = sums.most
    sums.most = _int32(inner.most * (_ENDLESS if node.most is None else node.most) + before)
    sums.is_bounded &= inner.is_bounded and sums.most >= before
    sums.is_deterministic &= inner.is_deterministic and node.least == node.most
