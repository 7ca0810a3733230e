"""The history of a flag, on the source in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cdc.core.log.position import Position
from cdc.core.subscription.grant import EVERYTHING, Grant
from cdc.history.flag_history import FlagHistory, flag_history
from cdc.history.time_travel import TimeTravel
from cdc.source.memory import MemoryLog
from tests.fixtures.memory import MemoryWriter
from tests.fixtures.replica import Recorder, following


@asynccontextmanager
async def travelling(writer: MemoryWriter) -> AsyncIterator[TimeTravel]:
    replica = Recorder()
    past = TimeTravel(writer.log, replica, 1000)
    async with following(writer.log, replica):
        yield past
    await past.close()


async def of(past: TimeTravel, key: str, **arguments: Any) -> FlagHistory:
    return await flag_history(past, "public", key, **{"grant": EVERYTHING, "before": None, "limit": 10, **arguments})


def told(history: FlagHistory) -> list[tuple[str, list[str]]]:
    return [(entry["position"], entry["events"]) for entry in history.entries]


async def test_every_change_comes_newest_first_with_both_states() -> None:
    writer = MemoryWriter(MemoryLog())
    flag = writer.flag("a", description="v1")
    writer.flag("other")
    writer.update(flag, description="v2")
    writer.toggle(flag)
    writer.tag(flag, "t")
    writer.delete(flag)
    async with travelling(writer) as past:
        history = await of(past, "a")
    assert told(history) == [
        ("6", ["flag_deleted"]),
        ("5", ["flag_updated"]),
        ("4", ["flag_updated", "flag_enabled"]),
        ("3", ["flag_updated"]),
        ("1", ["flag_created"]),
    ]
    changed = history.entries[3]
    assert (changed["before"]["description"], changed["after"]["description"]) == ("v1", "v2")
    assert changed["changed"] == [{"path": "description", "before": "v1", "after": "v2"}]
    assert (changed["user"], changed["application"]) == ("app", "test")
    assert changed["id"].startswith("3@memory.")
    assert history.next is None
    assert history.reason is not None
    assert "begins at position 1" in history.reason


async def test_pages_join_without_gap() -> None:
    writer = MemoryWriter(MemoryLog())
    flag = writer.flag("a")
    for number in range(5):
        writer.update(flag, description=str(number))
    async with travelling(writer) as past:
        whole = await of(past, "a")
        pages, before = [], None
        while True:
            page = await of(past, "a", before=before, limit=2)
            pages += page.entries
            before = page.next
            if before is None:
                break
    assert pages == whole.entries
    assert len(pages) == 6


async def test_what_the_grant_does_not_show_does_not_exist() -> None:
    writer = MemoryWriter(MemoryLog())
    flag = writer.flag("a")
    writer.tag(flag, "web")
    writer.update(flag, description="seen")
    async with travelling(writer) as past:
        history = await of(past, "a", grant=Grant(tags=frozenset({"web"})))
        nothing = await of(past, "a", grant=Grant(tags=frozenset({"other"})))
    assert told(history) == [("3", ["flag_updated"]), ("2", ["flag_created"])]
    assert nothing.entries == []


async def test_a_renamed_flag_appears_under_its_new_key() -> None:
    writer = MemoryWriter(MemoryLog())
    flag = writer.flag("old")
    writer.update(flag, key="new")
    async with travelling(writer) as past:
        assert told(await of(past, "new")) == [("2", ["flag_deleted", "flag_created"])]
        assert told(await of(past, "old"))[-1] == ("1", ["flag_created"])


async def test_the_author_is_the_one_who_signed_right_after() -> None:
    writer = MemoryWriter(MemoryLog())
    flag = writer.flag("a")
    writer.update(flag, description="v2")
    writer.tables.save(flag)
    writer.commit()
    async with travelling(writer) as past:
        history = await of(past, "a")
    # Flagent's own bookkeeping is no change; its signature belongs to the change before it.
    assert [(entry["position"], entry["updatedBy"]) for entry in history.entries] == [("2", "ann"), ("1", None)]


async def test_too_long_a_way_ends_with_where_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.history.flag_history._SCAN_CHANGES", 3)
    monkeypatch.setattr("cdc.history.rewind._PAGE_CHANGES", 2)
    writer = MemoryWriter(MemoryLog())
    writer.flag("a")
    other = writer.flag("other")
    for number in range(8):
        writer.update(other, description=str(number))
    async with travelling(writer) as past:
        history = await of(past, "a")
        assert history.entries == []
        assert history.reason is None
        before: Position | None = history.next
        assert before is not None
        while before is not None:
            history = await of(past, "a", before=before)
            before = history.next
    assert told(history) == [("1", ["flag_created"])]
