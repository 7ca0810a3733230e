"""The range of a log, and what it refuses."""

import pytest

from cdc.core.change_feed.cursor import Cursor
from cdc.core.log.position import LogId, Position
from cdc.core.log.row_text import RowText
from cdc.errors import OutOfReach
from cdc.source.log import Bootstrap, CommitFingerprint, LogRange, LogState

LOG = LogId("k7q2mx")
AT = "2026-11-23T08:00:00.000000Z"


def extent(oldest: int | None = 5, newest: int = 9) -> LogRange:
    begin = None if oldest is None else Position(oldest)
    return LogRange(LOG, begin, None if oldest is None else AT, Position(newest), AT, "db")


def refusal(cursor: Cursor, found: LogRange) -> OutOfReach:
    with pytest.raises(OutOfReach) as caught:
        found.refuse(cursor, None)
    return caught.value


@pytest.mark.parametrize(("position", "index"), [(4, None), (5, 1), (9, None), (9, 3), (7, None)])
def test_a_cursor_within_the_log_is_accepted(position: int, index: int | None) -> None:
    extent().refuse(Cursor(Position(position), index, LOG), None)


def test_a_cursor_is_accepted_where_its_commit_is_the_one_in_the_log() -> None:
    found = CommitFingerprint(Position(7), AT, 7)
    extent().refuse(Cursor(Position(7), 2, LOG, hash=found.hash), found)
    # Before the oldest commit there is nothing to compare with.
    extent().refuse(Cursor(Position(4), None, LOG, hash=found.hash), None)


@pytest.mark.parametrize("found", [CommitFingerprint(Position(7), AT, 8), None], ids=["another commit", "a hole"])
def test_a_cursor_of_a_past_that_was_rewritten_is_refused(found: CommitFingerprint | None) -> None:
    cursor = Cursor(Position(7), 2, LOG, hash=CommitFingerprint(Position(7), AT, 7).hash)
    with pytest.raises(OutOfReach, match="restored") as caught:
        extent().refuse(cursor, found)
    assert (caught.value.code, caught.value.oldest) == ("log_replaced", 5)


@pytest.mark.parametrize(
    ("cursor", "code"),
    [
        (Cursor(Position(7), None, LogId("other1")), "log_replaced"),
        (Cursor(Position(10), None, LOG), "ahead"),
        (Cursor(Position(3), None, LOG), "pruned"),
        # The rest of a partly read commit is gone with it.
        (Cursor(Position(4), 1, LOG), "pruned"),
    ],
)
def test_a_cursor_out_of_reach_is_refused_with_where_the_log_begins(cursor: Cursor, code: str) -> None:
    error = refusal(cursor, extent())
    assert (error.code, error.oldest, error.oldest_at) == (code, 5, AT)


def test_an_empty_log_begins_nowhere() -> None:
    error = extent(None, 0).pruned()
    assert (error.code, error.oldest, str(error)) == ("pruned", None, "the change log is empty")
    extent(None, 0).refuse(Cursor(Position(0), None, LOG), None)


def test_state_and_range_hold_the_same_commits() -> None:
    for oldest, newest in ((5, 9), (None, 0)):
        found = extent(oldest, newest)
        state = LogState(LOG, "c", found.oldest, found.newest, None)
        for position in range(7):
            assert state.holds_all_after(Position(position)) == found.holds_all_after(Position(position))


def test_a_catalog_of_a_bootstrap_holds_its_rows_as_of_its_position() -> None:
    tag = {"id": 1, "value": "t"}
    catalog = Bootstrap(LOG, Position(7), None, {"public": {"tags": [RowText.of(tag)]}, "tenant": {}}).catalog()
    assert (catalog.log, catalog.position, catalog.schemas) == (LOG, 7, ("public", "tenant"))
