"""What was heard is applied only where it continues what was applied; else the log is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.core.log.change import Commit
from cdc.core.log.inbox import Inbox, NotificationInbox
from cdc.core.log.position import Position


def commit(position: int) -> Commit:
    return Commit(Position(position), "2026-11-23T08:00:00.123456Z", position, "u", "a", ())


def positions(commits: list[Commit]) -> list[int]:
    return [each.position for each in commits]


def anything(_: Commit) -> bool:
    return True


# -- the queue ---------------------------------------------------------------------------------------------------------


def filled(*pairs: tuple[int, int]) -> Inbox:
    """Commits as (position, the position that it follows)."""
    inbox = Inbox()
    for position, after in pairs:
        inbox.add(commit(position), Position(after))
    return inbox


@pytest.mark.parametrize(
    ("heard", "applied", "expected", "left"),
    [
        ([], 4, [], 0),
        ([(5, 4), (6, 5)], 4, [5, 6], 0),
        ([(5, 4), (9, 5)], 4, [5, 9], 0),
        ([(3, 2), (4, 3), (5, 4)], 4, [5], 0),
        ([(5, 4), (7, 6), (8, 7)], 4, [5], 2),
        ([(6, 5)], 4, [], 1),
        ([(5, 4), (5, 4), (6, 5)], 4, [5, 6], 0),
    ],
)
def test_what_continues_is_taken_up_to_the_first_gap(
    heard: list[tuple[int, int]], applied: int, expected: list[int], left: int
) -> None:
    inbox = filled(*heard)
    assert positions(inbox.take(Position(applied))) == expected
    assert len(inbox) == left


def test_what_is_behind_a_gap_is_taken_once_the_gap_is_closed() -> None:
    inbox = filled((5, 4), (8, 7), (9, 8))
    assert positions(inbox.take(Position(4))) == [5]
    assert positions(inbox.take(Position(6))) == []
    assert positions(inbox.take(Position(8))) == [9]


def test_a_commit_that_is_not_accepted_stays_with_all_behind_it() -> None:
    inbox = filled((5, 4), (6, 5), (7, 6))
    assert positions(inbox.take(Position(4), lambda each: each.position != 6)) == [5]
    assert len(inbox) == 2
    inbox.clear()
    assert len(inbox) == 0


@given(st.sets(st.integers(1, 40), min_size=1), st.data())
def test_with_the_log_behind_it_every_commit_is_applied_once_in_order(all: set[int], data: st.DataObject) -> None:
    """Commits are lost on the way at will; what the inbox leaves is read from the log."""
    ordered = sorted(all)
    after = dict(zip(ordered, [0, *ordered], strict=False))
    inbox = Inbox()
    applied: list[int] = []
    for position in ordered:
        if data.draw(st.booleans()):
            inbox.add(commit(position), Position(after[position]))
        if data.draw(st.booleans()):
            applied += positions(inbox.take(Position(applied[-1] if applied else 0)))
            if len(inbox):
                page = [each for each in ordered if not applied or each > applied[-1]]
                applied += [each for each in page if each <= position]
    assert applied == ordered[: len(applied)]


# -- a listener's ------------------------------------------------------------------------------------------------------


def caught_up(position: int = 4, limit: int = 10) -> NotificationInbox:
    """As it is after the log was read for the first time."""
    inbox = NotificationInbox(Position(position), limit)
    inbox.begin_reading()
    inbox.end_reading()
    return inbox


def test_a_session_begins_with_the_log() -> None:
    inbox = NotificationInbox(Position(4), 10)
    assert inbox.must_read
    inbox.hear(commit(5))
    # Nothing is believed before the log was read: it brings this one too.
    assert inbox.take(Position(4), anything) == []
    assert len(inbox) == 0
    assert inbox.must_read


def test_commits_with_the_next_number_are_taken_as_they_are() -> None:
    inbox = caught_up()
    inbox.hear(commit(5))
    inbox.hear(commit(6))
    assert positions(inbox.take(Position(4), anything)) == [5, 6]
    assert not inbox.must_read


def test_after_a_gap_the_log_is_read() -> None:
    inbox = caught_up()
    inbox.hear(commit(5))
    inbox.hear(commit(7))
    assert positions(inbox.take(Position(4), anything)) == [5]
    assert inbox.must_read
    assert len(inbox) == 0


def test_a_commit_that_is_not_accepted_is_read_from_the_log() -> None:
    inbox = caught_up()
    inbox.hear(commit(5))
    assert inbox.take(Position(4), lambda _: False) == []
    assert inbox.must_read


@pytest.mark.parametrize(("position", "expected"), [(5, True), (9, True)])
def test_a_hint_at_something_new_is_read_from_the_log(position: int, expected: bool) -> None:
    inbox = caught_up()
    inbox.hint(Position(position), Position(4))
    assert inbox.must_read is expected


def test_a_hint_at_what_was_applied_meanwhile_is_not() -> None:
    inbox = caught_up()
    inbox.hint(Position(5), Position(5))
    assert not inbox.must_read


@pytest.mark.parametrize("position", [4, 3, -1])
def test_a_position_that_does_not_grow_is_another_log(position: int) -> None:
    inbox = caught_up()
    inbox.hear(commit(position))
    assert inbox.must_read
    inbox = caught_up()
    inbox.hint(Position(position), Position(99))
    assert inbox.must_read


def test_what_is_heard_together_with_something_doubtful_is_read_from_the_log() -> None:
    inbox = caught_up()
    inbox.hear(commit(5))
    inbox.hear(commit(1))
    assert inbox.take(Position(4), anything) == []
    assert inbox.must_read


def test_what_is_heard_while_the_log_is_read_waits_until_it_was_read() -> None:
    inbox = caught_up()
    inbox.begin_reading()
    for position in (5, 6, 7):
        inbox.hear(commit(position))
    assert inbox.take(Position(4), anything) == []
    inbox.end_reading()
    assert positions(inbox.take(Position(5), anything)) == [6, 7]
    assert not inbox.must_read


def test_more_than_is_kept_while_the_log_is_read_makes_it_be_read_again() -> None:
    inbox = caught_up(limit=2)
    inbox.begin_reading()
    inbox.hear(commit(5))
    assert inbox.take(Position(4), anything) == []
    assert len(inbox) == 1
    inbox.hear(commit(6))
    assert inbox.take(Position(4), anything) == []
    assert len(inbox) == 0
    inbox.end_reading()
    assert inbox.must_read


def test_a_need_that_arises_while_the_log_is_read_outlasts_it() -> None:
    inbox = caught_up()
    inbox.begin_reading()
    inbox.hint(Position(9), Position(4))
    inbox.end_reading()
    assert inbox.must_read


@given(st.lists(st.sampled_from(["heard", "lost", "hint"]), max_size=40), st.data())
def test_a_listener_that_reads_the_log_whenever_it_must_applies_every_commit_once(
    fates: list[str], data: st.DataObject
) -> None:
    """The last commit is heard in some way: without that only the next probe could tell."""
    inbox, newest = caught_up(0, limit=5), 0
    applied: list[int] = []

    def read_log() -> None:
        inbox.begin_reading()
        applied.extend(range((applied[-1] if applied else 0) + 1, newest + 1))
        inbox.end_reading()

    def take() -> None:
        applied.extend(positions(inbox.take(Position(applied[-1] if applied else 0), anything)))

    for fate in [*fates, "hint"]:
        newest += 1
        if fate == "heard":
            inbox.hear(commit(newest))
        elif fate == "hint":
            inbox.hint(Position(newest), Position(applied[-1] if applied else 0))
        if data.draw(st.booleans()):
            take()
        if inbox.must_read and data.draw(st.booleans()):
            read_log()
    take()
    if inbox.must_read:
        read_log()
    assert applied == list(range(1, newest + 1))
