"""The pipelines of one process: opened and closed as tables are watched in lanes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from cdc.core.errors import InvalidInput
from cdc.core.log.lane import FLAGS, Lane, WatchedTable
from cdc.core.subscription.selection import Selections
from cdc.errors import DatabaseUnavailable
from cdc.fanout.subscriber import CloseReason, Subscriber
from cdc.node.pipeline import Pipeline
from cdc.node.pipelines import Pipelines
from tests.cdc.fanout.memory import EVERYTHING, JSON_LINES, MemorySink, select
from tests.cdc.node.memory import MemoryDirectory, MemoryUpstream
from tests.fixtures.server import until
from tests.fixtures.settings import settings_with

ORDERS, ITEMS = Lane("orders", 1, "commit"), Lane("items", 2, "commit")


def table(name: str, lane: Lane) -> WatchedTable:
    return WatchedTable("public", name, lane)


@asynccontextmanager
async def running(
    directory: MemoryDirectory | None, upstream: MemoryUpstream | None = None
) -> AsyncIterator[Pipelines]:
    upstream = MemoryUpstream() if upstream is None else upstream
    flags = Pipeline(settings_with(), upstream)
    pipelines = Pipelines(flags, partial(Pipeline, settings_with(), upstream, tables=flags.tables), directory)
    async with pipelines.running():
        yield pipelines


def joined(pipeline: Pipeline, selections: Selections) -> tuple[Subscriber, MemorySink]:
    sink = MemorySink()
    subscriber = sink.subscriber = Subscriber(sink, pipeline.hub, JSON_LINES, selections)
    pipeline.join(subscriber)
    return subscriber, sink


async def test_a_source_without_lanes_has_the_flags_alone() -> None:
    async with running(None) as pipelines:
        assert await pipelines.loaded(5)
        await pipelines.look()
        assert set(pipelines.pipelines) == {"flags"}
        assert pipelines.of(EVERYTHING) is pipelines.flags


async def test_no_client_is_admitted_before_the_lanes_are_known() -> None:
    directory = MemoryDirectory()
    directory.failure = DatabaseUnavailable("the database is away")
    async with running(directory) as pipelines:
        assert not await pipelines.loaded(0.05)
        assert pipelines.flags.is_loaded
        directory.failure = None
        assert await pipelines.loaded(5)
    assert directory.is_closed


async def test_an_unexpected_error_does_not_end_the_search_for_lanes(caplog: pytest.LogCaptureFixture) -> None:
    directory = MemoryDirectory()
    directory.failure = RuntimeError("unforeseen")
    async with running(directory) as pipelines:
        await until(lambda: directory.asked >= 2, "another look", deadline_s=5)
        directory.failure = None
        assert await pipelines.loaded(5)
    assert "lanes_failed" in {record.__dict__.get("action") for record in caplog.records}


async def test_a_subscription_goes_to_the_lane_of_its_tables() -> None:
    upstream = MemoryUpstream()
    async with running(MemoryDirectory(table("orders", ORDERS), table("items", ITEMS)), upstream) as pipelines:
        await pipelines.loaded(5)
        assert set(pipelines.pipelines) == {"flags", "orders", "items"}
        assert pipelines.of(select(tables=["orders"])) is pipelines.pipelines["orders"]
        assert pipelines.of(select(tables=["unknown"])) is pipelines.flags
        assert pipelines.of(EVERYTHING) is pipelines.flags
        with pytest.raises(InvalidInput) as refused:
            pipelines.of(select(tables=["orders", "items"]))
        assert refused.value.code == "several_lanes"
        await until(lambda: all(each.is_loaded for each in pipelines.pipelines.values()), "the lanes", deadline_s=5)
    assert not any(follower.is_running for follower in upstream.followers.values())


async def test_unknown_tables_are_looked_up_at_once_and_known_ones_are_not() -> None:
    directory = MemoryDirectory(table("orders", ORDERS))
    async with running(directory) as pipelines:
        await pipelines.loaded(5)
        asked = directory.asked
        await pipelines.learn_of(["orders", "public.orders", "flags", "tenant.segments"])
        assert directory.asked == asked
        directory.tables = (*directory.tables, table("items", ITEMS))
        await pipelines.learn_of(["items"])
        assert directory.asked == asked + 1
        assert "items" in pipelines.pipelines


async def test_all_who_ask_for_unknown_tables_at_once_share_one_look() -> None:
    directory = MemoryDirectory()
    async with running(directory) as pipelines:
        await pipelines.loaded(5)
        asked = directory.asked
        directory.tables = (table("orders", ORDERS),)
        await asyncio.gather(*(pipelines.learn_of(["orders"]) for _ in range(50)))
        # The regular look may come in between.
        assert asked < directory.asked <= asked + 2
        assert pipelines.watches("orders")
        directory.failure = DatabaseUnavailable("the database is away")
        with pytest.raises(DatabaseUnavailable):
            await pipelines.look_again()


async def test_when_a_table_moves_only_its_subscribers_are_disconnected() -> None:
    directory = MemoryDirectory(table("orders", ORDERS), table("items", ORDERS))
    async with running(directory) as pipelines:
        await pipelines.loaded(5)
        lane = pipelines.pipelines["orders"]
        moved, moved_sink = joined(lane, select(tables=["items"]))
        split, split_sink = joined(lane, select(tables=["items", "orders"]))
        stays, stays_sink = joined(lane, select(tables=["orders"]))
        idle, idle_sink = joined(pipelines.flags, Selections())
        directory.tables = (table("orders", ORDERS), table("items", ITEMS))
        await pipelines.look()
        expected = CloseReason.RESTARTING, "a selected table has moved to another lane; reconnect"
        assert moved_sink.closed == split_sink.closed == expected
        assert (stays_sink.closed, idle_sink.closed) == (None, None)
        assert [each.is_closed for each in (moved, split, stays, idle)] == [True, True, False, False]


async def test_a_lane_that_no_table_is_left_in_is_closed_with_its_subscribers() -> None:
    directory = MemoryDirectory(table("orders", ORDERS))
    upstream = MemoryUpstream()
    async with running(directory, upstream) as pipelines:
        await pipelines.loaded(5)
        await until(lambda: pipelines.pipelines["orders"].is_loaded, "the lane", deadline_s=5)
        _, sink = joined(pipelines.pipelines["orders"], Selections())
        directory.tables = ()
        await pipelines.look()
        assert set(pipelines.pipelines) == {"flags"}
        assert sink.closed is not None
        assert not upstream.followers[ORDERS].is_running
        assert upstream.logs[ORDERS].is_closed
        assert upstream.followers[FLAGS].is_running


async def test_all_lanes_stop_answering_when_the_server_shuts_down() -> None:
    async with running(MemoryDirectory(table("orders", ORDERS))) as pipelines:
        await pipelines.loaded(5)
        pipelines.stop_answering()
        assert all(each.changes._stopping.is_set() for each in pipelines.pipelines.values())
        await asyncio.sleep(0)
