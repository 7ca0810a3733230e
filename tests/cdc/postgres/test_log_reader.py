"""What a listener asks of the log in PostgreSQL beside the port `Log`, whose contract is in tests/cdc/source."""

from collections.abc import AsyncIterator, Iterator

import pytest

from cdc.core.log.change import Commit
from cdc.core.log.continuity import Applied, Break, CommitFingerprint
from cdc.core.log.position import LogId, Position
from cdc.errors import SchemaMissing
from cdc.postgres.log_reader import LogReader
from tests.fixtures.flags import Writer

COUNT = 7


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[LogReader]:
    reader = LogReader(database_url)
    yield reader
    await reader.close()


@pytest.fixture
def rows(database_url: str) -> Iterator[Writer]:
    """Writes flags, and rows of the watched table `n`."""
    with Writer(database_url) as writer:
        writer.run("create table n (id integer primary key)", "select flagent_cdc.watch('n')")
        yield writer


def ids(commit: Commit) -> list[int]:
    return [change.after.row["id"] for change in commit.changes if change.after is not None]


async def test_a_large_commit_of_watched_rows_comes_in_parts(log: LogReader, rows: Writer) -> None:
    begin = await log.newest()
    rows.run(f"insert into n select generate_series(1, {COUNT})")
    (first,) = await log.commits_after(begin, 3, in_parts=True)
    assert (ids(first), first.begin, first.ends) == ([1, 2, 3], 0, False)
    second = await log.next_part(first.position, 3, 3, 3)
    assert second is not None
    assert (ids(second), second.begin, second.ends) == ([4, 5, 6], 3, False)
    last = await log.next_part(first.position, 6, 6, 3)
    assert last is not None
    assert (ids(last), last.begin, last.ends) == ([7], 6, True)
    assert await log.next_part(first.position, COUNT, COUNT, 3) is None


async def test_a_commit_that_changes_flags_comes_whole(log: LogReader, rows: Writer) -> None:
    begin = await log.newest()
    rows.run(
        f"insert into n select generate_series(1, {COUNT})",
        "insert into flags (key, description, created_at) values ('a', '', now())",
    )
    (whole,) = await log.commits_after(begin, 3, in_parts=True)
    assert (len(whole.changes), whole.ends) == (COUNT + 1, True)


async def test_a_commit_is_known_by_its_fingerprint(log: LogReader, rows: Writer) -> None:
    begin = await log.newest()
    rows.flag("a")
    (commit,) = await log.commits_after(begin, 10)
    assert await log.stamp(commit.position) == CommitFingerprint.of(commit)
    assert await log.stamp(Position(commit.position + 1)) is None


async def test_why_the_log_does_not_continue_what_was_applied(log: LogReader, rows: Writer) -> None:
    rows.flag("a")
    old = await log.state()
    here = Applied(old.log, old.newest, old.stamp)
    forged = CommitFingerprint(old.newest, "2026-01-01T00:00:00.000000Z", 1)
    assert await log.why_broken(here, old) is None
    rows.flag("b")
    new = await log.state()
    for state in (old, new):
        assert await log.why_broken(here, state) is None
        assert await log.why_broken(Applied(old.log, old.newest, forged), state) is Break.LOG_REPLACED
        assert await log.why_broken(Applied(LogId("other1"), old.newest, old.stamp), state) is Break.LOG_REPLACED
    assert await log.why_broken(Applied(old.log, Position(new.newest + 1), None), new) is Break.LOG_REPLACED


async def test_what_else_it_knows_of_the_database(log: LogReader, database_url: str, rows: Writer) -> None:
    assert (await log.database()) in database_url
    assert await log.attached_schemas() == ["public"]
    assert await log.pending_schemas() == []
    assert not await log.is_pooled()
    assert not await log.succeeds(LogId("other1"))


async def test_flags_are_not_loaded_before_the_installation_is_complete(log: LogReader, rows: Writer) -> None:
    """Between two steps of migrate, followers would lose all flags for a moment."""
    rows.flag("a")
    rows.run("select flagent_cdc.detach('public')", "delete from flagent_cdc.attachment")
    for load in (log.load, log.bootstrap):
        with pytest.raises(SchemaMissing, match="flagent-cdc is being installed"):
            await load()


async def test_behind_a_pool_of_transactions_it_says_so(pooled_url: str) -> None:
    reader = LogReader(pooled_url)
    found = [await reader.is_pooled() for _ in range(3)]
    await reader.close()
    assert any(found)
