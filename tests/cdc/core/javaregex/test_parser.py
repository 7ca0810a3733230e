"""Which texts are expressions: exactly those that Java accepts."""

import json
import re
from pathlib import Path

import pytest

from cdc.core.errors import InvalidPattern
from cdc.core.javaregex import TooComplex, parse
from cdc.core.javaregex.charset import ranges
from cdc.core.javaregex.syntax import (
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

A = ranges((97, 97))

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "java_regex.json").read_text("utf-8"))


def is_accepted(pattern: str) -> bool:
    try:
        parse(pattern)
    except InvalidPattern:
        return False
    return True


def test_accepts_exactly_what_java_accepts() -> None:
    wrong = [pattern for pattern, *answers in VECTORS if is_accepted(pattern) != (answers[0] is not None)]
    assert wrong == []


@pytest.mark.parametrize(
    ("pattern", "accepted"),
    [
        (r"[\d&&]", True),
        (r"[a\d&&]", True),
        (r"[\da&&]", False),
        (r"\ud83d\u0041", True),
        (r"\ud83d\u00", False),
        (r"\N", False),
        (r"\N{DIGIT ONE", False),
        ("()" * 11 + r"\11\12", True),
        (r"\p{IsZzzz}", True),
        (r"(?i)\p{javaLowerCase}\p{IsUppercase}", True),
        (r"(?<=(?:ab){2}|c?)d", True),
    ],
)
def test_accepts_what_java_accepts_in_rare_cases(pattern: str, accepted: bool) -> None:
    assert is_accepted(pattern) is accepted


@pytest.mark.parametrize(
    "pattern",
    ["(" * 200 + ")" * 200, "[" * 200 + "a" + "]" * 200, "(?<=" + "(a|b)" * 2000 + ")"],
    ids=["groups", "classes", "choices in a look-behind"],
)
def test_a_too_deeply_nested_expression_is_not_called_invalid(pattern: str) -> None:
    with pytest.raises(TooComplex):
        parse(pattern)


@pytest.mark.parametrize(
    ("pattern", "tree"),
    [
        ("", EMPTY),
        ("{2}", Repeat(EMPTY, 2, 2, Kind.GREEDY)),
        ("a{1,}?", Repeat(Chars(A), 1, None, Kind.LAZY)),
        ("a?+", Repeat(Chars(A), 0, 1, Kind.POSSESSIVE)),
        ("a|", Choice((Chars(A), EMPTY))),
        ("(?:a)", Group(Chars(A))),
        ("(?<n>a)", Group(Chars(A), captures=True)),
        ("(?>a)", Group(Chars(A), atomic=True)),
        ("(?!a)", Look(Chars(A), ahead=True, negative=True)),
        ("(?<=a)", Look(Chars(A), ahead=False, negative=False)),
        (r"\1", Backreference(None)),
        (r"(?m)^(?d)$", Sequence((Anchored(Anchor.LINE_BEGIN), Anchored(Anchor.LINE_END, unix=True)))),
        (r"\b{g}", Anchored(Anchor.GRAPHEME)),
        ("(?x) a # comment", Chars(A)),
        ("(?i:a)a", Sequence((Group(Chars(ranges((65, 65), (97, 97)))), Chars(A)))),
        (r"\R\X", Sequence((LineBreak(), Grapheme()))),
    ],
)
def test_an_expression_becomes_a_tree(pattern: str, tree: Node) -> None:
    assert parse(pattern) == tree


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (")", "unmatched closing"),
        ("*a", "dangling meta character '*'"),
        ("a{x}", "illegal repetition"),
        ("(?<1>a)", "letters and digits"),
        ("(?<n>a)(?<n>b)", "'n' is already defined"),
        (r"\k<n>", "'n' does not exist"),
        ("(?z)", "unknown inline modifier"),
        ("(?<=(?:ab)*)", "does not have an obvious maximum length"),
    ],
)
def test_an_invalid_expression_says_why(pattern: str, words: str) -> None:
    with pytest.raises(InvalidPattern, match=re.escape(words)):
        parse(pattern)
