"""The status reader: one query for all concurrent readers, and no wait for a database that does not answer."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cdc.errors import SourceError
from cdc.fanout.counters import Counters
from cdc.node.pipeline import Pipeline
from cdc.observe import status as module
from cdc.observe.status import LogStatus, StatusReader


class Ring(list[int]):
    size_bytes = 0


class FakePipeline:
    """A pipeline at position 7 that reads the change log by `extent`."""

    def __init__(self, extent: Callable[[], Awaitable[Any]], newest: int = 9) -> None:
        self.queries = 0
        self._extent = extent
        self._newest = newest
        catalog = SimpleNamespace(position=7, log="k7q2mx", flag_count=3, schemas=("public",))
        counters = Counters()
        counters.deliveries = 5
        self.hub = SimpleNamespace(
            catalog=catalog,
            ring=Ring(),
            limits=SimpleNamespace(ring_events=10, ring_bytes=1000),
            subscriber_count=2,
            behind_count=1,
            counters=counters,
        )
        self.listener = SimpleNamespace(mode="listening", reason="", reconnects=1, notifications=4)
        self.past = self
        self.capture = SimpleNamespace(problem_count=1)
        self.capture_problems = ("public.flags: has no triggers",)

    async def extent(self) -> Any:
        self.queries += 1
        return await self._extent()

    async def newest_position(self) -> int:
        return self._newest

    def freshness(self) -> str:
        return "fresh"


def reader(pipeline: FakePipeline) -> StatusReader:
    return StatusReader(cast(Pipeline, pipeline))


async def no_history() -> None:
    return None


async def test_without_history_only_the_newest_position_and_the_lag_are_known() -> None:
    status = await reader(FakePipeline(no_history)).read()
    assert status.log == LogStatus(newest=9, lag=2)  # type: ignore[arg-type]
    assert (status.position, status.flags, status.schemas, status.subscribers) == (7, 3, ("public",), 2)
    assert status.listener.mode == "listening"
    assert (status.capture_problems, status.capture_problem_count) == (("public.flags: has no triggers",), 1)


async def test_concurrent_readers_share_one_query_and_the_next_ones_its_result() -> None:
    answer = asyncio.Event()

    async def extent() -> None:
        await answer.wait()

    pipeline = FakePipeline(extent)
    one = reader(pipeline)
    reads = [asyncio.create_task(one.read()) for _ in range(10)]
    await asyncio.sleep(0)
    answer.set()
    assert len({status.log for status in await asyncio.gather(*reads)}) == 1
    await one.read()
    assert pipeline.queries == 1


async def test_the_log_is_queried_again_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REUSED_S", -1.0)
    pipeline = FakePipeline(no_history)
    one = reader(pipeline)
    await one.read()
    await one.read()
    assert pipeline.queries == 2


async def test_a_database_that_does_not_answer_delays_no_reader_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.01)
    answer = asyncio.Event()

    async def extent() -> None:
        await answer.wait()

    one = reader(FakePipeline(extent))
    status = await one.read()
    assert status.log is None
    assert status.position == 7
    answer.set()
    monkeypatch.setattr(module, "_TIMEOUT_S", 20.0)
    assert (await one.read()).log is not None


async def test_a_log_that_cannot_be_read_is_unknown() -> None:
    async def extent() -> None:
        raise SourceError("unreachable")

    assert (await reader(FakePipeline(extent)).read()).log is None


async def test_a_newest_position_that_the_catalog_has_passed_is_the_catalogs() -> None:
    pipeline = FakePipeline(no_history, newest=8)
    one = reader(pipeline)
    first = (await one.read()).log
    assert first is not None
    pipeline.hub.catalog.position = 12
    assert (await one.read()).log == replace(first, newest=12, lag=0)  # type: ignore[arg-type]
