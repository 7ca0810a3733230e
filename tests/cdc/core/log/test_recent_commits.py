"""Which commit was at a position, for ids of a past that may have been rewritten."""

from cdc.core.log.position import CommitHash, EventId, LogId, Position
from cdc.core.log.recent_commits import RecentCommits


def id_of(position: int, hash: str | None, index: int | None = None) -> EventId:
    return EventId(Position(position), index, LogId("k"), None if hash is None else CommitHash(hash))


def recent(floor: int, hash: str | None, *positions: int, most: int = 100) -> RecentCommits:
    """The commit at a position has the position as its hash."""
    commits = RecentCommits(Position(floor), None if hash is None else CommitHash(hash), most=most)
    for position in positions:
        commits.add(Position(position), CommitHash(str(position)))
    return commits


def test_an_id_is_confirmed_by_the_hash_of_its_commit() -> None:
    commits = recent(5, "5", 6, 9)
    assert commits.confirm(id_of(5, "5")) is True
    assert commits.confirm(id_of(9, "9", 3)) is True
    assert commits.confirm(id_of(9, "6", 3)) is False
    assert commits.confirm(id_of(5, "6")) is False


def test_no_id_names_a_hole() -> None:
    assert recent(5, "5", 6, 9).confirm(id_of(8, "9")) is False


def test_nothing_is_said_against_an_id_without_a_hash() -> None:
    commits = recent(5, "5", 6)
    assert all(commits.confirm(id_of(position, None)) for position in (1, 5, 6))


def test_what_came_before_is_not_known_here() -> None:
    assert recent(5, "5", 6).confirm(id_of(4, "4")) is None
    assert recent(5, None, 6).confirm(id_of(5, "5")) is None


def test_the_oldest_are_forgotten_and_never_taken_for_holes() -> None:
    commits = recent(0, None, *range(1, 1001), most=80)
    answers = [commits.confirm(id_of(position, str(position))) for position in range(1001)]
    known = answers.count(True)
    assert 70 <= known <= 80
    assert answers == [None] * (1001 - known) + [True] * known


def test_the_parts_of_a_commit_are_one() -> None:
    commits = recent(5, "5", 6, 6, 6, most=2)
    assert commits.confirm(id_of(6, "6", 1)) is True
