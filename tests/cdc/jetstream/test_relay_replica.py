"""What a relay keeps of the commits that its listener reports."""

import pytest

from cdc.core.flags.catalog import Catalog
from cdc.core.log.change import Commit
from cdc.core.log.position import LogId, Position
from cdc.core.subscription.resume import ResyncReason
from cdc.jetstream.relay_replica import RelayReplica


def commits(*positions: int) -> list[Commit]:
    return [Commit(Position(position), "2026-11-23T08:00:00.123456Z", 7, "u", "a", ()) for position in positions]


def replica(position: int = 4) -> RelayReplica:
    catalog = Catalog(LogId("k7q2mx"), Position(position))
    catalog.attach("public")
    made = RelayReplica()
    made.replace(catalog, ResyncReason.LOG_REPLACED)
    made.must_compare = False
    made.arrived.clear()
    return made


def taken(made: RelayReplica, after: int) -> list[int]:
    return [commit.position for commit in made.take_after(Position(after))]


def test_commits_are_taken_after_the_position_that_was_copied_holes_included() -> None:
    made = replica()
    made.publish(commits(5, 8))
    made.publish(commits(9))
    assert made.arrived.is_set()
    assert made.catalog.position == 9
    assert taken(made, 5) == [8, 9]
    assert taken(made, 9) == []


def test_where_the_next_commit_was_not_heard_of_nothing_is_taken_until_it_was_read() -> None:
    made = replica(position=6)
    made.publish(commits(7, 8))
    assert taken(made, 4) == []
    assert taken(made, 6) == [7, 8]


def test_what_is_too_much_to_keep_is_read_from_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.jetstream.relay_replica._INBOX_COMMITS", 3)
    made = replica()
    made.publish(commits(5, 6))
    made.publish(commits(7, 8))
    assert taken(made, 4) == []
    assert taken(made, 6) == [7, 8]


def test_another_state_forgets_what_was_heard_and_keeps_no_rows() -> None:
    made = replica()
    made.publish(commits(5))
    catalog = Catalog(LogId("other1"), Position(2))
    catalog.attach("tenant")
    made.replace(catalog, ResyncReason.LOG_REPLACED)
    assert made.must_compare
    assert made.arrived.is_set()
    assert (made.catalog.log, made.catalog.position, made.catalog.schemas) == ("other1", 2, ("tenant",))
    assert made.catalog is not catalog
    assert taken(made, 2) == []
