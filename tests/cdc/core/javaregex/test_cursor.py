"""The cursor: quotes, comments, nesting."""

import pytest

from cdc.core.javaregex.cursor import MAX_DEPTH, Cursor, TooComplex


def rest(pattern: str, flags: str = "") -> str:
    cursor = Cursor(pattern)
    cursor.flags = frozenset(flags)
    text = ""
    while not cursor._is_over():
        text += cursor._take()
    return text


@pytest.mark.parametrize(
    ("pattern", "text", "quoted"),
    [
        ("a(b", "a(b", [False, False, False]),
        (r"\Q(*\Eb", "(*b", [True, True, False]),
        (r"\Qa\b", r"a\b", [True, True, True]),
        (r"\\Q", r"\\Q", [False, False, False]),
        (r"a\Q\Eb", "ab", [False, False]),
        ("\\", "\\", [False]),
    ],
)
def test_quoted_characters_are_marked(pattern: str, text: str, quoted: list[bool]) -> None:
    cursor = Cursor(pattern)
    assert "".join(cursor.chars) == text
    assert cursor.quoted == [*quoted, False, False, False]


def test_a_quoted_character_is_never_special() -> None:
    cursor = Cursor(r"\Q(\E(")
    assert cursor._special() == ""
    assert cursor._take() == "("
    assert cursor._special() == "("


@pytest.mark.parametrize(
    ("pattern", "flags", "text"),
    [
        ("a b # c\nd", "", "a b # c\nd"),
        ("a b # c\nd", "x", "abd"),
        ("a#b\u2028c", "x", "a\u2028c"),
        ("a#b\u2028c", "xd", "a"),
        (r"\Qa b\E c", "x", "a bc"),
        ("# only a comment", "x", ""),
    ],
)
def test_blanks_and_comments_are_skipped_under_x(pattern: str, flags: str, text: str) -> None:
    assert rest(pattern, flags) == text


def test_the_end_can_be_read_past_a_few_characters() -> None:
    cursor = Cursor("")
    assert cursor._is_over()
    assert (cursor._peek(), cursor.chars[cursor.at + 2]) == ("", "")


def test_nesting_is_limited() -> None:
    cursor = Cursor("")
    cursor.depth = MAX_DEPTH - 1
    with cursor._deeper():
        assert cursor.depth == MAX_DEPTH
        with pytest.raises(TooComplex), cursor._deeper():
            pass
