"""Patterns of `like`: what they match, and that none takes long."""

import random
import re
import time

import pytest

from cdc.core.row_filter.like_pattern import LikePattern


@pytest.mark.parametrize(
    ("pattern", "value", "is_like"),
    [
        ("", "", True),
        ("%", "", True),
        ("_", "", False),
        ("a%", "abc", True),
        ("%c", "abc", True),
        ("%b%", "abc", True),
        ("a_c", "abc", True),
        ("a_c", "a\nc", True),
        ("a.c", "abc", False),
        ("a%c%e", "abcde", True),
        ("a%e%c", "abcde", False),
        ("\\%", "%", True),
        ("\\%", "x", False),
        ("%%a", "a", True),
        ("ab%ba", "aba", False),
        ("_%_", "a", False),
        ("_%_", "ab", True),
        ("%ü_", "xüy", True),
        ("%aab", "aaab", True),
        ("%\\_", "a_", True),
        ("a%", "A", False),
        ("a__", "ab", False),
        ("%__", "a", False),
        ("%a_%_c%", "xabxxcx", True),
        ("%a__%", "xxa", False),
        ("_%%_", "ab", True),
    ],
)
def test_patterns_match_as_like_does(pattern: str, value: str, is_like: bool) -> None:
    assert LikePattern.parse(pattern, "\\").matches(value) is is_like


def test_a_pattern_that_ends_with_its_escape_is_refused() -> None:
    with pytest.raises(ValueError, match="escape"):
        LikePattern.parse("a\\", "\\")
    assert LikePattern.parse("a\\", "").matches("a\\")


def test_it_matches_as_a_regular_expression_that_tries_everything() -> None:
    rng = random.Random("like")
    for _ in range(3_000):
        pattern = "".join(rng.choices("ab_%", k=rng.randrange(9)))
        text = "".join(rng.choices("ab", k=rng.randrange(12)))
        expected = re.fullmatch(pattern.replace("_", ".").replace("%", ".*"), text) is not None
        assert LikePattern.parse(pattern, "").matches(text) is expected, (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "wild"),
    [("a_%", 0), ("%_a", 0), ("a_b", 0), ("%ab%", 0), ("%a_%", 2), ("%a_%b%_%", 3), ("%\\__%", 2), ("%\\_%", 0)],
)
def test_what_is_wild_is_a_piece_with_an_open_character_between_two_percents(pattern: str, wild: int) -> None:
    assert LikePattern.parse(pattern, "\\").wild == wild


@pytest.mark.parametrize(
    "pattern",
    ["%a" * 2_000 + "%b", "%" + "a" * 4_000 + "b%", "_a" * 4_000 + "b%", "%" + "_a" * 4_000, "%" + "a_" * 16 + "b%"],
    ids=["pieces", "literal", "first", "last", "wild"],
)
def test_no_pattern_takes_long(pattern: str) -> None:
    begin = time.process_time()
    found = LikePattern.parse(pattern, "\\")
    assert found.wild <= 33
    assert found.matches("a" * 100_000) is (pattern.endswith("_a"))
    assert time.process_time() - begin < 2
