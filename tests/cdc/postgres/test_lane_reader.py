"""The watched tables and their lanes, read from PostgreSQL."""

from cdc.core.log.lane import FLAGS
from cdc.postgres.lane_reader import LaneReader
from tests.fixtures.flags import Writer


async def test_each_watched_table_comes_with_its_lane(database_url: str) -> None:
    reader = LaneReader(database_url)
    assert await reader.watched_lanes() == []
    with Writer(database_url) as writer:
        for table in ("first", "second"):
            writer.run(f"create table {table} (id integer primary key)")
        writer.run("select flagent_cdc.watch('first')", "select flagent_cdc.watch('second', lane => 'orders')")
    found = {watched.table: watched.lane for watched in await reader.watched_lanes()}
    assert found["first"] == FLAGS
    assert found["second"].name == "orders"
    assert found["second"].id > 0
    assert not found["second"].is_polled
    reader.shutdown_socket()
    await reader.close()
