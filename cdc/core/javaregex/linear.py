"""Translation for an engine without backtracking (RE2), whose time is linear in the text for every pattern.

Only full matches are needed, so greedy and lazy are equivalent. Look-aheads at the beginning, the usual way to express
"and" and "but not", become separate expressions.
"""

from dataclasses import dataclass

from .charset import AnyOf, CharSet, Not, Property, Ranges, are_disjoint
from .syntax import (
    Anchor,
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

__all__ = ["NotLinear", "Plan", "linear_plans"]


class NotLinear(Exception):
    """The expression needs backtracking."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A text matches if `whole` matches all of it, each of `required` a prefix, and none of `excluded` a prefix."""

    whole: str
    required: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


# RE2's limit of a repetition; Java's is 2**31.
_MAX_REPEAT = 1000

_LINE_BREAK = r"(?:\r\n|[\n-\r\x{85}\x{2028}\x{2029}])"
_FINAL_LINE_END = r"(?:\r\n|[\n\r\x{85}\x{2028}\x{2029}])?\z"
_FINAL_LINE_FEED = r"\n?\z"


def linear_plans(node: Node) -> tuple[Plan, ...]:
    """The plans of an expression, one of which must match; raises `NotLinear`."""
    branches = node.branches if isinstance(node, Choice) else (node,)
    return tuple(_plan(branch) for branch in branches)


def _plan(node: Node) -> Plan:
    items = list(node.items) if isinstance(node, Sequence) else [node]
    required: list[str] = []
    excluded: list[str] = []
    while items and (isinstance(items[0], Look) or items[0] == Anchored(Anchor.BEGIN)):
        first = items.pop(0)
        if isinstance(first, Look):
            if not first.ahead:
                raise NotLinear
            (excluded if first.negative else required).append(_Writer(is_prefix=True).text(first.item))
    return Plan(_Writer(is_prefix=False).text(Sequence(tuple(items))), tuple(required), tuple(excluded))


class _Writer:
    """Writes RE2's syntax. `is_prefix`: the text may continue after the match; else the match must end with it."""

    def __init__(self, *, is_prefix: bool) -> None:
        self.is_prefix = is_prefix

    def text(self, node: Node) -> str:
        return self._text(node, is_last=True)

    def _text(self, node: Node, *, is_last: bool) -> str:
        """Translate a node; `is_last`: nothing after it consumes characters."""
        match node:
            case Chars(known):
                return chars_text(known)
            case LineBreak():
                return _LINE_BREAK
            case Anchored():
                return self._anchor(node, is_last)
            case Sequence(items):
                return self._sequence(items, is_last)
            case Choice(branches):
                return "(?:" + "|".join(self._text(branch, is_last=is_last) for branch in branches) + ")"
            case Group(item, _, atomic):
                if atomic:
                    raise NotLinear
                return f"(?:{self._text(item, is_last=is_last)})"
            case Repeat():
                return self._repeat(node, follower=None, is_last=is_last)
            case Look() | Grapheme() | Backreference():
                raise NotLinear

    def _sequence(self, items: tuple[Node, ...], is_last: bool) -> str:
        texts: list[str] = []
        for index, item in enumerate(items):
            rest = items[index + 1 :]
            last = is_last and all(isinstance(other, Anchored) for other in rest)
            if isinstance(item, Repeat):
                texts.append(self._repeat(item, rest[0] if rest else None, last))
            else:
                texts.append(self._text(item, is_last=last))
        return "".join(texts)

    def _anchor(self, node: Anchored, is_last: bool) -> str:
        match node.anchor:
            case Anchor.BEGIN:
                return r"\A"
            case Anchor.END:
                return r"\z"
            case Anchor.WORD:
                return r"\b"
            case Anchor.NOT_WORD:
                return r"\B"
            case Anchor.FINAL_LINE_END if is_last:
                if not self.is_prefix:
                    # A full match leaves no line end before the end.
                    return r"\z"
                return _FINAL_LINE_FEED if node.unix else _FINAL_LINE_END
            case _:
                raise NotLinear

    def _repeat(self, node: Repeat, follower: Node | None, is_last: bool) -> str:
        if node.kind is Kind.POSSESSIVE and not self._may_give_back(node, follower, is_last):
            raise NotLinear
        if node.least > _MAX_REPEAT or (node.most or 0) > _MAX_REPEAT:
            raise NotLinear
        item = self._text(node.item, is_last=is_last and node.most == 1)
        return f"(?:{item}){_bounds(node)}"

    def _may_give_back(self, node: Repeat, follower: Node | None, is_last: bool) -> bool:
        """Whether a possessive repetition is equivalent to a greedy one, as backtracking could not help.

        That holds for single characters at the end of the text, and before a character that is not one of them.
        """
        if not isinstance(node.item, Chars):
            return False
        if is_last and (follower is None or _is_end(follower)) and not self.is_prefix:
            return True
        return isinstance(follower, Chars) and are_disjoint(node.item.set, follower.set)


def _is_end(node: Node) -> bool:
    return isinstance(node, Anchored) and node.anchor in (Anchor.END, Anchor.FINAL_LINE_END)


def _bounds(node: Repeat) -> str:
    match node.least, node.most:
        case 0, None:
            return "*"
        case 1, None:
            return "+"
        case 0, 1:
            return "?"
        case least, None:
            return f"{{{least},}}"
        case least, most:
            return f"{{{least},{most}}}"


def chars_text(known: CharSet) -> str:
    """One character of a set in RE2's syntax; raises `NotLinear` for properties that RE2 does not have."""
    match known:
        case Ranges(((first, last),)) if first == last and chr(first).isascii() and chr(first).isalnum():
            return chr(first)
        case Ranges(()):
            return r"[^\x{0}-\x{10FFFF}]"
        case Not(part):
            return f"[^{_members(part)}]"
        case _:
            return f"[{_members(known)}]"


def _members(known: CharSet) -> str:
    match known:
        case Ranges(pairs):
            return "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in pairs)
        case Property(_, linear_name) if linear_name is not None:
            return rf"\p{{{linear_name}}}"
        case Not(Property(_, linear_name)) if linear_name is not None:
            return rf"\P{{{linear_name}}}"
        case AnyOf(parts):
            return "".join(map(_members, parts))
        case _:
            raise NotLinear
