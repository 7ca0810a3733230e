"""The captured tables of a database: which there are, of what types, and every row as of one position."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from cdc.core.flags.flag_tables import TABLES
from cdc.core.log.captured_table import CapturedTable
from cdc.core.log.lane import FLAGS
from cdc.errors import DatabaseError, DatabaseUnavailable
from cdc.postgres.table_reader import TableReader
from tests.fixtures.flags import Writer
from tests.fixtures.server import until


@pytest.fixture
async def reader(database_url: str) -> AsyncIterator[TableReader]:
    reader = TableReader(database_url)
    yield reader
    await reader.close()


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    with Writer(database_url) as writer:
        yield writer


async def table(reader: TableReader, name: str) -> CapturedTable:
    (found,) = [each for each in await reader.captured_tables() if each.table == name]
    return found


def transactions(writer: Writer) -> list[tuple[object, ...]]:
    """The snapshots that readers hold."""
    return writer.connection.execute(
        "select pid from pg_stat_activity where application_name = 'flagent-cdc reader' and backend_xmin is not null"
        " and datname = current_database()"
    ).fetchall()


async def pieces_of(reader: TableReader, of: CapturedTable) -> list[list[tuple[str | None, str]]]:
    async with reader.snapshot(of, 20) as snapshot:
        return [[(row.key, row.row) for row in rows] async for rows in snapshot.rows()]


async def test_flagents_tables_are_captured_by_their_id(reader: TableReader) -> None:
    found = await reader.captured_tables()
    assert {each.table for each in found} == set(TABLES)
    assert all(each.is_of_flags and each.key == ("id",) and each.lane == FLAGS for each in found)


async def test_a_watched_table_comes_with_its_options(reader: TableReader, writer: Writer) -> None:
    writer.run(
        "create table orders (id integer primary key, total numeric, card text, note text)",
        "select flagent_cdc.watch('orders', include => '{id,total,card}', mask => '{card}', predicate => 'total > 10',"
        " operations => '{insert,delete}', lane => 'orders', lane_order => 'read')",
    )
    found = await table(reader, "orders")
    assert (found.name, found.key, found.masked) == ("public.orders", ("id",), ("card",))
    assert set(found.included or ()) == {"id", "total", "card"}
    assert set(found.operations) == {"insert", "delete"}
    assert found.is_filtered
    assert not found.is_of_flags
    assert (found.lane.name, found.lane.order) == ("orders", "read")


async def test_columns_come_in_their_order_with_every_type_that_they_consist_of(
    reader: TableReader, writer: Writer
) -> None:
    writer.run(
        "create type mood as enum ('sad', 'glad')",
        "create domain age as integer",
        "create type pair as (a age, b text[])",
        "create table people (id integer primary key, name varchar(20), mood mood not null, pair pair, gone text)",
        "alter table people drop column gone",
        "select flagent_cdc.watch('people')",
    )
    columns, types = await reader.columns(await table(reader, "people"))
    assert [(column.name, column.length, column.is_nullable) for column in columns] == [
        ("id", None, False),
        ("name", 20, True),
        ("mood", None, False),
        ("pair", None, True),
    ]
    by_name = {type.name: type for type in types.values()}
    assert tuple(by_name["mood"].labels) == ("sad", "glad")
    assert types[by_name["age"].base].builtin == "int4"
    assert types[by_name["text[]"].element].builtin == "text"
    assert [(name, types[type].name) for name, type in by_name["pair"].fields] == [("a", "age"), ("b", "text[]")]


async def test_every_row_comes_once_in_pieces_of_a_limited_size(reader: TableReader, writer: Writer) -> None:
    writer.run(
        "create table orders (id integer primary key, note text)",
        "insert into orders select n, repeat(n::text, 200) from generate_series(1, 3000) n",
        "analyze orders",
        "select flagent_cdc.watch('orders')",
    )
    pieces = await pieces_of(reader, await table(reader, "orders"))
    keys = [key for piece in pieces for key, _ in piece]
    assert len(keys) == len(set(keys)) == 3000
    assert '{"id" : 1}' in keys
    sizes = [sum(len(row) for _, row in piece) for piece in pieces]
    assert len(pieces) > 3
    assert sizes[0] < 8192, "the first piece is one block, to see what the rows are like"
    assert max(sizes) < 1024 * 1024


async def test_the_rows_are_as_of_one_position(reader: TableReader, writer: Writer) -> None:
    writer.run("create table orders (id integer primary key)", "select flagent_cdc.watch('orders')")
    writer.run("insert into orders values (1), (2)")
    of = await table(reader, "orders")
    newest = writer.connection.execute("select max(position) from flagent_cdc.commit_log").fetchone()
    async with reader.snapshot(of, 20) as snapshot:
        assert newest == (snapshot.cursor.position,)
        assert (snapshot.cursor.index, snapshot.cursor.seen) == (None, None)
        writer.run("insert into orders values (3)", "delete from orders where id = 1")
        rows = [row.row async for piece in snapshot.rows() for row in piece]
    assert rows == ['{"id":1}', '{"id":2}']
    assert snapshot.database
    assert snapshot.committed_at.endswith("Z")


async def test_a_snapshot_of_a_lane_ordered_when_read_says_what_it_has_seen(
    reader: TableReader, writer: Writer, database_url: str
) -> None:
    writer.run(
        "create table orders (id integer primary key)",
        "select flagent_cdc.watch('orders', lane => 'orders', lane_order => 'read')",
    )
    of = await table(reader, "orders")
    with Writer(database_url) as slow, slow.connection.transaction():
        row = slow.connection.execute("select pg_current_xact_id()::text::bigint").fetchone()
        assert row is not None
        writer.run("insert into orders values (1)")
        async with reader.snapshot(of, 20) as snapshot:
            seen = snapshot.cursor.seen
            assert seen is not None
            assert not seen.sees(row[0])
            assert seen.sees(row[0] - 1)
            assert [row.row async for piece in snapshot.rows() for row in piece] == ['{"id":1}']


async def test_rows_of_all_partitions_come_as_rows_of_the_table(reader: TableReader, writer: Writer) -> None:
    writer.run(
        "create table orders (id integer primary key) partition by range (id)",
        "create table orders_1 partition of orders for values from (0) to (10)",
        "create table orders_2 partition of orders for values from (10) to (20)",
        "select flagent_cdc.watch('orders')",
        "insert into orders values (1), (11), (12)",
    )
    pieces = await pieces_of(reader, await table(reader, "orders"))
    assert {row for piece in pieces for _, row in piece} == {'{"id":1}', '{"id":11}', '{"id":12}'}


async def test_an_empty_table_has_no_pieces(reader: TableReader, writer: Writer) -> None:
    writer.run("create table orders (id integer primary key)", "select flagent_cdc.watch('orders')")
    assert await pieces_of(reader, await table(reader, "orders")) == []


async def test_a_snapshot_is_held_no_longer_than_allowed(reader: TableReader, writer: Writer) -> None:
    writer.run("create table orders (id integer primary key)", "insert into orders values (1)")
    writer.run("select flagent_cdc.watch('orders')")
    of = await table(reader, "orders")

    async def hold() -> None:
        async with reader.snapshot(of, 0.2) as snapshot:
            await until(lambda: not transactions(writer), "the end of the transaction")
            await anext(snapshot.rows())

    with pytest.raises(DatabaseUnavailable):
        await hold()
    # The next one uses another connection.
    assert len(await pieces_of(reader, of)) == 1


async def test_a_table_that_is_no_longer_watched_cannot_be_read(reader: TableReader, writer: Writer) -> None:
    writer.run("create table orders (id integer primary key)", "select flagent_cdc.watch('orders')")
    of = await table(reader, "orders")
    writer.run("select flagent_cdc.unwatch('orders')")
    with pytest.raises(DatabaseError):
        await pieces_of(reader, of)


DEADLINES = ("idle_in_transaction_session_timeout", "transaction_timeout")


@pytest.mark.parametrize("setting", DEADLINES)
@pytest.mark.parametrize("is_pooled", [False, True], ids=["directly", "through a pool"])
async def test_no_deadline_of_the_database_ends_a_backfill(
    database_url: str, writer: Writer, setting: str, is_pooled: bool, request: pytest.FixtureRequest
) -> None:
    if setting == "transaction_timeout" and writer.connection.info.server_version < 170000:
        pytest.skip("new in 17")
    writer.run("create table orders (id integer primary key, text text)", "select flagent_cdc.watch('orders')")
    writer.run("insert into orders select n, repeat('x', 500) from generate_series(1, 500) n")
    writer.run(f"alter database {writer.connection.info.dbname} set {setting} = '300ms'")
    reader = TableReader(request.getfixturevalue("pooled_url") if is_pooled else database_url)
    try:
        orders = await table(reader, "orders")
        count = 0
        async with reader.snapshot(orders, 20) as snapshot:
            async for rows in snapshot.rows():
                if not count:
                    # Longer than the deadline, which then would have ended the transaction.
                    await asyncio.to_thread(writer.connection.execute, "select pg_sleep(0.6)")
                count += len(rows)
        assert count == 500
    finally:
        await reader.close()
