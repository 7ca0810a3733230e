"""Escapes for one character, and their errors."""

import pytest

from cdc.core.errors import InvalidPattern
from cdc.core.javaregex import parse
from cdc.core.javaregex.charset import ranges
from cdc.core.javaregex.syntax import Chars


@pytest.mark.parametrize(
    ("pattern", "code"),
    [
        (r"\t", 9),
        (r"\a", 7),
        (r"\e", 27),
        (r"\.", 0x2E),
        (r"\é", 0xE9),
        (r"\07", 7),
        (r"\0377", 0xFF),
        (r"\x41", 0x41),
        (r"\x{1F600}", 0x1F600),
        (r"\u0041", 0x41),
        (r"\ud83d\ude00", 0x1F600),
        (r"\N{DIGIT ONE}", 0x31),
        (r"\cA", 1),
        (r"\c[", 0x1B),
    ],
)
def test_an_escape_is_one_character(pattern: str, code: int) -> None:
    assert parse(pattern) == Chars(ranges((code, code)))


def test_an_octal_escape_ends_before_it_exceeds_a_byte() -> None:
    octal, digit = parse(r"\0477").items  # type: ignore[union-attr]
    assert (octal, digit) == (Chars(ranges((0o47, 0o47))), Chars(ranges((0x37, 0x37))))


@pytest.mark.parametrize(("flags", "text"), [("(?i)", "aA"), ("(?iu)", "aA"), ("", "a")])
def test_an_escape_is_folded_like_its_character(flags: str, text: str) -> None:
    assert parse(flags + r"\x61") == Chars(ranges(*((ord(char), ord(char)) for char in text)))


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("\\", "unexpected end"),
        (r"\y", r"unsupported escape sequence \\y"),
        (r"\08", "illegal octal"),
        (r"\x4", "illegal hexadecimal"),
        (r"\x{110000}", "too big"),
        (r"\x{41", "unclosed hexadecimal"),
        (r"\u004", "illegal hexadecimal"),
        (r"\c", "illegal control"),
        (r"\N{NO SUCH NAME}", "unknown character name"),
        (r"\N{DIGIT ONE", "unclosed character name"),
        (r"\p{L", "unclosed character family"),
        (r"\p{}", "empty character family"),
    ],
)
def test_an_illegal_escape_says_why(pattern: str, words: str) -> None:
    with pytest.raises(InvalidPattern, match=words):
        parse(pattern)
