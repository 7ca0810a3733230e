"""Character classes, with Java's rules for unions and intersections."""

import pytest

from cdc.core.errors import InvalidPattern
from cdc.core.javaregex import parse
from cdc.core.javaregex.charset import AllOf, CharSet, Not, Property, Ranges, none_of, ranges
from cdc.core.javaregex.syntax import Chars


def set_of(pattern: str) -> CharSet:
    node = parse(pattern)
    assert isinstance(node, Chars)
    return node.set


def chars(text: str) -> Ranges:
    return ranges(*((ord(char), ord(char)) for char in text))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("[abc]", "abc"),
        ("[a-c]", "abc"),
        ("[]a]", "]a"),
        ("[a-]", "a-"),
        ("[-a]", "-a"),
        ("[a[bc]]", "abc"),
        ("[a-c[x]]", "abcx"),
        ("[a-e&&c-g]", "cde"),
        ("[a-e&&[c-g]&&[d]]", "d"),
        ("[a&&b]", ""),
        ("[a&]", "a&"),
        (r"[\Q]^\E]", "]^"),
        (r"[\x41\u0042\0103]", "ABC"),
        ("(?i)[a]", "aA"),
        (r"[\v-\x0d]", "\x0b\x0c\x0d"),
        ("(?x)[a b]", "ab"),
    ],
)
def test_a_class_is_a_set_of_characters(pattern: str, text: str) -> None:
    assert set_of(pattern) == chars(text)


@pytest.mark.parametrize(
    ("pattern", "text"), [("[^a]", "a"), ("[^a[b]]", "ab"), ("[^a-e&&c-g]", "cde"), ("[[^a]&&[^b]]", "ab")]
)
def test_a_caret_negates_the_whole_class(pattern: str, text: str) -> None:
    assert set_of(pattern) == none_of(chars(text))


def test_a_caret_elsewhere_is_a_literal() -> None:
    assert set_of("[a^]") == chars("a^")


def test_properties_stay_in_the_tree() -> None:
    letter, upper = Property("L", "L"), Property("Lu", "Lu")
    assert set_of(r"[\p{L}]") == letter
    assert set_of(r"[\p{L}&&[^\p{Lu}]]") == AllOf((letter, Not(upper)))


@pytest.mark.parametrize("pattern", ["[", "[a", "[]", "[z-a]", r"[a-\d]", "[a&&", "[&&]", r"[\da&&]", "[a-[b]"])
def test_a_class_that_java_refuses_is_invalid(pattern: str) -> None:
    with pytest.raises(InvalidPattern):
        parse(pattern)
