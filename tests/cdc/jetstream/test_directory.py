"""The watched tables and their lanes, as a relay publishes them and a node reads them."""

import pytest

from cdc.core.log.lane import FLAGS, Lane, WatchedTable
from cdc.core.log.table_column import TableColumn
from cdc.errors import NatsUnavailable
from cdc.jetstream.directory import JetStreamDirectory, write_lanes
from tests.cdc.jetstream.tier import LAYOUT, address_of, prepared
from tests.fixtures.nats import NatsServer

TABLES = [
    WatchedTable(
        "public",
        "orders",
        Lane("orders", 1, "commit"),
        (
            TableColumn("id", "integer", "int4", is_key=True),
            TableColumn("state", "shop.state", None, labels=("open", "held"), is_hidden=True),
            TableColumn("name", "text", "text", has_byte_order=True, is_deterministic=False),
        ),
    ),
    WatchedTable("public", "views", Lane("views", 2, "read")),
    WatchedTable("öffentlich", "people", FLAGS),
]


async def test_what_was_written_last_is_read(nats_server: NatsServer) -> None:
    directory = JetStreamDirectory(address_of(nats_server.url), LAYOUT)
    async with prepared(nats_server) as connection:
        await write_lanes(connection.jetstream, LAYOUT, TABLES)
        assert await directory.watched_lanes() == TABLES
        await write_lanes(connection.jetstream, LAYOUT, [])
        assert await directory.watched_lanes() == []
    await directory.close()


async def test_before_a_relay_has_written_there_is_no_list(nats_server: NatsServer) -> None:
    directory = JetStreamDirectory(address_of(nats_server.url), LAYOUT)
    async with prepared(nats_server):
        with pytest.raises(NatsUnavailable, match="does not list the lanes yet; is a relay running"):
            await directory.watched_lanes()
    await directory.close()
