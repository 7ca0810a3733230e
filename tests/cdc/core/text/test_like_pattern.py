"""LIKE patterns; `tests/api/routes/test_flags.py` compares them with PostgreSQL."""

import re
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.core.text.like_pattern import compile_like


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("", [""], ["a"]),
        ("a", ["a"], ["", "A", "ab", "ba"]),
        ("%", ["", "a", "a\nb"], []),
        ("%%", ["", "a"], []),
        ("_", ["a", "%", "\n", "😀"], ["", "ab"]),
        ("%_%", ["a", "ab"], [""]),
        ("__%", ["ab", "abc"], ["", "a"]),
        ("%__", ["ab", "abc"], ["a"]),
        ("a%", ["a", "ab"], ["", "ba"]),
        ("%a", ["a", "ba", "aa"], ["ab"]),
        ("a%a", ["aa", "aba"], ["a"]),
        ("%a_c%", ["abc", "xabcx", "axabc"], ["ac", "abbc"]),
        ("%a%b%c", ["abc", "xaxbxc", "abcc"], ["acb", "ab", "abcd"]),
        ("_%b_%c", ["abxc", "xbbxc"], ["bxc", "abc"]),
        (r"100\%", ["100%"], ["1000", r"100\%"]),
        (r"a\_b", ["a_b"], ["axb"]),
        (r"a\\b", [r"a\b"], ["ab"]),
        (r"\a", ["a"], [r"\a"]),
        ("%\\%", ["%", "50%"], ["", "50% off"]),
    ],
)
def test_a_pattern_matches_the_whole_text(pattern: str, matching: list[str], others: list[str]) -> None:
    matches = compile_like(pattern)
    assert [text for text in matching + others if matches(text)] == matching


@given(st.text(alphabet="ab_%\\", max_size=8), st.text(alphabet="ab_%\\", max_size=10))
def test_every_pattern_means_its_regular_expression(pattern: str, text: str) -> None:
    # A backslash at the end stands for itself.
    whole = pattern + "\\" * ((len(pattern) - len(pattern.rstrip("\\"))) % 2)
    parts = re.findall(r"\\(.)|(%)|(_)|(.)", whole)
    expression = "".join(
        ".*" if many else "." if one else re.escape(escaped or plain) for escaped, many, one, plain in parts
    )
    assert compile_like(pattern)(text) == bool(re.fullmatch(expression, text, re.DOTALL))


@pytest.mark.parametrize(
    "pattern",
    ["%a" * 30_000 + "%", "%a_b" * 15_000, "_" * 60_000 + "z", "%" + "_" * 60_000 + "z%", "%" + "_a" * 30_000 + "z%"],
)
def test_no_pattern_takes_long(pattern: str) -> None:
    matches = compile_like(pattern)
    texts = ["a" * 2_000, "lorem ipsum dolor sit amet " * 100, "ab" * 1_000]
    begin = process_time()
    assert not any(matches(text) for text in texts * 10)
    assert process_time() - begin < 1
