"""The tree of a regular expression, with all flags, escapes and quotes resolved."""

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
    """Assertions between two characters; the last three follow Java's line terminators."""

    BEGIN = auto()
    END = auto()
    WORD = auto()
    NOT_WORD = auto()
    GRAPHEME = auto()
    FINAL_LINE_END = auto()  # $ and \Z: the end, or before a final line end
    LINE_BEGIN = auto()
    LINE_END = auto()


@dataclass(frozen=True, slots=True)
class Anchored:
    """An assertion; `unix`: only LF ends a line."""

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
    """`\\R`: a line end, CR LF as one or as two."""


@dataclass(frozen=True, slots=True)
class Backreference:
    """The text that a group matched; None for a missing group, which never matches."""

    group: int | None
    folds: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    """Nodes in order."""

    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Choice:
    """Alternatives, tried in order."""

    branches: "tuple[Node, ...]"


class Kind(Enum):
    """How a repetition matches."""

    GREEDY = auto()
    LAZY = auto()
    POSSESSIVE = auto()


@dataclass(frozen=True, slots=True)
class Repeat:
    """A repetition; `most` None means unlimited."""

    item: "Node"
    least: int
    most: int | None
    kind: Kind


@dataclass(frozen=True, slots=True)
class Group:
    """A group; it may capture, or be atomic (`(?>…)`)."""

    item: "Node"
    captures: bool = False
    atomic: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """A look-ahead or look-behind."""

    item: "Node"
    ahead: bool
    negative: bool


Node = Anchored | Chars | Grapheme | LineBreak | Backreference | Sequence | Choice | Repeat | Group | Look

EMPTY = Sequence(())
