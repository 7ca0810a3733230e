"""The past, as the log gives it back: on a real log, through a real hub."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cdc.admin.installation import migrate
from cdc.core.flags.catalog import Catalog
from cdc.core.freshness import Freshness
from cdc.core.log.position import EventId, LogId, Position
from cdc.core.subscription.resume import ResyncReason
from cdc.database.queries import flagent_tables
from cdc.fanout.history import History
from cdc.fanout.hub import Hub
from cdc.fanout.limits import HubLimits
from cdc.history.replay import ReplayReader
from cdc.postgres.log_reader import LogReader
from tests.fixtures.flags import Writer


@asynccontextmanager
async def hub_on(url: str, *, limit_changes: int = 1000) -> AsyncIterator[tuple[Hub, ReplayReader, LogReader]]:
    """A hub that has just been loaded, so that nothing of the past is in its memory."""
    store = LogReader(url)
    try:
        catalog: Catalog = (await store.bootstrap()).catalog()
        hub = Hub(catalog, HubLimits(), lambda: Freshness(True, 0))
        yield hub, ReplayReader(store, hub, limit_changes), store
    finally:
        await store.close()


def told(found: History | ResyncReason) -> list[tuple[str, str]]:
    assert isinstance(found, History), found
    return [
        (str(each.event.type), each.event.flag["description"] if each.event.flag else "")
        for each in found.events[found.first :]
    ]


def after(hub: Hub, position: int, index: int | None = None) -> EventId:
    return EventId(Position(position), index, hub.catalog.log)


async def test_every_event_has_the_flag_as_it_was(database_url: str) -> None:
    with Writer(database_url) as writer:
        begin = await position(database_url)
        flag = writer.flag("a", description="v1")
        writer.run(f"update flags set description = 'v2' where id = {flag}")
        writer.run(f"update flags set description = 'v3', enabled = true where id = {flag}")
        writer.run(f"delete from flags where id = {flag}")
        writer.flag("a", description="again")
    async with hub_on(database_url) as (hub, historian, _):
        assert told(await historian(after(hub, begin))) == [
            ("flag_created", "v1"),
            ("flag_updated", "v2"),
            ("flag_updated", "v3"),
            ("flag_enabled", "v3"),
            ("flag_deleted", ""),
            ("flag_created", "again"),
        ]
        # The catalog itself has stayed in the present.
        assert [flag["description"] for _, flag in hub.catalog.flags()] == ["again"]


async def test_the_rest_of_a_commit_comes_after_an_id_within_it(database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.run(
            "insert into flags (key, description, created_at)"
            " values ('a', '1', now()), ('b', '2', now()), ('c', '3', now())"
        )
        newest = await position(database_url)
    async with hub_on(database_url) as (hub, historian, _):
        assert told(await historian(after(hub, newest, 0))) == [("flag_created", "2"), ("flag_created", "3")]
        assert told(await historian(after(hub, newest))) == []


async def test_truncated_tables_come_back_with_their_rows(database_url: str) -> None:
    with Writer(database_url) as writer:
        flag = writer.flag("a", description="kept")
        writer.tag(flag, "t")
        begin = await position(database_url)
        writer.run("truncate flags cascade")
    async with hub_on(database_url) as (hub, historian, _):
        assert told(await historian(after(hub, begin))) == [("flag_deleted", "")]


async def test_many_that_come_back_share_one_reconstruction(database_url: str) -> None:
    with Writer(database_url) as writer:
        begin = await position(database_url)
        for number in range(20):
            writer.flag(f"f{number}", description=str(number))
    async with hub_on(database_url) as (hub, historian, store):
        reads = 0
        read = store.commits_before

        async def counted(*arguments: int) -> object:
            nonlocal reads
            reads += 1
            return await read(*arguments)  # type: ignore[arg-type]

        store.commits_before = counted  # type: ignore[method-assign, assignment]
        found = await asyncio.gather(*[historian(after(hub, begin + 1 + number % 10)) for number in range(50)])
        for number, one in enumerate(found):
            assert told(one) == [("flag_created", str(n)) for n in range(1 + number % 10, 20)]
        assert reads == 1
        # One from further back needs a longer one, which then serves all.
        await historian(after(hub, begin))
        await historian(after(hub, begin + 5))
        assert reads == 2


async def test_too_far_back_is_a_resync(database_url: str) -> None:
    with Writer(database_url) as writer:
        begin = await position(database_url)
        for number in range(30):
            writer.flag(f"f{number}")
    async with hub_on(database_url, limit_changes=20) as (hub, historian, _):
        assert await historian(after(hub, begin)) is ResyncReason.OVERFLOW
        assert len(told(await historian(after(hub, begin + 15)))) == 15


async def test_behind_an_attach_nothing_is_known(database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("a")
        begin = await position(database_url)
        writer.run("create schema tenant", "set local search_path = tenant", flagent_tables())
        await asyncio.to_thread(migrate, database_url, ["tenant"])
        attached = await position(database_url)
        writer.flag("b", description="after")
    async with hub_on(database_url) as (hub, historian, _):
        assert await historian(after(hub, begin)) is ResyncReason.PRUNED
        assert told(await historian(after(hub, attached))) == [("flag_created", "after")]


async def test_an_id_of_another_log_or_of_an_emptied_one_is_a_resync(database_url: str) -> None:
    with Writer(database_url) as writer:
        begin = await position(database_url)
        writer.flag("a")
        async with hub_on(database_url) as (hub, historian, _):
            other = EventId(Position(begin), None, LogId("zzzzzz"))
            assert await historian(other) is ResyncReason.LOG_REPLACED
            writer.run("delete from flagent_cdc.commit_log", "delete from flagent_cdc.change_log")
            assert await historian(after(hub, begin)) is ResyncReason.PRUNED


async def test_a_database_that_is_away_is_a_resync_too(database_url: str) -> None:
    async with hub_on(database_url) as (hub, _, _):
        nowhere = LogReader("postgresql://127.0.0.1:1/nothing")
        assert await ReplayReader(nowhere, hub, 10)(after(hub, 0)) is ResyncReason.OVERFLOW


@pytest.mark.parametrize("page", [1, 3])
async def test_pages_join_without_gap(database_url: str, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.history.rewind._PAGE_CHANGES", page)
    with Writer(database_url) as writer:
        begin = await position(database_url)
        for number in range(8):
            writer.flag(f"f{number}", description=str(number))
    async with hub_on(database_url) as (hub, historian, _):
        assert [text for _, text in told(await historian(after(hub, begin)))] == [str(n) for n in range(8)]


async def position(url: str) -> int:
    store = LogReader(url)
    try:
        return (await store.state()).newest
    finally:
        await store.close()
