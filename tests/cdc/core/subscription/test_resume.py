"""How a stream continues after an id, decided without any I/O."""

import pytest

from cdc.core.flags.events import Event, EventType
from cdc.core.log.position import CommitHash, EventId, LogId, Position
from cdc.core.log.recent_commits import RecentCommits
from cdc.core.subscription.resume import (
    AddedSelection,
    Continue,
    Decision,
    ReadHistory,
    Resync,
    ResyncReason,
    WaitUntilReached,
    decide_after,
    decide_resume,
)
from cdc.core.subscription.ring import Ring
from cdc.core.subscription.selection import Selection, Selections
from tests.cdc.core.flagent import LOG, TIME


def id_at(position: int, index: int | None = None, log: LogId = LOG, hash: str | None = None) -> EventId:
    return EventId(Position(position), index, log, None if hash is None else CommitHash(hash))


def recent_commits() -> RecentCommits:
    recent = RecentCommits(Position(9), None, most=100)
    for position, hash in ((10, "aaaaaa"), (11, "bbbbbb"), (13, "cccccc")):
        recent.add(Position(position), CommitHash(hash))
    return recent


RECENT = recent_commits()


class Entry:
    size_bytes = 1

    def __init__(self, position: int, index: int) -> None:
        self.event_id = id_at(position, index)


@pytest.fixture
def ring() -> Ring[Entry]:
    """Two events each of the commits 10, 11 and 13; nothing is known of what came before."""
    ring: Ring[Entry] = Ring(100, 100, Position(9))
    ring.extend([Entry(position, index) for position in (10, 11, 13) for index in (0, 1)])
    return ring


@pytest.mark.parametrize(
    ("last_event_id", "decision"),
    [
        # continued from memory
        ("9@k7q2mx", Continue(0)),
        ("10-0@k7q2mx", Continue(1)),
        ("10@k7q2mx", Continue(2)),
        ("11-1@k7q2mx", Continue(4)),
        ("12@k7q2mx", Continue(4)),
        ("13@k7q2mx", Continue(6)),
        # from the log
        ("8@k7q2mx", ReadHistory(id_at(8))),
        ("9-0@k7q2mx", ReadHistory(id_at(9, 0))),
        ("0@k7q2mx", ReadHistory(id_at(0))),
        # ahead
        ("14@k7q2mx", WaitUntilReached(id_at(14))),
        ("14-3@k7q2mx", WaitUntilReached(id_at(14, 3))),
        ("9999999999999999999@k7q2mx", WaitUntilReached(id_at(9999999999999999999))),
        # of this log, as far as the hash of the commit says
        ("10-0@k7q2mx.aaaaaa", Continue(1)),
        ("13@k7q2mx.cccccc", Continue(6)),
        ("14@k7q2mx.dddddd", WaitUntilReached(id_at(14, hash="dddddd"))),
        # of a past that was rewritten: another commit has the position now, or none
        ("10-0@k7q2mx.dddddd", Resync(ResyncReason.LOG_REPLACED)),
        ("13@k7q2mx.dddddd", Resync(ResyncReason.LOG_REPLACED)),
        ("12@k7q2mx.dddddd", Resync(ResyncReason.LOG_REPLACED)),
        # not known here: the log knows
        ("9@k7q2mx.dddddd", ReadHistory(id_at(9, hash="dddddd"))),
        ("8-1@k7q2mx.dddddd", ReadHistory(id_at(8, 1, hash="dddddd"))),
        # not of this log
        ("11@another", Resync(ResyncReason.LOG_REPLACED)),
        ("99@another", Resync(ResyncReason.LOG_REPLACED)),
        # not an id
        ("", Resync(ResyncReason.UNKNOWN_ID)),
        ("junk", Resync(ResyncReason.UNKNOWN_ID)),
        ("11@", Resync(ResyncReason.UNKNOWN_ID)),
        ("-1@k7q2mx", Resync(ResyncReason.UNKNOWN_ID)),
        ("11-0@k7q2mx ", Resync(ResyncReason.UNKNOWN_ID)),
    ],
)
def test_what_follows_from_an_id(ring: Ring[Entry], last_event_id: str, decision: Decision) -> None:
    assert decide_resume(last_event_id, id_at(13), RECENT, ring) == decision


def test_within_a_commit_that_is_applied_in_part_the_rest_is_ahead(ring: Ring[Entry]) -> None:
    here = id_at(13, 1)
    assert decide_resume("13-1@k7q2mx", here, RECENT, ring) == Continue(6)
    assert decide_resume("13-2@k7q2mx", here, RECENT, ring) == WaitUntilReached(id_at(13, 2))
    assert decide_resume("13@k7q2mx", here, RECENT, ring) == WaitUntilReached(id_at(13))


def test_an_id_that_was_read_already_is_decided_alike(ring: Ring[Entry]) -> None:
    here = id_at(13)
    for id in (id_at(9), id_at(8), id_at(14), id_at(11, 0), id_at(11, 0, LogId("another"))):
        assert decide_after(id, here, RECENT, ring) == decide_resume(str(id), here, RECENT, ring)


def test_an_empty_ring_continues_at_its_end_alone() -> None:
    ring: Ring[Entry] = Ring(100, 100, Position(5))
    assert decide_resume("5@k7q2mx", id_at(5), RECENT, ring) == Continue(0)
    assert decide_resume("4@k7q2mx", id_at(5), RECENT, ring) == ReadHistory(id_at(4))


# -- a part that is added to a selection -----------------------------------------------------------------------

OLD, NEW = (
    Selections((Selection.of(flag_keys=["old", "both"]),)),
    Selections((Selection.of(flag_keys=["new", "both"]),)),
)


def event(position: int, key: str, index: int = 0) -> Event:
    return Event(id_at(position, index), EventType.FLAG_UPDATED, "public", TIME, key, 1, frozenset(), None, {})


@pytest.mark.parametrize(
    ("key", "after", "until", "delivered"),
    [
        # the client knows the new part up to 3, and everything else was delivered up to 6
        ("new", 3, 6, [4, 5, 6, 7, 8]),
        ("old", 3, 6, [7, 8]),
        ("both", 3, 6, [7, 8]),
        # the client knows more than this server had applied
        ("new", 6, 3, [7, 8]),
        ("old", 6, 3, [4, 5, 6, 7, 8]),
        ("both", 6, 3, [4, 5, 6, 7, 8]),
        ("other", 3, 6, []),
        ("other", 6, 3, []),
    ],
)
def test_each_part_gets_what_it_lacks(key: str, after: int, until: int, delivered: list[int]) -> None:
    added = AddedSelection(OLD, NEW, until=id_at(until), after=id_at(after))
    assert [position for position in range(1, 9) if added.view(event(position, key)) is not None] == delivered
    assert added.start == id_at(3)


def test_within_a_commit_the_index_decides() -> None:
    added = AddedSelection(OLD, NEW, until=id_at(5), after=id_at(5, 1))
    assert [added.view(event(5, "new", index)) is not None for index in range(4)] == [False, False, True, True]
    assert not any(added.view(event(5, "old", index)) is not None for index in range(4))
    assert added.start == id_at(5, 1)
