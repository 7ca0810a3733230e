"""Translation for an engine with backtracking (the `regex` package in its version-1 syntax).

All classes are written out, so nothing depends on the engine's definition of a class, a line or a word.
"""

from .charset import AllOf, AnyOf, CharSet, Not, Property, Ranges
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

__all__ = ["MAX_SIZE", "Unsupported", "backtracking_text"]

MAX_SIZE = 20_000
"""Limit of characters and groups once the engine has expanded counted repetitions; `(a{1000}){1000}` exceeds it."""


class Unsupported(Exception):
    """Valid in Java, but too large for the engine, or not supported: the boundary of grapheme clusters."""


_LINE = r"[\n\r\x85\u2028\u2029]"
_WORD = "[0-9A-Za-z_]"
# Between CR and LF no line ends or begins.
_NOT_WITHIN_CRLF = r"(?!(?<=\r)\n)"

_ANCHORS = {
    Anchored(Anchor.BEGIN): r"\A",
    Anchored(Anchor.END): r"\Z",
    Anchored(Anchor.WORD): f"(?:(?<={_WORD})(?!{_WORD})|(?<!{_WORD})(?={_WORD}))",
    Anchored(Anchor.NOT_WORD): f"(?:(?<={_WORD})(?={_WORD})|(?<!{_WORD})(?!{_WORD}))",
    Anchored(Anchor.FINAL_LINE_END): rf"(?:{_NOT_WITHIN_CRLF}(?=(?:\r\n|{_LINE})?\Z))",
    Anchored(Anchor.FINAL_LINE_END, unix=True): r"(?=\n?\Z)",
    # In Java, as in Perl, no line begins at the very end.
    Anchored(Anchor.LINE_BEGIN): rf"(?:(?!\Z)(?:\A|(?<={_LINE}){_NOT_WITHIN_CRLF}))",
    Anchored(Anchor.LINE_BEGIN, unix=True): r"(?:(?!\Z)(?:\A|(?<=\n)))",
    Anchored(Anchor.LINE_END): rf"(?:{_NOT_WITHIN_CRLF}(?={_LINE}|\Z))",
    Anchored(Anchor.LINE_END, unix=True): r"(?=\n|\Z)",
}


def backtracking_text(node: Node) -> str:
    """The expression in the `regex` package's syntax, version 1; raises `Unsupported`."""
    if _size(node) > MAX_SIZE:
        raise Unsupported
    return _text(node)


def _size(node: Node) -> int:
    match node:
        case Chars() | Anchored() | Grapheme() | LineBreak() | Backreference():
            return 1
        case Sequence(items) | Choice(items):
            return 1 + sum(map(_size, items))
        case Group(item) | Look(item):
            return 1 + _size(item)
        case Repeat(item, least, most, _):
            return 1 + _size(item) * max(least, most or 0, 1)


def _text(node: Node) -> str:
    match node:
        case Chars(known):
            return _chars(known)
        case Anchored():
            if node not in _ANCHORS:
                raise Unsupported
            return _ANCHORS[node]
        case LineBreak():
            return r"(?:\r\n|[\n-\r\x85\u2028\u2029])"
        case Grapheme():
            return r"\X"
        case Backreference(group, folds):
            if group is None:
                return "(?!)"
            return rf"(?i:\g<{group}>)" if folds else rf"\g<{group}>"
        case Sequence(items):
            return "".join(map(_text, items))
        case Choice(branches):
            return "(?:" + "|".join(map(_text, branches)) + ")"
        case Group(item, captures, atomic):
            opening = "(?>" if atomic else "(" if captures else "(?:"
            return f"{opening}{_text(item)})"
        case Look(item, ahead, negative):
            return f"(?{'' if ahead else '<'}{'!' if negative else '='}{_text(item)})"
        case Repeat(item, least, most, kind):
            bounds = f"{{{least},{'' if most is None else most}}}"
            suffix = {Kind.GREEDY: "", Kind.LAZY: "?", Kind.POSSESSIVE: "+"}[kind]
            # In Java an iteration of a possessive repetition does not backtrack either.
            opening = "(?>" if kind is Kind.POSSESSIVE else "(?:"
            return f"{opening}{_text(item)}){bounds}{suffix}"


def _chars(known: CharSet) -> str:
    match known:
        case Ranges(()):
            return "(?!)"
        case Ranges(((first, last),)) if first == last:
            return _code(first)
        case _:
            return _set(known)


def _set(known: CharSet) -> str:
    match known:
        case Ranges(()):
            return r"[^\x00-\U0010FFFF]"
        case Ranges(pairs):
            return "[" + "".join(f"{_code(first)}-{_code(last)}" for first, last in pairs) + "]"
        case Property(name):
            return rf"[\p{{{name}}}]"
        case Not(part):
            return f"[^{_set(part)}]"
        case AnyOf(parts):
            return "[" + "||".join(map(_set, parts)) + "]"
        case AllOf(parts):
            return "[" + "&&".join(map(_set, parts)) + "]"


def _code(code: int) -> str:
    if chr(code).isascii() and chr(code).isalnum():
        return chr(code)
    if code < 0x100:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
