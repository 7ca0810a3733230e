"""The past, as the log gives it back through a real hub: in memory, and on PostgreSQL where SQL is the point."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cdc.admin.installation import migrate
from cdc.core.freshness import Freshness
from cdc.core.log.change import Commit
from cdc.core.log.position import EventId, LogId, Position
from cdc.core.subscription.resume import ResyncReason
from cdc.database.queries import flagent_tables
from cdc.errors import DatabaseUnavailable
from cdc.fanout.history import History
from cdc.fanout.hub import Hub
from cdc.fanout.limits import HubLimits
from cdc.history.replay import ReplayReader
from cdc.postgres.log_reader import LogReader
from cdc.source.log import Log
from cdc.source.memory import MemoryLog
from tests.fixtures.flags import Writer
from tests.fixtures.memory import MemoryWriter


async def hub_on(log: Log, *, limit_changes: int = 1000) -> tuple[Hub, ReplayReader]:
    """A hub that has just been loaded, so that nothing of the past is in its memory."""
    hub = Hub((await log.bootstrap()).catalog(), HubLimits(), lambda: Freshness(True, 0))
    return hub, ReplayReader(log, hub, limit_changes)


@asynccontextmanager
async def hub_on_postgres(url: str) -> AsyncIterator[tuple[Hub, ReplayReader]]:
    reader = LogReader(url)
    try:
        yield await hub_on(reader)
    finally:
        await reader.close()


def replayed(found: History | ResyncReason) -> list[tuple[str, str]]:
    assert isinstance(found, History), found
    return [
        (str(each.event.type), each.event.flag["description"] if each.event.flag else "")
        for each in found.events[found.first :]
    ]


def after(hub: Hub, position: int, index: int | None = None) -> EventId:
    return EventId(Position(position), index, hub.catalog.log)


def numbered(log: MemoryLog, count: int) -> None:
    """Create flags in commits of their own, with their numbers as descriptions."""
    writer = MemoryWriter(log)
    for number in range(count):
        writer.flag(f"f{number}", description=str(number))


class CountedLog(MemoryLog):
    """Counts how often it is read backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    async def commits_before(self, position: Position, down_to: Position, limit: int) -> list[Commit]:
        self.reads += 1
        return await super().commits_before(position, down_to, limit)


async def test_every_event_has_the_flag_as_it_was() -> None:
    writer = MemoryWriter(MemoryLog())
    flag = writer.flag("a", description="v1")
    writer.update(flag, description="v2")
    writer.update(flag, description="v3", enabled=True)
    writer.delete(flag)
    writer.flag("a", description="again")
    hub, replay = await hub_on(writer.log)
    assert replayed(await replay(after(hub, 0))) == [
        ("flag_created", "v1"),
        ("flag_updated", "v2"),
        ("flag_updated", "v3"),
        ("flag_enabled", "v3"),
        ("flag_deleted", ""),
        ("flag_created", "again"),
    ]
    # The catalog itself has stayed in the present.
    assert [flag["description"] for _, flag in hub.catalog.flags()] == ["again"]


async def test_the_events_have_the_ids_of_their_commits() -> None:
    writer = MemoryWriter(MemoryLog())
    flag = writer.flag("a")
    writer.log.skip()
    writer.update(flag, description="v2", enabled=True)
    hub, replay = await hub_on(writer.log)
    found = await replay(after(hub, 0))
    assert isinstance(found, History)
    hashes = [commit.hash for commit in await writer.log.commits_after(Position(0), 10)]
    assert [str(each.event_id) for each in found.events] == [
        f"1-0@memory.{hashes[0]}",
        f"3-0@memory.{hashes[1]}",
        f"3-1@memory.{hashes[1]}",
    ]
    assert found.until == after(hub, 3)


async def test_the_rest_of_a_commit_comes_after_an_id_within_it() -> None:
    writer = MemoryWriter(MemoryLog())
    for number, key in enumerate(("a", "b", "c"), 1):
        writer.tables.flag(key, description=str(number))
    newest = writer.commit()
    hub, replay = await hub_on(writer.log)
    assert replayed(await replay(after(hub, newest, 0))) == [("flag_created", "2"), ("flag_created", "3")]
    assert replayed(await replay(after(hub, newest))) == []


async def test_many_that_come_back_share_one_reconstruction() -> None:
    log = CountedLog()
    numbered(log, 20)
    hub, replay = await hub_on(log)
    found = await asyncio.gather(*[replay(after(hub, 1 + number % 10)) for number in range(50)])
    for number, one in enumerate(found):
        assert replayed(one) == [("flag_created", str(n)) for n in range(1 + number % 10, 20)]
    assert log.reads == 1
    # One from further back needs a longer one, which then serves all.
    await replay(after(hub, 0))
    await replay(after(hub, 5))
    assert log.reads == 2


async def test_a_reconstruction_is_dropped_after_a_while_without_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.history.replay._KEEP_S", 0.0)
    log = CountedLog()
    numbered(log, 3)
    hub, replay = await hub_on(log)
    for _ in range(2):
        assert len(replayed(await replay(after(hub, 0)))) == 3
        await asyncio.sleep(0.01)
    assert log.reads == 2


async def test_too_far_back_is_a_resync() -> None:
    log = MemoryLog()
    numbered(log, 30)
    hub, replay = await hub_on(log, limit_changes=20)
    assert await replay(after(hub, 0)) is ResyncReason.OVERFLOW
    assert len(replayed(await replay(after(hub, 15)))) == 15


async def test_an_id_of_another_log_or_of_an_emptied_one_is_a_resync() -> None:
    log = MemoryLog()
    numbered(log, 2)
    hub, replay = await hub_on(log)
    assert await replay(EventId(Position(1), None, LogId("zzzzzz"))) is ResyncReason.LOG_REPLACED
    log.prune(0)
    assert await replay(after(hub, 1)) is ResyncReason.PRUNED


async def test_an_id_of_a_past_that_was_rewritten_is_a_resync_also_from_what_is_kept() -> None:
    log = MemoryLog()
    numbered(log, 4)
    lost = [commit.hash for commit in await log.commits_after(Position(0), 10)]
    log.rewrite(keep=2)
    numbered(log, 4)
    hub, replay = await hub_on(log)
    for index in (None, 0):
        assert await replay(EventId(Position(4), index, hub.catalog.log, lost[3])) is ResyncReason.LOG_REPLACED
    assert len(replayed(await replay(EventId(Position(2), None, hub.catalog.log, lost[1])))) == 4
    # Now from what was reconstructed just now.
    assert await replay(EventId(Position(3), None, hub.catalog.log, lost[2])) is ResyncReason.LOG_REPLACED


async def test_what_is_kept_of_one_past_is_not_replayed_for_another_one() -> None:
    log = MemoryLog()
    numbered(log, 4)
    hub, replay = await hub_on(log)
    assert len(replayed(await replay(after(hub, 1)))) == 3
    log.rewrite(keep=1)
    writer = MemoryWriter(log)
    for number in range(3):
        writer.flag(f"after{number}", description=f"after {number}")
    hub.replace((await log.bootstrap()).catalog(), ResyncReason.LOG_REPLACED)
    found = replayed(await replay(after(hub, 1)))
    assert [description for _, description in found] == ["after 0", "after 1", "after 2"]


async def test_an_id_within_the_oldest_commit_that_was_pruned_is_a_resync() -> None:
    log = MemoryLog()
    numbered(log, 3)
    hub, replay = await hub_on(log)
    log.prune(2)
    assert len(replayed(await replay(after(hub, 1)))) == 2
    assert await replay(after(hub, 1, 0)) is ResyncReason.PRUNED


async def test_a_log_that_was_replaced_since_is_a_resync() -> None:
    log = MemoryLog()
    numbered(log, 1)
    hub, replay = await hub_on(log)
    log.replace_log("another")
    assert await replay(after(hub, 0)) is ResyncReason.LOG_REPLACED


async def test_a_database_that_is_away_is_a_resync_too() -> None:
    log = MemoryLog()
    hub, replay = await hub_on(log)
    log.error = DatabaseUnavailable("away")
    assert await replay(after(hub, 0)) is ResyncReason.OVERFLOW


@pytest.mark.parametrize("page", [1, 3])
async def test_pages_join_without_gap(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.history.rewind._PAGE_CHANGES", page)
    log = MemoryLog()
    numbered(log, 8)
    hub, replay = await hub_on(log)
    assert [text for _, text in replayed(await replay(after(hub, 0)))] == [str(n) for n in range(8)]


# -- what the triggers write -------------------------------------------------------------------------------------------


async def position(url: str) -> int:
    reader = LogReader(url)
    try:
        return await reader.newest()
    finally:
        await reader.close()


async def test_updates_and_deletes_of_a_database_are_replayed_as_they_were(database_url: str) -> None:
    with Writer(database_url) as writer:
        begin = await position(database_url)
        flag = writer.flag("a", description="v1")
        writer.run(f"update flags set description = 'v2' where id = {flag}")
        writer.run(f"delete from flags where id = {flag}")
        writer.flag("a", description="again")
    async with hub_on_postgres(database_url) as (hub, replay):
        assert replayed(await replay(after(hub, begin))) == [
            ("flag_created", "v1"),
            ("flag_updated", "v2"),
            ("flag_deleted", ""),
            ("flag_created", "again"),
        ]


async def test_truncated_tables_come_back_with_their_rows(database_url: str) -> None:
    with Writer(database_url) as writer:
        flag = writer.flag("a", description="kept")
        writer.tag(flag, "t")
        begin = await position(database_url)
        writer.run("truncate flags cascade")
    async with hub_on_postgres(database_url) as (hub, replay):
        assert replayed(await replay(after(hub, begin))) == [("flag_deleted", "")]


async def test_behind_an_attach_nothing_is_known(database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("a")
        begin = await position(database_url)
        writer.run("create schema tenant", "set local search_path = tenant", flagent_tables())
        await asyncio.to_thread(migrate, database_url, ["tenant"])
        attached = await position(database_url)
        writer.flag("b", description="after")
    async with hub_on_postgres(database_url) as (hub, replay):
        assert await replay(after(hub, begin)) is ResyncReason.PRUNED
        assert replayed(await replay(after(hub, attached))) == [("flag_created", "after")]
