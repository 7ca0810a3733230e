r"""Parser of Java regular expressions, equivalent to `java.util.regex.Pattern` (Java 21) without flags.

`parse` accepts exactly what Java accepts, including its quirks: a dangling `]` or `}` is a literal, a leading `{2}`
repeats nothing, `[^…]` negates the whole class with its unions and intersections, a backreference to a missing group is
valid and never matches. Exception: character names in `\N{…}` beyond Unicode 14 are unknown.
"""

from ..errors import InvalidPattern
from .charclass import Classes
from .charset import ANY, NONE, none_of, ranges
from .cursor import DIGITS, LETTERS, TooComplex
from .escape import CLASS_ESCAPES
from .lookbehind import maximum_length
from .property import LINE_ENDS, class_set
from .syntax import (
    EMPTY,
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

__all__ = ["parse"]

_MAX_REPEAT = 2**31 - 1
_ANCHOR_ESCAPES = {
    "A": Anchored(Anchor.BEGIN),
    "B": Anchored(Anchor.NOT_WORD),
    # The end of the previous match, which is the beginning of the text.
    "G": Anchored(Anchor.BEGIN),
    "z": Anchored(Anchor.END),
}


def parse(pattern: str) -> Node:
    """The tree of an expression; raises `InvalidPattern` if Java refuses it, `TooComplex` beyond our limits."""
    try:
        return _Parser(pattern).parse()
    except RecursionError as error:
        raise TooComplex from error


class _Parser(Classes):
    def __init__(self, pattern: str) -> None:
        super().__init__(pattern)
        self.groups = 0
        self.names: dict[str, int] = {}

    def parse(self) -> Node:
        node = self._expression()
        if not self._is_over():
            raise InvalidPattern("unmatched closing ')'")
        return node

    def _expression(self) -> Node:
        branches = [self._sequence()]
        while self._special() == "|":
            self.at += 1
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def _sequence(self) -> Node:
        items: list[Node] = []
        while True:
            char = self._special()
            if char in ("|", ")") or self._is_over():
                break
            if char in ("?", "*", "+") and char:
                raise InvalidPattern(f"dangling meta character {char!r}")
            if char == "(":
                group = self._group()
                if group is not None:
                    items.append(self._repeated(group))
            else:
                items.append(self._repeated(self._atom(char)))
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def _atom(self, char: str) -> Node:
        match char:
            case "[":
                return Chars(self._class())
            case "\\":
                return self._escape()
            case "^":
                self.at += 1
                return Anchored(Anchor.LINE_BEGIN, "d" in self.flags) if "m" in self.flags else Anchored(Anchor.BEGIN)
            case "$":
                self.at += 1
                anchor = Anchor.LINE_END if "m" in self.flags else Anchor.FINAL_LINE_END
                return Anchored(anchor, "d" in self.flags)
            case ".":
                self.at += 1
                if "s" in self.flags:
                    return Chars(ANY)
                return Chars(none_of(ranges((10, 10)) if "d" in self.flags else LINE_ENDS))
            case "{":
                return EMPTY  # a repetition of nothing
            case _:
                return Chars(self._single(ord(self._take())))

    def _repeated(self, item: Node) -> Node:
        most: int | None
        match self._special():
            case "?":
                least, most = 0, 1
            case "*":
                least, most = 0, None
            case "+":
                least, most = 1, None
            case "{":
                least, most = self._bounds()
            case _:
                return item
        self.at += 1
        match self._special():
            case "?":
                kind = Kind.LAZY
            case "+":
                kind = Kind.POSSESSIVE
            case _:
                return Repeat(item, least, most, Kind.GREEDY)
        self.at += 1
        return Repeat(item, least, most, kind)

    def _bounds(self) -> tuple[int, int | None]:
        """Parse `{n}`, `{n,}` or `{n,m}` up to its closing brace."""
        self.at += 1
        if self.chars[self.at] not in DIGITS or not self.chars[self.at]:
            raise InvalidPattern("illegal repetition")
        least = self._count()
        most: int | None = least
        if self._special() == ",":
            self.at += 1
            if self._special() == "}":
                return least, None
            if self._peek() not in DIGITS:
                raise InvalidPattern("illegal repetition")
            most = self._count()
            if most < least:
                raise InvalidPattern("illegal repetition range")
        if self._special() != "}":
            raise InvalidPattern("unclosed counted closure")
        return least, most

    def _count(self) -> int:
        digits = ""
        while self._peek() in DIGITS and self._peek():
            digits += self._take()
        if len(digits.lstrip("0")) > 10 or int(digits) > _MAX_REPEAT:
            raise InvalidPattern("illegal repetition range")
        return int(digits)

    def _group(self) -> Node | None:
        """Read a group from its parenthesis on; None for a group that only sets flags."""
        before = self.flags
        self.at += 1
        with self._deeper():
            if self._special() != "?":
                self.groups += 1
                group: Node = Group(self._expression(), captures=True)
            else:
                self.at += 1
                opened = self._opened()
                if opened is None:
                    return None
                group = opened
        if self._special() != ")":
            raise InvalidPattern("unclosed group")
        # The flags in force at the parenthesis hold again, before a blank after it is looked at.
        self.flags = before
        self.at += 1
        return group

    def _opened(self) -> Node | None:
        char = self.chars[self.at]
        self.at += 1
        match char:
            case ":":
                return Group(self._expression())
            case "=" | "!":
                return Look(self._expression(), ahead=True, negative=char == "!")
            case ">":
                return Group(self._expression(), atomic=True)
            case "<":
                char = self._take()
                if char in ("=", "!") and char:
                    item = self._expression()
                    length = maximum_length(item)
                    if length is None:
                        raise InvalidPattern("look-behind group does not have an obvious maximum length")
                    # With a negative length Java finds nothing.
                    return Look(item if length >= 0 else Chars(NONE), ahead=False, negative=char == "!")
                self.at -= 1
                name = self._name()
                if name in self.names:
                    raise InvalidPattern(f"named capturing group {name!r} is already defined")
                self.groups += 1
                self.names[name] = self.groups
                return Group(self._expression(), captures=True)
            case _:
                self.at -= 1
                return self._flag_group()

    def _flag_group(self) -> Node | None:
        """Parse `(?i)`, which sets flags up to the end of the enclosing group, or `(?i:…)`."""
        on = True
        while True:
            char = self._peek()
            if char == "-" and on:
                on = False
            elif char and char in "imsduxcU":
                changed = {"U", "u"} if char == "U" else {char}
                self.flags = self.flags | changed if on else self.flags - changed
            else:
                break
            self.at += 1
        match self._take():
            case ")":
                return None
            case ":":
                return Group(self._expression())
            case _:
                raise InvalidPattern("unknown inline modifier")

    def _name(self) -> str:
        name = ""
        while self.chars[self.at] in LETTERS or (name and self.chars[self.at] in DIGITS):
            name += self._take()
        if not name or self._take() != ">":
            raise InvalidPattern("a group's name is letters and digits, a letter first, and ends at '>'")
        return name

    def _escape(self) -> Node:
        """Parse an escape outside of a class."""
        char = self.chars[self.at + 1]
        if char in ("p", "P"):
            return Chars(self._property())
        if char in CLASS_ESCAPES and char:
            self.at += 2
            return Chars(class_set(char, unicode="U" in self.flags))
        if char in _ANCHOR_ESCAPES:
            self.at += 2
            return _ANCHOR_ESCAPES[char]
        match char:
            case "Z":
                self.at += 2
                return Anchored(Anchor.FINAL_LINE_END, "d" in self.flags)
            case "b":
                self.at += 2
                if "".join(self.chars[self.at : self.at + 3]) == "{g}":
                    self.at += 3
                    return Anchored(Anchor.GRAPHEME)
                return Anchored(Anchor.WORD)
            case "R":
                self.at += 2
                return LineBreak()
            case "X":
                self.at += 2
                return Grapheme()
            case "k":
                self.at += 2
                if self._take() != "<":
                    raise InvalidPattern("\\k is not followed by '<' and a group's name")
                name = self._name()
                if name not in self.names:
                    raise InvalidPattern(f"named capturing group {name!r} does not exist")
                return Backreference(self.names[name], "i" in self.flags)
            case "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9":
                return self._reference()
        return Chars(self._single(self._code()))

    def _reference(self) -> Node:
        """Parse a numbered backreference; further digits belong to it while so many groups exist."""
        self.at += 1
        number = int(self._take())
        while self._peek() in DIGITS and self._peek() and number * 10 + int(self._peek()) <= self.groups:
            number = number * 10 + int(self._take())
        return Backreference(number if number <= self.groups else None, "i" in self.flags)
