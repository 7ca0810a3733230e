"""One lane in one process: what it opens, registers and closes."""

import asyncio
from collections.abc import Collection

import pytest

from cdc.core.log.lane import FLAGS
from cdc.core.log.position import EventId, Position
from cdc.core.subscription.resume import ResyncReason
from cdc.fanout.history import History
from cdc.fanout.observer import NullObserver
from cdc.fanout.row_sender import RowsFailure, WriteRows
from cdc.fanout.subscriber import Subscriber
from cdc.node.pipeline import Pipeline
from tests.cdc.fanout.memory import EVERYTHING, JSON_LINES, SSE, MemorySink, keys, select
from tests.cdc.node.memory import MemoryUpstream
from tests.fixtures.server import until
from tests.fixtures.settings import settings_with


def subscriber_of(pipeline: Pipeline, **options: object) -> tuple[Subscriber, MemorySink]:
    sink = MemorySink()
    format = SSE if options.get("sse") else JSON_LINES
    selections = select(tables=["orders"]) if options.get("rows") else EVERYTHING
    subscriber = sink.subscriber = Subscriber(sink, pipeline.hub, format, selections)
    return subscriber, sink


async def test_it_is_loaded_when_its_source_has_been_read() -> None:
    upstream = MemoryUpstream()
    pipeline = Pipeline(settings_with(), upstream)
    assert not pipeline.is_loaded
    assert not await pipeline.loaded(0.01)
    async with pipeline.running():
        assert await pipeline.loaded(5)
        assert pipeline.is_ready
        upstream.followers[FLAGS].is_fresh = False
        assert (pipeline.is_loaded, pipeline.is_ready) == (True, False)
        upstream.followers[FLAGS].flag("a")
        assert await pipeline.newest_position() == pipeline.hub.catalog.position == 1


async def test_it_stops_and_closes_what_it_opened() -> None:
    upstream = MemoryUpstream()
    pipeline = Pipeline(settings_with(), upstream)
    async with pipeline.running():
        await pipeline.loaded(5)
        assert upstream.followers[FLAGS].is_running
    assert not upstream.followers[FLAGS].is_running
    assert upstream.logs[FLAGS].is_closed
    assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"listener", "keep-alive"})


@pytest.mark.parametrize("sse", [False, True], ids=["websocket", "sse"])
async def test_a_subscriber_gets_events_and_keep_alives_until_it_leaves(*, sse: bool) -> None:
    upstream = MemoryUpstream()
    pipeline = Pipeline(settings_with(), upstream)
    own, other = pipeline.websocket_keepalive, pipeline.sse_keepalive
    if sse:
        own, other = other, own
    async with pipeline.running():
        await pipeline.loaded(5)
        subscriber, sink = subscriber_of(pipeline, sse=sse)
        pipeline.join(subscriber, first=[b'{"type":"hello"}\n'])
        assert (pipeline.hub.subscriber_count, own.subscriber_count, other.subscriber_count) == (1, 1, 0)
        upstream.followers[FLAGS].flag("a")
        assert len(sink.writes) == 2
        pipeline.leave(subscriber)
        pipeline.leave(subscriber)
        upstream.followers[FLAGS].flag("b")
        assert len(sink.writes) == 2
        assert (pipeline.hub.subscriber_count, own.subscriber_count, other.subscriber_count) == (0, 0, 0)


async def test_a_subscriber_may_leave_before_it_has_joined() -> None:
    pipeline = Pipeline(settings_with(), MemoryUpstream())
    subscriber, _ = subscriber_of(pipeline)
    pipeline.leave(subscriber)
    assert subscriber.is_closed


async def test_a_subscriber_moves_from_one_pipeline_to_another() -> None:
    upstreams = MemoryUpstream(), MemoryUpstream()
    first, second = (Pipeline(settings_with(), upstream) for upstream in upstreams)
    async with first.running(), second.running():
        await first.loaded(5)
        await second.loaded(5)
        subscriber, sink = subscriber_of(first)
        first.join(subscriber)
        first.leave(subscriber)
        second.join(subscriber, snapshot=True)
        upstreams[0].followers[FLAGS].flag("of the first")
        upstreams[1].followers[FLAGS].flag("of the second")
        assert keys(sink) == ["of the second"]
        assert [message["type"] for message in sink.messages] == ["snapshot", "flag_created"]
        assert subscriber.delivery is second.hub
        assert first.websocket_keepalive.subscriber_count == 0
        assert second.websocket_keepalive.subscriber_count == 1


async def test_the_hub_asks_the_pipeline_for_history_and_rows() -> None:
    upstream = MemoryUpstream()
    pipeline = Pipeline(settings_with(pipeline_ring_events=8), upstream)
    asked: list[object] = []

    async def replay(after: EventId) -> History | ResyncReason:
        asked.append(str(after))
        return ResyncReason.PRUNED

    async def send_rows(_: Subscriber, names: Collection[str], write: WriteRows) -> EventId | RowsFailure:
        await write(b'{"type":"rows"}\n')
        asked.append(set(names))
        return EventId(Position(12), None, pipeline.hub.catalog.log)

    pipeline.replay, pipeline.send_rows = replay, send_rows
    async with pipeline.running():
        await pipeline.loaded(5)
        begin = str(pipeline.hub.here())
        for key in "abcdefghijkl":
            upstream.followers[FLAGS].flag(key)
        returning, sink = subscriber_of(pipeline)
        pipeline.join(returning, last_event_id=begin)
        reading, _ = subscriber_of(pipeline, rows=True)
        pipeline.join(reading, snapshot=True)
        await until(lambda: returning.is_live and reading.is_live, "catching up", deadline_s=5)
        assert sink.messages[0]["reason"] == "pruned"
        assert asked == [begin, {"orders"}]


async def test_publications_can_be_observed() -> None:
    class Counting(NullObserver):
        count = 0

        def publishing(self) -> None:
            self.count += 1

    observer, upstream = Counting(), MemoryUpstream()
    pipeline = Pipeline(settings_with(), upstream, observer=observer)
    async with pipeline.running():
        await pipeline.loaded(5)
        upstream.followers[FLAGS].flag("a")
        assert observer.count == 1


async def test_pipelines_of_a_process_share_their_backfills() -> None:
    first = Pipeline(settings_with(), MemoryUpstream())
    second = Pipeline(settings_with(), MemoryUpstream(), tables=first.tables)
    assert second.tables is first.tables
    second.stop_answering()
    assert first.tables.is_stopping
