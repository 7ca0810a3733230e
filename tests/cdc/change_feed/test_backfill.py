"""The captured tables: how they are found, and how many are read at once and for how long."""

import asyncio
import json

import pytest

from cdc.change_feed.backfill import MAX_BACKFILLS, Backfill, Backfills
from cdc.core.errors import InvalidInput
from cdc.core.log.position import EventId, LogId, Position
from cdc.core.subscription.grant import EVERYTHING, Grant
from cdc.errors import OutOfReach, TooBusy
from tests.cdc.change_feed.memory import MemoryTables, captured

FLAGS_TABLE = captured("flags", id=None)
ORDERS = captured("orders")
EUROPE, ASIA = captured("people", schema="europe", id=2), captured("people", schema="asia", id=3)


def backfills(*, timeout_s: float = 30.0, rows: int = 3) -> tuple[Backfills, MemoryTables]:
    source = MemoryTables(FLAGS_TABLE, ORDERS, EUROPE, ASIA, rows=rows)
    return Backfills(source.open, timeout_s), source


async def refused(tables: Backfills, name: str, grant: Grant = EVERYTHING) -> str | None:
    with pytest.raises(InvalidInput) as caught:
        await tables.find(name, grant)
    return caught.value.code


async def test_a_table_is_found_by_its_name_with_or_without_the_schema() -> None:
    tables, _ = backfills()
    assert await tables.find("orders", EVERYTHING) == ORDERS
    assert await tables.find("public.orders", EVERYTHING) == ORDERS
    assert await tables.find("asia.people", EVERYTHING) == ASIA
    assert await refused(tables, "people") == "several_tables"
    assert await refused(tables, "nothing") == "unknown_table"


async def test_a_table_that_the_grant_does_not_show_is_as_unknown_as_one_that_is_not_there() -> None:
    tables, _ = backfills()
    grant = Grant(tables=frozenset({"asia.people"}))
    assert ASIA in await tables.captured(grant)
    assert ORDERS not in await tables.captured(grant)
    assert await tables.find("people", grant) == ASIA
    assert await refused(tables, "orders", grant) == "unknown_table"


async def test_a_backfill_is_of_one_table() -> None:
    tables, _ = backfills()
    assert await tables.sole(["orders"], EVERYTHING) == ORDERS
    with pytest.raises(InvalidInput, match="one table at a time") as caught:
        await tables.sole(["orders", "asia.people"], EVERYTHING)
    assert caught.value.code == "several_tables"


async def test_the_columns_are_those_of_the_source() -> None:
    tables, source = backfills()
    assert await tables.columns(ORDERS) == await source.columns(ORDERS)


async def test_all_rows_come_in_pieces_with_the_progress_and_the_id_to_continue_from() -> None:
    tables, source = backfills()
    async with tables.backfill(ORDERS) as backfill:
        assert tables.running == {backfill}
        pieces = [json.loads(backfill.piece(rows).text) async for rows in backfill.rows()]
        end = backfill.end(EventId(Position(7), None, LogId("memory")))
    assert [(piece["table"], piece["sent"], piece["estimated"]) for piece in pieces] == [
        ("public.orders", sent, 3) for sent in (1, 2, 3)
    ]
    assert [piece["rows"] for piece in pieces] == [[{"key": {"id": n}, "row": {"id": n}}] for n in (1, 2, 3)]
    assert (end.kind, json.loads(end.text)) == ("rows_end", {"table": "public.orders", "position": "7", "rows": 3})
    assert end.id is not None
    assert tables.rows_read == 3
    assert tables.running == set()
    assert source.opened == 1, "the source of a backfill is closed, that of the questions stays"
    await tables.close()
    assert source.opened == 0


async def test_an_estimate_is_never_lower_than_what_was_sent() -> None:
    tables, _ = backfills(rows=2)
    async with tables.backfill(ORDERS) as backfill:
        backfill.sent = 9
        assert backfill.progress() == {"table": "public.orders", "rows": 9, "estimated_rows": 9}


async def test_flagents_own_tables_are_not_read() -> None:
    tables, source = backfills()
    with pytest.raises(InvalidInput, match="watched tables only") as caught:
        async with tables.backfill(FLAGS_TABLE):
            pass
    assert caught.value.code == "not_readable"
    assert source.opened == 1


async def test_only_so_many_tables_are_read_at_once() -> None:
    tables, _ = backfills()
    running = [tables.backfill(ORDERS) for _ in range(MAX_BACKFILLS)]
    for each in running:
        await each.__aenter__()
    with pytest.raises(TooBusy, match="are being read already"):
        async with tables.backfill(ORDERS):
            pass
    await running[0].__aexit__(None, None, None)
    async with tables.backfill(ORDERS):
        assert len(tables.running) == MAX_BACKFILLS
    for each in running[1:]:
        await each.__aexit__(None, None, None)


async def test_backfills_that_are_still_being_opened_count_towards_the_limit() -> None:
    """Opening one waits for the database, and as many requests arrive meanwhile as a client sends at once."""
    tables, source = backfills()
    source.begins.clear()
    reading = [asyncio.create_task(read_all(tables)) for _ in range(40)]
    done, waiting = await asyncio.wait(reading, timeout=1, return_when=asyncio.FIRST_EXCEPTION)
    while len(done) < len(reading) - MAX_BACKFILLS:
        more, waiting = await asyncio.wait(waiting, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert more, f"{len(waiting)} of {len(reading)} were admitted"
        done |= more
    assert all(isinstance(each.exception(), TooBusy) for each in done)
    assert source.opened == 1 + MAX_BACKFILLS
    source.begins.set()
    assert [(await each).sent for each in waiting] == [3] * MAX_BACKFILLS
    assert (await read_all(tables)).sent == 3


async def test_a_backfill_that_cannot_be_opened_leaves_its_place() -> None:
    tables, source = backfills(timeout_s=0.01)
    source.begins.clear()
    for _ in range(MAX_BACKFILLS + 1):
        with pytest.raises(TimeoutError):
            await read_all(tables)
    source.begins.set()
    tables.timeout_s = 30.0
    assert (await read_all(tables)).sent == 3


async def test_a_backfill_takes_no_longer_than_allowed(caplog: pytest.LogCaptureFixture) -> None:
    tables, source = backfills(timeout_s=0.05)
    source.gate.clear()
    with pytest.raises(TimeoutError):
        await read_all(tables)
    assert tables.running == set()
    assert source.opened == 1
    assert [getattr(record, "action", "") for record in caplog.records] == ["backfill_timeout"]


async def test_a_server_that_shuts_down_aborts_every_backfill() -> None:
    tables, _ = backfills()
    async with tables.backfill(ORDERS) as backfill:
        rows = backfill.rows()
        assert len(await anext(rows)) == 1
        tables.stop()
        with pytest.raises(TooBusy, match="shutting down"):
            await anext(rows)


async def test_a_long_backfill_reports_its_progress(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("cdc.change_feed.backfill._PROGRESS_S", 0.0)
    caplog.set_level("INFO")
    tables, _ = backfills()
    await read_all(tables)
    actions = [getattr(record, "action", "") for record in caplog.records]
    assert actions == ["backfill_started", *["backfill_progress"] * 3, "backfill_finished"]


async def test_without_a_source_there_are_no_tables() -> None:
    tables = Backfills(lambda: None, 30.0)
    with pytest.raises(OutOfReach, match="tables cannot be read on this node") as caught:
        await tables.captured(EVERYTHING)
    assert caught.value.code == "no_past"
    await tables.close()


async def read_all(tables: Backfills) -> Backfill:
    async with tables.backfill(ORDERS) as backfill:
        async for _ in backfill.rows():
            pass
    return backfill
