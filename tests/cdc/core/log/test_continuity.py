"""Whether a log, and a commit of it, continues what was applied."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.core.log.change import Commit, Op
from cdc.core.log.continuity import (
    Applied,
    Break,
    CommitFingerprint,
    PartEnd,
    Progress,
    Step,
    holds_all_after,
    step,
    why_broken,
)
from cdc.core.log.position import LogId, Position
from cdc.core.subscription.resume import ResyncReason
from tests.cdc.core.flagent import change_of

LOG = LogId("k7q2mx")
TEN = Position(10)


def fingerprint(position: int = 10, xid: int = 7) -> CommitFingerprint:
    return CommitFingerprint(Position(position), "2026-11-23T08:00:00.123456Z", xid)


def commit(position: int = 10, *sequences: int | None, **fields: object) -> Commit:
    changes = tuple(
        change_of("public", "t", Op.INSERT, None, {"id": n}, None, sequence) for n, sequence in enumerate(sequences)
    )
    return Commit(Position(position), "2026-11-23T08:00:00.123456Z", 7, "u", "a", changes, **fields)  # type: ignore[arg-type]


# -- does the log continue it? -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log", "oldest", "newest", "found", "expected"),
    [
        # Its position is a hole now: the past was rewritten.
        ("k7q2mx", 1, 10, None, Break.LOG_REPLACED),
        ("k7q2mx", 10, 20, None, Break.LOG_REPLACED),
        ("k7q2mx", 1, 10, fingerprint(), None),
        ("k7q2mx", 11, 20, None, None),
        ("k7q2mx", 1, 20, fingerprint(), None),
        ("other1", 1, 10, fingerprint(), Break.LOG_REPLACED),
        ("other1", None, 0, None, Break.LOG_REPLACED),
        ("k7q2mx", 1, 9, None, Break.LOG_REPLACED),
        ("k7q2mx", 1, 10, fingerprint(xid=8), Break.LOG_REPLACED),
        ("k7q2mx", 1, 20, fingerprint(xid=8), Break.LOG_REPLACED),
        ("k7q2mx", 12, 20, None, Break.PRUNED),
        # Emptied: it went on from here for all that is known, but what came in between is gone.
        ("k7q2mx", None, 0, None, Break.PRUNED),
    ],
)
def test_a_log_continues_what_was_applied(
    log: str, oldest: int | None, newest: int, found: CommitFingerprint | None, expected: Break | None
) -> None:
    applied = Applied(LOG, TEN, fingerprint())
    oldest_position = None if oldest is None else Position(oldest)
    assert why_broken(applied, LogId(log), oldest_position, Position(newest), found) is expected


def test_an_unknown_fingerprint_is_compared_with_none() -> None:
    assert why_broken(Applied(LOG, TEN), LOG, Position(1), TEN, fingerprint()) is None


def test_an_empty_replica_continues_an_empty_log() -> None:
    assert why_broken(Applied(LOG, Position(0)), LOG, None, Position(0), None) is None


def test_what_may_hold_half_a_commit_is_loaded_again_from_the_same_log() -> None:
    applied = Applied(LOG, TEN, fingerprint(), is_trusted=False)
    assert why_broken(applied, LOG, Position(1), TEN, fingerprint()) is Break.PRUNED
    assert why_broken(applied, LogId("other1"), Position(1), TEN, None) is Break.LOG_REPLACED


def test_every_break_is_a_reason_to_resync() -> None:
    assert {ResyncReason(each) for each in Break} == {ResyncReason.LOG_REPLACED, ResyncReason.PRUNED}


@pytest.mark.parametrize(
    ("oldest", "position", "expected"),
    [(5, 3, False), (5, 4, True), (5, 5, True), (1, 0, True), (None, 0, True), (None, 1, False)],
)
def test_a_log_holds_all_after_a_position(oldest: int | None, position: int, expected: bool) -> None:
    assert holds_all_after(None if oldest is None else Position(oldest), Position(position)) is expected


# -- does the commit? --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("applied", "position", "after", "expected"),
    [
        (10, 9, 8, Step.KNOWN),
        (10, 10, 9, Step.KNOWN),
        (10, 11, 10, Step.NEXT),
        (10, 13, 10, Step.NEXT),
        (10, 13, 8, Step.NEXT),
        (10, 12, 11, Step.GAP),
        (0, 1, 0, Step.NEXT),
    ],
)
def test_a_commit_is_the_next_one(applied: int, position: int, after: int, expected: Step) -> None:
    assert step(Position(applied), Position(position), Position(after)) is expected


@given(st.sets(st.integers(1, 40), min_size=1), st.data())
def test_commits_that_are_taken_as_the_next_are_all_commits_in_order(positions: set[int], data: st.DataObject) -> None:
    """However they are delivered: late, twice, or not at all; nothing is skipped without a gap."""
    ordered = sorted(positions)
    after = dict(zip(ordered, [0, *ordered], strict=False))
    applied, taken = Position(0), []
    for position in data.draw(st.lists(st.sampled_from(ordered), max_size=60)):
        if step(applied, Position(position), Position(after[position])) is Step.NEXT:
            taken.append(position)
            applied = Position(position)
    assert taken == ordered[: len(taken)]


# -- what a listener remembers -----------------------------------------------------------------------------------------


def test_it_knows_the_commit_that_it_is_as_of() -> None:
    progress = Progress()
    assert progress.applied(LOG, Position(0)) == Applied(LOG, Position(0))
    progress.load(fingerprint(4, xid=3))
    assert progress.applied(LOG, Position(4)) == Applied(LOG, Position(4), fingerprint(4, xid=3))
    progress.advance([commit(5, None), commit(6, None)])
    assert progress.applied(LOG, Position(6)) == Applied(LOG, Position(6), fingerprint(6))


def test_an_error_is_forgotten_once_all_is_loaded_again() -> None:
    progress = Progress()
    progress.distrust()
    assert not progress.applied(LOG, TEN).is_trusted
    progress.advance([commit(10, None)])
    assert not progress.applied(LOG, TEN).is_trusted
    progress.load(None)
    assert progress.applied(LOG, TEN) == Applied(LOG, TEN)


def test_a_part_is_continued_after_its_last_change() -> None:
    progress = Progress()
    progress.advance([commit(9, None), commit(10, None, None, ends=False)])
    assert progress.part == PartEnd(TEN, 2, 2)
    # It is still as of the commit before.
    assert progress.applied(LOG, Position(9)).fingerprint == fingerprint(9)
    progress.advance([commit(10, None, None, begin=2, ends=False)])
    assert progress.part == PartEnd(TEN, 4, 4)
    progress.advance([commit(10, None, begin=4)])
    assert progress.part is None
    assert progress.applied(LOG, TEN).fingerprint == fingerprint(10)


def test_a_part_is_continued_by_the_number_that_its_last_change_has_in_the_log() -> None:
    progress = Progress()
    progress.advance([commit(10, None, None, begin=2, ends=False, indexes=(4, 9))])
    assert progress.part == PartEnd(TEN, 9, 4)
    progress.advance([commit(10, 700, 701, begin=2, ends=False)])
    assert progress.part == PartEnd(TEN, 701, 4)
    progress.load(None)
    assert progress.part is None
