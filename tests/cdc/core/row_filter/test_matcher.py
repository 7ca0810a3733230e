"""Tests of rows: three values, patterns, and texts out of json."""

import time

import pytest

from cdc.core.log.row_text import RowText
from cdc.core.row_filter import matcher
from cdc.core.row_filter.value_type import TEXT


def text(value: str | None) -> matcher.Getter:
    return lambda row: value


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
    ],
)
def test_patterns_match_as_like_does(pattern: str, value: str, is_like: bool) -> None:
    assert matcher.like(text(value), pattern, "\\")(RowText("{}")) is is_like


def test_a_pattern_that_ends_with_its_escape_is_refused() -> None:
    with pytest.raises(ValueError, match="escape"):
        matcher.like(text(""), "a\\", "\\")
    assert matcher.like(text("a\\"), "a\\", "")(RowText("{}")) is True


def test_no_pattern_takes_long() -> None:
    test = matcher.like(text("a" * 100_000), "%a" * 2_000 + "b", "\\")
    begin = time.process_time()
    assert test(RowText("{}")) is False
    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (("a",), "1"),
        (("b",), 'x"ü'),
        (("c",), '{"d": [1,  2.50]}'),
        (("c", "d"), "[1,  2.50]"),
        (("c", "d", 1), "2.50"),
        (("c", "d", -1), "2.50"),
        (("c", "d", 2), None),
        (("n",), None),
        (("missing",), None),
        ((0,), None),
        (("a", "x"), None),
        (("t",), "true"),
        (("twice",), "2"),
    ],
)
def test_a_field_is_the_text_that_postgresql_extracts(path: tuple[str | int, ...], found: str | None) -> None:
    row = RowText(
        '{"j":{"a": 1, "b": "x\\"\\u00fc", "c": {"d": [1,  2.50]}, "n": null, "t": true,"twice":1,"twice":2},"k":null}'
    )
    assert matcher.field("j", path)(row) == found
    assert matcher.field("k", path)(row) is None
    assert matcher.field("gone", path)(row) is None


def test_null_is_neither_true_nor_false() -> None:
    row = RowText("{}")
    null = matcher.comparison("=", matcher.column("a", TEXT), "x")
    yes, no = (lambda _: True), (lambda _: False)
    assert null(row) is None
    assert [matcher.all_of(tests)(row) for tests in ((null, yes), (null, no), (yes, yes))] == [None, False, True]
    assert [matcher.any_of(tests)(row) for tests in ((null, yes), (null, no), (no, no))] == [True, None, False]
    assert matcher.membership(text("a"), frozenset("b"), has_null=True)(row) is None
    assert matcher.membership(text("b"), frozenset("b"), has_null=True)(row) is True
    assert matcher.membership(text(None), frozenset("b"), has_null=False)(row) is None
    assert matcher.comparison("=", text("a"), None)(row) is None
