"""The catalog at a point in time, reconstructed from the log; on the source in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from cdc.core.errors import InvalidInput
from cdc.core.flags.catalog import Catalog
from cdc.core.log.point_in_time import AtPosition, AtTime
from cdc.core.log.position import CommitHash, EventId, LogId, Position
from cdc.errors import OutOfReach, TooBusy
from cdc.history.time_travel import TimeTravel
from cdc.source.memory import MemoryLog
from tests.fixtures.memory import MemoryWriter
from tests.fixtures.replica import Recorder, following

BEGINNING = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


class Clock:
    """A second passes with each commit."""

    def __init__(self) -> None:
        self.now = BEGINNING

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@dataclass
class Scene:
    """A flag `a` whose description is the position at which it was written."""

    log: MemoryLog
    writer: MemoryWriter
    replica: Recorder
    past: TimeTravel


@asynccontextmanager
async def scene(commits: int, *, limit_changes: int = 1000) -> AsyncIterator[Scene]:
    log, replica = MemoryLog(clock=Clock()), Recorder()
    writer = MemoryWriter(log)
    flag = writer.flag("a", description="1")
    for number in range(2, commits + 1):
        writer.update(flag, description=str(number))
    past = TimeTravel(log, replica, limit_changes)
    async with following(log, replica):
        yield Scene(log, writer, replica, past)
    await past.close()


def description(catalog: Catalog) -> str:
    found = catalog.find("public", "a")
    assert found is not None
    return str(found["description"])


async def refused(past: TimeTravel, moment: AtPosition | AtTime) -> str:
    with pytest.raises(OutOfReach) as caught:
        await past.at(moment)
    return caught.value.code


async def test_a_position_is_after_the_whole_commit() -> None:
    async with scene(5) as given:
        for position in (5, 3, 1, 4):
            catalog = await given.past.at(AtPosition(Position(position)))
            assert (catalog.position, description(catalog)) == (position, str(position))
        # The present stays as it is.
        assert description(given.replica.catalog) == "5"


async def test_a_time_is_after_the_last_commit_until_then() -> None:
    async with scene(5) as given:
        for seconds, expected in ((1, "1"), (2, "2"), (2.5, "2"), (5, "5")):
            catalog = await given.past.at(AtTime(BEGINNING + timedelta(seconds=seconds)))
            assert description(catalog) == expected
        assert await refused(given.past, AtTime(BEGINNING)) == "pruned"


async def test_what_was_asked_about_is_kept() -> None:
    async with scene(5) as given:
        first = await given.past.at(AtPosition(Position(2)))
        assert await given.past.at(AtPosition(Position(2))) is first
        for position in (1, 3, 4, 5):
            await given.past.at(AtPosition(Position(position)))
        assert await given.past.at(AtPosition(Position(2))) is not first


async def test_the_future_is_refused() -> None:
    async with scene(1) as given:
        for moment in (AtPosition(Position(2)), AtTime(BEGINNING + timedelta(days=1))):
            with pytest.raises(InvalidInput) as caught:
                await given.past.at(moment)
            assert caught.value.code == "in_the_future"


async def test_another_log_and_a_pruned_position_are_out_of_reach() -> None:
    async with scene(5) as given:
        other = EventId(Position(2), None, LogId("other1"))
        assert await refused(given.past, AtPosition(Position(2), other)) == "log_replaced"
        lost = EventId(Position(2), None, (await given.log.state()).log, CommitHash("zzzzzz"))
        assert await refused(given.past, AtPosition(Position(2), lost)) == "log_replaced"
        given.log.prune(2)
        assert description(await given.past.at(AtPosition(Position(3)))) == "3"
        assert await refused(given.past, AtPosition(Position(2))) == "pruned"
        assert await refused(given.past, AtTime(BEGINNING + timedelta(seconds=2))) == "pruned"


async def test_one_question_goes_back_a_limited_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.history.rewind._PAGE_CHANGES", 2)
    async with scene(10, limit_changes=4) as given:
        assert await refused(given.past, AtPosition(Position(2))) == "too_far_back"
        # Where the last journey ended the next one begins.
        await given.past.at(AtPosition(Position(6)))
        assert description(await given.past.at(AtPosition(Position(3)))) == "3"


async def test_a_commit_with_too_many_changes_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.history.time_travel._MOST_CHANGES", 2)
    async with scene(1) as given:
        for key in ("b", "c", "d"):
            given.writer.tables.flag(key)
        await given.replica.reached(given.writer.commit(), 10)
        assert await refused(given.past, AtPosition(Position(1))) == "commit_too_large"


async def test_a_position_that_this_process_has_not_reached_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.history.time_travel._CATCH_UP_S", 0.05)
    log, replica = MemoryLog(clock=Clock()), Recorder()
    past = TimeTravel(log, replica, 1000)
    async with following(log, replica):
        pass
    MemoryWriter(log).flag("a", description="1")
    with pytest.raises(TooBusy, match="has not read position 1 yet"):
        await past.at(AtPosition(Position(1)))
    log.replace_log("other1")
    with pytest.raises(TooBusy, match="the log was replaced"):
        await past.at(AtPosition(Position(1)))
    await past.close()


async def test_only_so_many_questions_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.history.time_travel._MAX_WAITING", 2)
    async with scene(5) as given:
        async with given.past.travelling(None):
            waiting = asyncio.create_task(given.past.at(AtPosition(Position(1))))
            await asyncio.sleep(0)
            with pytest.raises(TooBusy):
                await given.past.at(AtPosition(Position(2)))
        assert description(await waiting) == "1"


async def test_the_way_back_gives_each_commit_and_ends_where_the_log_begins() -> None:
    async with scene(4) as given:
        async with given.past.travelling(Position(4)) as catalog:
            assert description(catalog) == "3"
            async with aclosing(given.past.back(catalog, 100, "public")) as commits:
                assert [(await anext(commits)).position for _ in range(3)] == [3, 2, 1]
                with pytest.raises(OutOfReach) as caught:
                    await anext(commits)
        assert caught.value.code == "pruned"


async def test_without_a_history_the_past_is_not_available() -> None:
    past = TimeTravel(None, Recorder(), 1000)
    assert await past.extent() is None
    with pytest.raises(OutOfReach, match="the history of this lane is not available on this node") as caught:
        await past.at(AtPosition(Position(1)))
    assert caught.value.code == "no_past"
    await past.close()


async def test_the_extent_is_the_range_of_the_log_and_its_size() -> None:
    async with scene(3) as given:
        extent = await given.past.extent()
        assert extent is not None
        assert (extent[0].oldest, extent[0].newest) == (1, 3)
        assert extent[1] > 0
