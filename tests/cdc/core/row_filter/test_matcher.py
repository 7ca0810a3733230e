"""Tests of rows: three values, patterns, and texts out of json."""

import pytest

from cdc.core.log.row_text import RowText
from cdc.core.row_filter import matcher
from cdc.core.row_filter.like_pattern import LikePattern
from cdc.core.row_filter.value_type import TEXT
from cdc.core.text.exact_json import members


def text(value: str | None) -> matcher.Getter:
    return lambda row: value


def test_a_pattern_matches_no_null() -> None:
    pattern = LikePattern.parse("%", "")
    assert matcher.like(text(None), pattern)(RowText("{}")) is None
    assert matcher.like(text(""), pattern)(RowText("{}")) is True


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


def test_a_json_value_is_taken_apart_once_for_all_that_look_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(text: str) -> dict[str, str]:
        read.append(text)
        return members(text)

    monkeypatch.setattr(matcher, "members", counted)
    document = '{"a": {"b": "x", "c": 2}, "d": 1}'
    row = RowText(f'{{"doc": {document}}}')
    for path, found in ((("a", "b"), "x"), (("a", "c"), "2"), (("d",), "1"), (("a", "b"), "x"), (("a", "n"), None)):
        assert matcher.field("doc", path)(row) == found
    assert read == [row.text, document, '{"b": "x", "c": 2}']
