"""Cursors of the change feed."""

import pytest

from cdc.core.change_feed.cursor import Cursor
from cdc.core.errors import InvalidInput
from cdc.core.log.position import LogId, Position


@pytest.mark.parametrize(
    "text",
    [
        "0@k7q2mx",
        "1042@k7q2mx",
        "1042.1@k7q2mx",
        "9223372036854775807.9223372036854775807@a",
        "7~5_3_0@a",
        "7.2~5_3@a",
        "7~5_3@a.3f0c9a",
    ],
)
def test_a_cursor_reads_what_it_writes(text: str) -> None:
    assert str(Cursor.parse(text)) == text


def test_a_cursor_is_after_a_commit_or_after_some_of_its_changes() -> None:
    assert Cursor.parse("7@log") == Cursor(Position(7), None, LogId("log"))
    assert Cursor.parse("7.3@log") == Cursor(Position(7), 3, LogId("log"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "7@",
        "@log",
        "7.@log",
        ".3@log",
        "7.3",
        "-7@log",
        "7-3@log",
        "٧@log",
        "9223372036854775808@a",
        "1.9223372036854775808@a",
        "7~@a",
        "7@a.",
        "7@a.b.c",
        "7~5@a",
        "7~5_3_3@a",
        "x" * 999,
    ],
)
def test_anything_else_is_refused_with_how_to_start(text: str) -> None:
    with pytest.raises(InvalidInput, match="start with the oldest change") as refused:
        Cursor.parse(text)
    assert (refused.value.name, refused.value.code) == ("after", "invalid_cursor")
    assert len(str(refused.value)) < 250
