"""The past of a log in PostgreSQL beside the port `LogHistory`, whose contract is in tests/cdc/source."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest

from cdc.core.change_feed.cursor import Cursor
from cdc.core.log.lane import Lane
from cdc.core.log.position import Position
from cdc.errors import OutOfReach, SchemaMismatch
from cdc.postgres.lane_reader import LaneReader
from cdc.postgres.log_history import PostgresLogHistory
from tests.fixtures.flags import Writer


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    with Writer(database_url) as writer:
        yield writer


@pytest.fixture
async def history(database_url: str) -> AsyncIterator[PostgresLogHistory]:
    history = PostgresLogHistory(database_url)
    yield history
    await history.close()


async def watch_orders(url: str, writer: Writer, order: str) -> Lane:
    """A watched table `orders` in a lane of that name."""
    writer.run(
        "create table orders (id integer primary key)",
        f"select flagent_cdc.watch('orders', lane => 'orders', lane_order => '{order}')",
    )
    directory = LaneReader(url)
    (watched,) = await directory.watched_lanes()
    await directory.close()
    return watched.lane


@pytest.mark.parametrize("order", ["commit", "read"])
async def test_a_lane_has_a_past_apart_from_that_of_the_flags(
    database_url: str, writer: Writer, history: PostgresLogHistory, order: str
) -> None:
    lane = await watch_orders(database_url, writer, order)
    own = PostgresLogHistory(database_url, lane)
    flags = await history.reach()
    begin = await own.reach()
    assert begin.log != flags.log
    writer.run("insert into orders values (1), (2)")
    writer.flag("a")
    page = await own.changes_after(None, limit=10, scan=10, tables=None)
    assert [(change.table, change.after) for change in page.changes] == [
        ("orders", '{"id":1}'),
        ("orders", '{"id":2}'),
    ]
    assert all(change.has_sequence == (order == "read") for change in page.changes)
    assert page.next.log == begin.log
    assert (await history.reach()).newest == flags.newest + 1
    await own.close()


async def test_in_a_lane_ordered_when_read_an_older_transaction_holds_back_the_later_ones(
    database_url: str, writer: Writer
) -> None:
    own = PostgresLogHistory(database_url, await watch_orders(database_url, writer, "read"))
    with Writer(database_url) as slow:
        with slow.connection.transaction():
            slow.connection.execute("insert into orders values (1)")
            writer.run("insert into orders values (2)")
            held = await own.reach()
            assert (held.oldest, held.newest) == (None, 0)
            assert held.seen is not None
            assert (await own.changes_after(None, limit=10, scan=10, tables=None)).changes == ()
        page = await own.changes_after(None, limit=10, scan=10, tables=None)
    assert [change.after for change in page.changes] == ['{"id":1}', '{"id":2}']
    assert (await own.reach()).seen is None
    await own.close()


async def test_a_lane_that_is_no_longer_there_has_no_range(database_url: str) -> None:
    gone = PostgresLogHistory(database_url, Lane("gone", 99, "read"))
    with pytest.raises(SchemaMismatch, match="lane gone no longer exists"):
        await gone.reach()
    await gone.close()


async def test_a_page_is_bounded_in_bytes_but_never_empty(
    history: PostgresLogHistory, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.postgres.log_history._PAGE_BYTES", 3000)
    begin = await history.reach()
    for key in ("a", "b", "c"):
        writer.flag(key, description="x" * 2000)
    writer.flag("large", description="x" * 9000)
    after = Cursor(begin.newest, None, begin.log)
    sizes = []
    while True:
        page = await history.changes_after(after, limit=100, scan=100, tables=None)
        sizes.append(len(page.changes))
        after = page.next
        if page.is_open:
            break
    assert sum(sizes) == 4
    assert all(size in (1, 2) for size in sizes)
    assert len(sizes) > 2


async def test_a_commit_whose_changes_are_gone_is_out_of_reach(history: PostgresLogHistory, writer: Writer) -> None:
    begin = await history.reach()
    writer.flag("a")
    writer.flag("b")
    writer.run("delete from flagent_cdc.change_log where after ->> 'key' = 'a'")
    newest = (await history.reach()).newest
    with pytest.raises(OutOfReach) as caught:
        await history.changes_after(Cursor(begin.newest, None, begin.log), limit=10, scan=10, tables=None)
    assert caught.value.code == "pruned"
    with pytest.raises(OutOfReach) as caught:
        await history.flag_commits_before(newest, begin.newest, 100, 100)
    assert caught.value.code == "pruned"


async def test_commits_beyond_the_most_changes_are_left_to_the_next_question(
    history: PostgresLogHistory, writer: Writer
) -> None:
    begin = (await history.reach()).newest
    writer.flag("a")
    writer.run(
        "insert into flags (key, description, created_at) select 'f' || n, '', now() from generate_series(1, 3) n"
    )
    writer.flag("z")
    newest = (await history.reach()).newest

    async def asked(position: int, most: int) -> list[tuple[int, int]] | None:
        found = await history.flag_commits_before(Position(position), begin, 100, most)
        return None if found is None else [(commit.position, len(commit.changes)) for commit in found]

    assert await asked(newest, 5) == [(newest, 1), (newest - 1, 3), (newest - 2, 1)]
    assert await asked(newest, 4) == [(newest, 1), (newest - 1, 3)]
    # Never a commit in part: where it alone is too large, there is no answer.
    assert await asked(newest, 2) == [(newest, 1)]
    assert await asked(newest - 1, 2) is None


async def test_the_size_is_that_of_the_tables_on_disk(history: PostgresLogHistory, writer: Writer) -> None:
    before = await history.size_bytes()
    writer.run(
        "insert into flags (key, description, created_at) select 'f' || n, repeat('x', 500), now()"
        " from generate_series(1, 500) n"
    )
    assert await history.size_bytes() > before + 250_000


async def test_times_are_those_of_the_database(history: PostgresLogHistory) -> None:
    found = await history.reach()
    assert found.now.endswith("Z")
    assert abs((datetime.fromisoformat(found.now) - datetime.now(UTC)).total_seconds()) < 60
