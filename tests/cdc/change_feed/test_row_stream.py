"""The rows of a table on a stream: in pieces, then the changes that its snapshot has missed, then the id."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from cdc.change_feed.backfill import Backfills
from cdc.change_feed.page_reader import ChangeFeed
from cdc.change_feed.row_stream import RowStream
from cdc.core.change_feed.cursor import Cursor
from cdc.core.change_feed.logged_change import ChangePage
from cdc.core.change_feed.snapshot_visibility import SnapshotVisibility
from cdc.core.log.position import EventId, LogId, Position
from cdc.core.subscription.grant import Grant
from cdc.errors import DatabaseUnavailable
from cdc.fanout.row_sender import RowsFailure
from cdc.source.memory import MemoryLog
from tests.cdc.change_feed.memory import MemoryTables, captured
from tests.cdc.fanout.memory import JSON_LINES, MemoryHub, select
from tests.fixtures.memory import MemoryWriter
from tests.fixtures.replica import Recorder

LOG = LogId("memory")


class LateLog(MemoryLog):
    """Its pages lead to a position that an id can name only where all of the log was read, as in a lane ordered when
    read."""

    async def changes_after(
        self, after: Cursor | None, *, limit: int, scan: int, tables: Sequence[str] | None
    ) -> ChangePage:
        page = await super().changes_after(after, limit=limit, scan=scan, tables=tables)
        seen = None if page.is_open or after is None else after.seen
        return replace(page, next=replace(page.next, seen=seen))


class Scene:
    """A table `orders` with three rows, and a subscriber of it."""

    def __init__(self, **options: Any) -> None:
        self.source = MemoryTables(captured("orders"), captured("flags", id=None))
        self.tables = Backfills(self.source.open, options.pop("timeout_s", 30.0))
        self.log = LateLog()
        self.writer = MemoryWriter(self.log)
        self.rows = RowStream(self.tables, ChangeFeed(self.log, Recorder()))
        self.subscriber, _ = MemoryHub().subscriber(select(tables=("orders",)), JSON_LINES, **options)
        self.messages: list[dict[str, Any]] = []

    async def write(self, data: bytes) -> None:
        self.messages += [json.loads(line) for line in data.splitlines()]

    async def send(self, *names: str) -> EventId | RowsFailure:
        return await self.rows.send(self.subscriber, names or ("orders",), self.write)

    @property
    def kinds(self) -> list[str]:
        return [message["type"] for message in self.messages]


def code(found: EventId | RowsFailure) -> str:
    assert isinstance(found, RowsFailure)
    assert found.message.kind == "backfill_failed"
    assert json.loads(found.message.text)["message"] == found.text
    return str(json.loads(found.message.text)["code"])


async def test_all_rows_are_sent_and_then_the_id_that_they_are_as_of() -> None:
    scene = Scene()
    assert await scene.send() == EventId(Position(7), None, LOG)
    assert scene.kinds == ["rows", "rows", "rows", "rows_end"]
    assert [row["row"]["id"] for message in scene.messages[:3] for row in message["rows"]] == [1, 2, 3]
    assert scene.messages[-1]["id"] == "7@memory"


async def test_a_piece_is_read_when_the_one_before_it_was_sent() -> None:
    scene = Scene()
    taken = asyncio.Event()

    async def slow(data: bytes) -> None:
        await scene.write(data)
        await taken.wait()

    sending = asyncio.create_task(scene.rows.send(scene.subscriber, ("orders",), slow))
    await asyncio.sleep(0.05)
    assert scene.kinds == ["rows"]
    assert scene.tables.rows_read == 1
    taken.set()
    assert isinstance(await sending, EventId)


async def test_transactions_that_were_running_are_delivered_before_the_end_and_without_ids() -> None:
    scene = Scene()
    begin = scene.writer.row("orders", {"id": 1})
    scene.writer.row("orders", {"id": 4})
    scene.writer.row("other", {"id": 5})
    seen = SnapshotVisibility(700, 800, frozenset({701}))
    scene.source.cursor = Cursor(begin, None, LOG, seen)
    end = await scene.send()
    assert end == EventId(Position(3), None, LOG, (await scene.log.commits_after(begin, 9))[-1].hash)
    assert scene.kinds == ["rows", "rows", "rows", "row_inserted", "rows_end"]
    assert scene.messages[3]["after"] == {"id": 4}
    assert "id" not in scene.messages[3]


@pytest.mark.parametrize(
    ("names", "expected"),
    [(("nothing",), "unknown_table"), (("orders", "flags"), "several_tables"), (("flags",), "not_readable")],
)
async def test_a_table_that_cannot_be_read_is_a_failure_with_its_code(names: tuple[str, ...], expected: str) -> None:
    scene = Scene()
    assert code(await scene.send(*names)) == expected
    assert scene.messages == []


async def test_a_table_that_the_grant_does_not_show_is_unknown() -> None:
    scene = Scene(grant=Grant(tables=frozenset({"people"})))
    assert code(await scene.send()) == "unknown_table"


async def test_a_reader_that_takes_too_long_gets_a_failure() -> None:
    scene = Scene(timeout_s=0.05)
    scene.source.gate.clear()
    assert code(await scene.send()) == "too_slow"


async def test_a_server_that_shuts_down_is_busy() -> None:
    scene = Scene()
    scene.tables.stop()
    assert code(await scene.send()) == "too_busy"


@pytest.mark.parametrize(
    ("error", "expected"),
    [(DatabaseUnavailable("db1 is away"), "database_unavailable"), (KeyError("x"), "internal_error")],
)
async def test_the_client_learns_no_details_of_an_error_of_the_server(
    error: Exception, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene()
    scene.source.error = error
    found = await scene.send()
    assert code(found) == expected
    assert isinstance(found, RowsFailure)
    assert str(error) not in found.text
    (record,) = [record for record in caplog.records if getattr(record, "action", "") == "backfill_aborted"]
    assert (record.levelname == "ERROR") == (expected == "internal_error")
