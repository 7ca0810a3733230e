"""Commits of any size are applied and delivered in turns, with the same result as at once."""

import asyncio
import json
from typing import Any

import pytest

from cdc.core.flags.catalog import Catalog
from cdc.core.log.change import Commit, Op
from cdc.core.log.position import Position
from cdc.core.subscription.grant import Grant
from cdc.core.subscription.selection import Selection, Selections
from cdc.fanout.large_commit import LARGE_CHANGES, portions, prepare
from tests.cdc.core.flagent import change_of, commit_of
from tests.cdc.fanout.memory import EVERYTHING, MemoryHub, keys, select
from tests.fixtures.server import until

COUNT = 3 * LARGE_CHANGES


def rows(position: int, count: int, begin: int = 0) -> Commit:
    changes = [
        change_of("public", "orders", Op.INSERT, None, {"id": number}, {"id": number}) for number in range(count)
    ]
    return commit_of(position, *changes)


def flags(memory: MemoryHub, count: int) -> Commit:
    for number in range(count):
        flag_id = memory.flagent.flag(f"k{number}")
        if number % 3 == 0:
            memory.flagent.insert("variants", flag_id=flag_id)
    return memory.flagent.commit()


def test_small_commits_come_together_and_large_ones_alone() -> None:
    memory = MemoryHub()
    small = [rows(position, LARGE_CHANGES // 3) for position in range(1, 6)]
    large = flags(memory, COUNT)
    found = [list(portion) for portion in portions([*small, large, *small])]
    assert [len(portion) for portion in found] == [3, 2, 1, 3, 2]
    assert found[2] == [large]


def test_rows_of_watched_tables_come_in_parts() -> None:
    commit = rows(1, COUNT + 1)
    parts = [part for portion in portions([commit]) for part in portion]
    assert [len(part.changes) for part in parts] == [LARGE_CHANGES] * 3 + [1]
    assert [(part.begin, part.ends) for part in parts] == [
        (0, False), (LARGE_CHANGES, False), (2 * LARGE_CHANGES, False), (3 * LARGE_CHANGES, True)
    ]  # fmt: skip
    assert tuple(change for part in parts for change in part.changes) == commit.changes


async def test_the_present_catalog_does_not_change_while_a_commit_is_prepared() -> None:
    memory = MemoryHub()
    commit = flags(memory, COUNT)
    present = memory.hub.catalog
    task, turns = asyncio.create_task(prepare(present, commit)), 0
    while not task.done():
        assert (present.position, present.flag_count) == (0, 0)
        await asyncio.sleep(0)
        turns += 1
    assert turns > COUNT / 100
    prepared = task.result()
    at_once = Catalog(present.log)
    at_once.attach("public")
    events = at_once.apply(commit)
    assert [encoded.event.id for encoded in prepared.events] == [event.id for event in events]
    assert prepared.catalog.digest == at_once.digest


SELECTIONS: dict[str, Selections] = {
    "everything": EVERYTHING,
    "one flag": select(flag_keys=["k7"]),
    "none of them": select(flag_keys=["x"]),
    "a grant": Selections((Selection.of().within(Grant.parse({"flags": ["k1*"]})),)),
}


@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize("batch_s", [0.0, 0.01])
async def test_every_subscriber_gets_what_it_selected(name: str, batch_s: float) -> None:
    in_turns, at_once = MemoryHub(), MemoryHub()
    options: dict[str, Any] = {"batch_s": batch_s}
    subscriber, sink = in_turns.subscribed(SELECTIONS[name], **options)
    _, expected = at_once.subscribed(SELECTIONS[name], **options)
    at_once.hub.publish([flags(at_once, COUNT)])
    await in_turns.hub.publish_in_turns([flags(in_turns, COUNT)])
    in_turns.flag("after")
    at_once.flag("after")
    count = {"everything": COUNT + 1, "one flag": 1, "none of them": 0, "a grant": 611}[name]
    await until(lambda: len(set(keys(sink))) == len(set(keys(expected))) == count, "all events")
    assert events_of(sink.messages) == events_of(expected.messages)
    assert subscriber.is_live
    assert in_turns.hub.catalog.digest == at_once.hub.catalog.digest
    assert in_turns.hub.counters.resyncs == {}


def events_of(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for message in messages:
        events += message["events"] if message["type"] == "batch" else [message]
    return events


async def test_who_comes_meanwhile_misses_nothing_and_gets_nothing_twice() -> None:
    memory = MemoryHub()
    commit = flags(memory, COUNT)
    task = asyncio.create_task(memory.hub.publish_in_turns([commit]))
    sinks = []
    while not task.done():
        _, sink = memory.subscribed(snapshot=True)
        sinks.append(sink)
        await asyncio.sleep(0)
    await task
    _, late = memory.subscribed(snapshot=True)
    assert len(sinks) > 10

    def flags_of(data: bytes) -> list[str]:
        first, *events = [json.loads(line) for line in data.splitlines()]
        assert all(event["type"] in ("flag_created", "variant_updated") for event in events)
        return [flag["key"] for flag in first["flags"]] + [event["flagKey"] for event in events]

    for sink in (*sinks, late):
        await until(lambda sink=sink: sink.data.count(b"\n") and len(flags_of(sink.data)) >= COUNT, "all flags")  # type: ignore[misc]
        assert sorted(flags_of(bytes(sink.data))) == sorted(f"k{number}" for number in range(COUNT))


async def test_one_that_reads_slowly_gets_all_of_it_and_delays_nobody() -> None:
    memory = MemoryHub()
    slow, slow_sink = memory.subscribed(room_bytes=10_000)
    _, sink = memory.subscribed()
    await memory.hub.publish_in_turns([flags(memory, COUNT)])
    await until(lambda: len(keys(sink)) == COUNT, "the other's events")
    assert len(keys(slow_sink)) < COUNT
    while not slow.is_live:
        slow_sink.drain(10_000)
        await asyncio.sleep(0)
    assert keys(slow_sink) == keys(sink)


async def test_many_changes_of_few_flags_are_delivered_at_once() -> None:
    memory = MemoryHub()
    memory.flag("a")
    _, sink = memory.subscribed()
    for number in range(COUNT):
        memory.flagent.update("flags", 1, description=str(number))
    await memory.hub.publish_in_turns([memory.flagent.commit()])
    (event,) = sink.messages
    assert event["flag"]["description"] == str(COUNT - 1)


async def test_a_commit_that_was_applied_already_changes_nothing() -> None:
    memory = MemoryHub()
    commit = flags(memory, COUNT)
    await memory.hub.publish_in_turns([commit])
    _, sink = memory.subscribed()
    await memory.hub.publish_in_turns([commit])
    assert (sink.messages, memory.hub.catalog.position) == ([], Position(1))
