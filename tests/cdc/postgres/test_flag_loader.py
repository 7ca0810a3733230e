"""Loading all flags by cursors gives what reading the rows as JSON does."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from bench.size.flags import add_parts, write_flags
from cdc.core.flags.catalog import Catalog
from cdc.postgres import flag_loader
from cdc.postgres.log_reader import LogReader
from tests.fixtures.flags import Writer


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[LogReader]:
    reader = LogReader(database_url)
    yield reader
    await reader.close()


@pytest.fixture
def rows(database_url: str) -> Iterator[Writer]:
    with Writer(database_url) as writer:
        writer.run(
            "insert into tags (value, created_at, deleted_at)"
            " select 't' || n, now(), case when n % 7 = 0 then now() end from generate_series(1, 50) n"
        )
        write_flags(writer.connection, 1, 450)
        add_parts(writer.connection, 1, 450)
        yield writer


async def both(log: LogReader) -> tuple[Catalog, Catalog]:
    loaded, stamp = await log.load()
    bootstrap = await log.bootstrap()
    assert (loaded.here, stamp) == (bootstrap.catalog().here, bootstrap.stamp)
    return loaded, bootstrap.catalog()


def same(loaded: Catalog, expected: Catalog) -> bool:
    return list(loaded.flags()) == list(expected.flags()) and loaded.digest == expected.digest


async def test_every_flag_is_loaded_whole(log: LogReader, rows: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flag_loader, "_ROWS", 64)
    monkeypatch.setattr(flag_loader, "_FLAGS", 7)
    rows.run(
        "delete from segments where flag_id % 5 = 0",
        "update flags set deleted_at = now() where id % 11 = 0",
        "update flags set key = key || 'é', notes = E'line\\nbreak', environment_id = 2^40 where id = 3",
        "update variants set attachment = '{\"a\": 1.50}', deleted_at = null where id % 3 = 0",
        "update constraints set created_at = '2026-01-01 10:00:00.1' where id % 2 = 0",
        # Later flags may own earlier parts.
        "update segments set flag_id = 451 - flag_id where flag_id % 4 = 1",
    )
    loaded, expected = await both(log)
    assert loaded.flag_count == 410
    assert same(loaded, expected)


async def test_parts_of_unknown_flags_and_segments_wait_for_them(log: LogReader, rows: Writer) -> None:
    rows.run(
        "set session_replication_role = replica",
        "delete from segments where id % 9 = 0",
        "delete from flags where id % 8 = 0 or id > 440",
    )
    loaded, expected = await both(log)
    assert same(loaded, expected)
    newest = await log.newest()
    rows.run(
        "set session_replication_role = origin",
        "alter table segments drop constraint segments_flag_id_fkey",
        "insert into segments (id, flag_id, rank, created_at) values (9, 8, 1, now())",
        "insert into flags (id, key, description, created_at) values (8, 'again', '', now())",
    )
    for commit in await log.commits_after(newest, 100):
        loaded.apply(commit)
        expected.apply(commit)
    again = loaded.find("public", "again")
    assert again is not None
    assert again["variants"] != []
    assert same(loaded, expected)


async def test_columns_of_other_types_and_missing_ones_read_as_in_a_change(log: LogReader, rows: Writer) -> None:
    rows.run(
        "alter table flags drop column notes, alter updated_at type timestamptz",
        "alter table distributions alter percent type numeric using percent + 0.50",
        "create type mood as enum ('good')",
        "alter table segments alter description type mood using 'good'",
    )
    loaded, expected = await both(log)
    flag = loaded.flag_json("public", 1)
    assert flag is not None
    assert (flag["notes"], flag["segments"][0]["description"]) == (None, "good")
    assert flag["segments"][0]["distributions"][0]["percent"] == "100.50"
    assert same(loaded, expected)


async def test_ids_of_other_types_are_read_as_json(log: LogReader, rows: Writer) -> None:
    rows.run(
        "alter table flags_tags drop constraint flags_tags_flag_id_fkey",
        "alter table flags_tags alter flag_id type numeric",
    )
    async with log._session.read() as connection, connection.transaction():
        assert await flag_loader.load_flags(connection, "public") is None
    assert same(*await both(log))


async def test_a_database_of_an_older_version_is_read_as_json(log: LogReader, rows: Writer) -> None:
    rows.run("drop function flagent_cdc.open_flag_rows")
    assert same(*await both(log))


async def test_the_loop_is_left_free_while_flags_are_loaded(log: LogReader, rows: Writer) -> None:
    turns = 0
    async with log._session.read() as connection, connection.transaction():
        task = asyncio.create_task(flag_loader.load_flags(connection, "public"))
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        tables = task.result()
    assert tables is not None
    assert tables.live_count == 450
    assert turns > 450 / flag_loader._FLAGS
