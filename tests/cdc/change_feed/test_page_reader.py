"""Pages of the change feed, and waiting for the next one; on the source in memory."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from cdc.change_feed.page_reader import ChangeFeed
from cdc.core.change_feed.cursor import Cursor
from cdc.core.change_feed.logged_change import ChangePage
from cdc.core.log.position import LogId, Position
from cdc.core.subscription.grant import EVERYTHING, Grant
from cdc.errors import OutOfReach, TooBusy
from cdc.source.memory import MemoryLog
from tests.fixtures.memory import MemoryWriter
from tests.fixtures.replica import Recorder, following
from tests.fixtures.server import until

BEGIN = Cursor(Position(0), None, LogId("memory"))


class CountedLog(MemoryLog):
    """Counts how often it is asked for a page, and answers not at once."""

    def __init__(self) -> None:
        super().__init__()
        self.pages = 0

    async def changes_after(
        self, after: Cursor | None, *, limit: int, scan: int, tables: Sequence[str] | None
    ) -> ChangePage:
        self.pages += 1
        await asyncio.sleep(0.01)
        return await super().changes_after(after, limit=limit, scan=scan, tables=tables)


@asynccontextmanager
async def feeding() -> AsyncIterator[tuple[MemoryWriter, ChangeFeed, CountedLog]]:
    log, replica = CountedLog(), Recorder()
    feed = ChangeFeed(log, replica)
    async with following(log, replica):
        yield MemoryWriter(log), feed, log
    await feed.close()


async def test_a_page_has_the_changes_after_the_cursor_in_order() -> None:
    async with feeding() as (writer, feed, _):
        flag = writer.flag("a")
        writer.row("orders", {"id": 1})
        writer.toggle(flag)
        page = await feed.page(BEGIN, limit=2, grant=EVERYTHING)
        assert [(change.position, change.table) for change in page.changes] == [(1, "flags"), (2, "orders")]
        assert not page.is_open
        page = await feed.page(page.next, limit=2, grant=EVERYTHING)
        assert [change.position for change in page.changes] == [3]
        assert page.is_open


async def test_a_page_of_tables_and_of_what_the_grant_shows_moves_on_past_the_rest() -> None:
    async with feeding() as (writer, feed, _):
        writer.flag("a")
        writer.row("orders", {"id": 1})
        writer.row("people", {"id": 1})
        page = await feed.page(BEGIN, limit=10, tables=("orders",), grant=EVERYTHING)
        assert [change.table for change in page.changes] == ["orders"]
        assert page.next.position == 3
        page = await feed.page(BEGIN, limit=10, grant=Grant(tables=frozenset({"public.people"})))
        assert [change.table for change in page.changes] == ["people"]


async def test_a_reader_at_the_end_waits_for_the_next_change_without_a_query() -> None:
    async with feeding() as (writer, feed, log):
        waiting = asyncio.create_task(feed.page(BEGIN, limit=10, grant=EVERYTHING, wait_s=30))
        await until(lambda: feed._waiting == 1, "the wait")
        assert log.pages == 1
        await asyncio.sleep(0.05)
        assert log.pages == 1
        writer.flag("a")
        assert len((await waiting).changes) == 1


async def test_where_nothing_comes_in_time_the_page_is_empty() -> None:
    async with feeding() as (_, feed, _log):
        page = await feed.page(BEGIN, limit=10, grant=EVERYTHING, wait_s=0.05)
        assert page.changes == ()
        assert page.next == BEGIN


async def test_readers_with_the_same_question_share_one_query() -> None:
    async with feeding() as (writer, feed, log):
        writer.flag("a")
        pages = await asyncio.gather(*[feed.page(BEGIN, limit=10, grant=EVERYTHING) for _ in range(20)])
        assert [len(page.changes) for page in pages] == [1] * 20
        assert log.pages == 1
        # One that goes away leaves the others their answer.
        first = asyncio.create_task(feed.page(BEGIN, limit=10, grant=EVERYTHING))
        second = asyncio.create_task(feed.page(BEGIN, limit=10, grant=EVERYTHING))
        await asyncio.sleep(0)
        first.cancel()
        assert len((await second).changes) == 1


async def test_a_server_that_shuts_down_answers_those_who_wait() -> None:
    async with feeding() as (_, feed, _log):
        waiting = asyncio.create_task(feed.page(BEGIN, limit=10, grant=EVERYTHING, wait_s=30))
        await until(lambda: feed._waiting == 1, "the wait")
        feed.stop_waiting()
        assert (await asyncio.wait_for(waiting, 5)).changes == ()


async def test_only_so_many_readers_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.change_feed.page_reader._MAX_WAITING", 1)
    async with feeding() as (_, feed, _log):
        waiting = asyncio.create_task(feed.page(BEGIN, limit=10, grant=EVERYTHING, wait_s=30))
        await until(lambda: feed._waiting == 1, "the wait")
        with pytest.raises(TooBusy, match="1 readers are waiting"):
            await feed.page(BEGIN, limit=9, grant=EVERYTHING, wait_s=30)
        feed.stop_waiting()
        await waiting


async def test_without_a_history_there_are_no_pages() -> None:
    feed = ChangeFeed(None, Recorder())
    with pytest.raises(OutOfReach, match="the history of this lane is not available on this node") as caught:
        await feed.page(None, limit=10, grant=EVERYTHING)
    assert caught.value.code == "no_past"
    await feed.close()
