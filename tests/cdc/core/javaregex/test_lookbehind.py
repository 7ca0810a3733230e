"""The maximum length of look-behinds, in Java's 32-bit arithmetic."""

import pytest

from cdc.core.javaregex import parse
from cdc.core.javaregex.lookbehind import maximum_length


@pytest.mark.parametrize(
    ("pattern", "length"),
    [
        ("", 0),
        ("abc", 3),
        ("^a$", 1),
        (r"\R", 2),
        (r"\X", 0),
        ("a|bcd|", 3),
        ("(a|bc)d", 3),
        ("a?b", 2),
        ("(ab)?c", 3),
        ("a{2,5}", 5),
        ("(?:ab){3}", 6),
        ("(?=abc)d", 1),
        ("a*", 2**31 - 1),
        ("a*b*", -2),
        ("(?:abc)*", 2**31 - 3),
    ],
)
def test_an_accepted_look_behind_has_a_length(pattern: str, length: int) -> None:
    assert maximum_length(parse(pattern)) == length


@pytest.mark.parametrize("pattern", [r"(a)\1", "(?:ab)*", "(a|b)*", "(a?)+"])
def test_a_refused_look_behind_has_none(pattern: str) -> None:
    assert maximum_length(parse(pattern)) is None
