"""A regular expression as a tree, after all flags, escapes and quotes were resolved."""

from dataclasses import dataclass
from enum import Enum, auto

from .charset import CharSet

__all__ = [
    "EMPTY",
    "Anchor",
    "Anchored",
    "Backreference",
    "Chars",
    "Choice",
    "Grapheme",
    "Group",
    "Kind",
    "LineBreak",
    "Look",
    "Node",
    "Repeat",
    "Sequence",
]


class Anchor(Enum):
    """What is asserted between two characters; the last three follow Java's several line ends."""

    BEGIN = auto()
    END = auto()
    WORD = auto()
    NOT_WORD = auto()
    GRAPHEME = auto()
    FINAL_LINE_END = auto()  # $ and \Z: the end, or before a line end that is the last thing
    LINE_BEGIN = auto()
    LINE_END = auto()


@dataclass(frozen=True, slots=True)
class Anchored:
    """`unix`: only LF ends a line."""

    anchor: Anchor
    unix: bool = False


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of a set."""

    set: CharSet


@dataclass(frozen=True, slots=True)
class Grapheme:
    """A whole grapheme cluster."""


@dataclass(frozen=True, slots=True)
class LineBreak:
    """Any line end, CR LF as one or as two."""


@dataclass(frozen=True, slots=True)
class Backreference:
    """What a group matched; None for a group that does not exist, which never matches."""

    group: int | None
    folds: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Choice:
    branches: "tuple[Node, ...]"


class Kind(Enum):
    GREEDY = auto()
    LAZY = auto()
    POSSESSIVE = auto()


@dataclass(frozen=True, slots=True)
class Repeat:
    """`most` None means without end."""

    item: "Node"
    least: int
    most: int | None
    kind: Kind


@dataclass(frozen=True, slots=True)
class Group:
    """A group; `captures` or not, `atomic` (`(?>…)`) or not."""

    item: "Node"
    captures: bool = False
    atomic: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    item: "Node"
    ahead: bool
    negative: bool


Node = Anchored | Chars | Grapheme | LineBreak | Backreference | Sequence | Choice | Repeat | Group | Look

EMPTY = Sequence(())
