"""Snapshots and the pointer to the newest one: never replaced while read, never pointed back."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cdc.core.log.position import LogId, Position
from cdc.core.log.row_text import RowText
from cdc.errors import NatsUnavailable, Superseded
from cdc.jetstream.connection import Connection, nats_errors
from cdc.jetstream.snapshot import Snapshot, read_pointer, read_snapshot, write_snapshot, written_at
from cdc.source.log import Bootstrap, CommitFingerprint
from tests.cdc.jetstream.tier import LAYOUT, prepared
from tests.fixtures.nats import NatsServer


def snapshot(position: int, sequence: int, **columns: Any) -> Snapshot:
    stamp = CommitFingerprint(Position(position), "2026-11-23T08:00:00.123456Z", 700 + position)
    flag = RowText.of({"id": 1, "key": "ü", **columns})
    rows: dict[str, dict[str, list[RowText]]] = {"public": {"flags": [flag], "tags": []}, "tenant": {}}
    return Snapshot(Bootstrap(LogId("k7q2mx"), Position(position), stamp, rows), sequence, "db")


async def names(connection: Connection) -> list[str]:
    store = await connection.jetstream.object_store(LAYOUT.snapshots)
    return [str(each.name) for each in await store.list(ignore_deletes=True)]


async def test_a_snapshot_is_read_as_it_was_written(nats_server: NatsServer) -> None:
    async with prepared(nats_server) as connection:
        # A number that a float would change.
        written = snapshot(7, 3, snapshot_id=2**60 + 1)
        pointer = await write_snapshot(connection.jetstream, LAYOUT, written, None)
        assert await read_snapshot(connection.jetstream, LAYOUT) == written
        assert await read_pointer(connection.jetstream, LAYOUT) == pointer
        assert (pointer.log, pointer.position, pointer.sequence) == ("k7q2mx", 7, 3)
        assert (pointer.stamp, pointer.schemas, pointer.database) == (
            written.bootstrap.stamp,
            ("public", "tenant"),
            "db",
        )


async def test_a_snapshot_of_an_empty_log_has_no_fingerprint(nats_server: NatsServer) -> None:
    async with prepared(nats_server) as connection:
        empty = Snapshot(Bootstrap(LogId("k7q2mx"), Position(0), None, {}), 0, None)
        await write_snapshot(connection.jetstream, LAYOUT, empty, None)
        assert await read_snapshot(connection.jetstream, LAYOUT) == empty


async def test_before_the_first_one_there_is_none(nats_server: NatsServer) -> None:
    async with prepared(nats_server) as connection:
        assert await read_pointer(connection.jetstream, LAYOUT) is None
        with pytest.raises(NatsUnavailable, match="there is no snapshot in 'flagent_cdc_state' yet"):
            await read_snapshot(connection.jetstream, LAYOUT)


async def test_the_one_before_the_newest_is_kept_for_nodes_that_read_it(nats_server: NatsServer) -> None:
    async with prepared(nats_server) as connection:
        pointers = []
        last = None
        for number in range(1, 4):
            last = await write_snapshot(connection.jetstream, LAYOUT, snapshot(number, number), last)
            pointers.append(last)
        assert sorted(await names(connection)) == sorted(pointer.object for pointer in pointers[1:])
        assert (await read_snapshot(connection.jetstream, LAYOUT)).sequence == 3


async def test_a_relay_that_was_superseded_cannot_point_back(nats_server: NatsServer) -> None:
    async with prepared(nats_server) as connection:
        first = await write_snapshot(connection.jetstream, LAYOUT, snapshot(1, 1), None)
        second = await write_snapshot(connection.jetstream, LAYOUT, snapshot(2, 2), first)
        with pytest.raises(Superseded), nats_errors("nats"):
            await write_snapshot(connection.jetstream, LAYOUT, snapshot(1, 1), first)
        assert await read_pointer(connection.jetstream, LAYOUT) == second
        assert (await read_snapshot(connection.jetstream, LAYOUT)).sequence == 2


async def test_the_time_of_writing_is_that_of_nats(nats_server: NatsServer) -> None:
    async with prepared(nats_server) as connection:
        await write_snapshot(connection.jetstream, LAYOUT, snapshot(1, 1), None)
        assert abs(await written_at(connection.jetstream, LAYOUT) - datetime.now(UTC)) < timedelta(minutes=1)
