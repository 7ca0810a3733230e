from dataclasses import replace
from typing import Any

import pytest

from cdc.core.change_feed.cursor import Cursor
from cdc.core.change_feed.logged_change import ChangePage
from cdc.core.change_feed.page_builder import PageBuilder
from cdc.core.log.change import Change, Commit, Op
from cdc.core.log.position import LogId, Position, commit_hash
from cdc.core.log.row_text import RowText

LOG = LogId("k7q2mx")

# Of each of the commits here: they differ by position alone.
HASH = commit_hash("2026-11-24T08:00:00.000000Z", 7)


def commit(position: int, *tables: str, size: int = 1) -> Commit:
    row = RowText(f'{{"n":{position}.50,"x":"{"ü" * size}"}}')
    changes = tuple(Change("public", table, Op.INSERT, None, row, RowText('{"id" : 1}')) for table in tables)
    return Commit(Position(position), "2026-11-24T08:00:00.000000Z", 7, "u", "a", changes)


def page(after: str, *commits: Commit, newest: int = 9, **bounds: Any) -> tuple[list[tuple[int, int]], str, ChangePage]:
    """The places of the changes, the next cursor, and the page itself."""
    bounds = {"limit": 100, "scan": 1000, "tables": None, "most_bytes": 1_000_000, **bounds}
    builder = PageBuilder(Cursor.parse(after), **bounds)
    for each in commits:
        if not builder.take(each):
            break
    found = builder.page(Position(newest), "db")
    return [(int(change.position), change.index) for change in found.changes], str(found.next), found


def test_all_that_there_is_ends_an_open_page() -> None:
    places, next, found = page("3@k7q2mx", commit(5, "a", "b"), commit(9, "a"))
    assert places == [(5, 1), (5, 2), (9, 1)]
    assert (next, found.is_open, found.newest, found.database) == (f"9@k7q2mx.{HASH}", True, 9, "db")
    first = found.changes[0]
    assert (first.count, first.xid, first.user, first.application, first.key) == (2, 7, "u", "a", '{"id" : 1}')
    assert (first.before, first.after) == (None, '{"n":5.50,"x":"ü"}')
    assert not page("3@k7q2mx", commit(5, "a"))[2].is_open


def test_a_page_that_is_full_stops_within_a_commit_and_the_next_one_goes_on_there() -> None:
    commits = commit(5, "a", "a", "a"), commit(9, "a")
    assert page("3@k7q2mx", *commits, limit=2)[:2] == ([(5, 1), (5, 2)], f"5.2@k7q2mx.{HASH}")
    assert page("5.2@k7q2mx", *commits, limit=2)[:2] == ([(5, 3), (9, 1)], f"9@k7q2mx.{HASH}")
    assert page("5@k7q2mx", *commits)[:2] == ([(9, 1)], f"9@k7q2mx.{HASH}")


def test_numbers_are_those_of_the_log_also_where_they_have_holes() -> None:
    holed = replace(commit(5, "a", "a", "a"), indexes=(1, 4, 6))
    assert page("3@k7q2mx", holed, limit=2)[:2] == ([(5, 1), (5, 4)], f"5.4@k7q2mx.{HASH}")
    places, next, found = page("5.4@k7q2mx", holed)
    assert (places, next, found.changes[0].count) == ([(5, 6)], f"5@k7q2mx.{HASH}", 6)


@pytest.mark.parametrize("tables", [["b"], ["public.b"], ["b", "public.c"]])
def test_of_some_tables_the_cursor_moves_past_the_others(tables: list[str]) -> None:
    commits = commit(5, "a", "b", "a"), commit(6, "a"), commit(9, "b", "a")
    assert page("3@k7q2mx", *commits, tables=tables)[:2] == ([(5, 2), (9, 1)], f"9@k7q2mx.{HASH}")
    # As far as up to what would no longer fit.
    assert page("3@k7q2mx", *commits, tables=tables, limit=1)[:2] == ([(5, 2)], f"6@k7q2mx.{HASH}")
    assert page("3@k7q2mx", *commits, tables=["other.b"])[:2] == ([], f"9@k7q2mx.{HASH}")


def test_no_more_is_scanned_than_requested() -> None:
    assert page("3@k7q2mx", commit(5, "a", "a", "b"), tables=["b"], scan=2)[:2] == ([], f"5.2@k7q2mx.{HASH}")
    assert page("3@k7q2mx", commit(5, "a", "a"), commit(9, "b"), tables=["b"], scan=2)[:2] == ([], f"5@k7q2mx.{HASH}")


def test_rows_bound_a_page_though_one_always_comes() -> None:
    commits = commit(5, "a", size=100), commit(6, "a", size=100), commit(9, "a")
    assert page("3@k7q2mx", *commits, most_bytes=300)[0] == [(5, 1)]
    assert page("3@k7q2mx", *commits, most_bytes=500)[0] == [(5, 1), (6, 1), (9, 1)]
    assert page("3@k7q2mx", *commits, most_bytes=10)[0] == [(5, 1)]
