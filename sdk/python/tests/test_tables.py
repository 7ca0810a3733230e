"""A live copy of a table's rows, against a scripted server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from scripted import Peer, Script, ScriptedServer, eventually

from flagent_realtime import (
    ConnectionRefused,
    FlagentError,
    FlagentSSEClient,
    NotReady,
    ReconnectConfig,
    RowChange,
    StoreStatus,
    TableStore,
)

QUICK = ReconnectConfig(max_attempts=0, initial_delay=0.01, max_delay=0.05)
TABLE = "shop.orders"


def rows(*items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "rows", "table": TABLE, "rows": [{"key": {"id": item["id"]}, "row": item} for item in items]}


def end(position: int) -> dict[str, Any]:
    return {"type": "rows_end", "id": f"{position}@k", "table": TABLE, "position": str(position)}


def row_event(kind: str, id: str, before: Any, after: Any, **more: Any) -> dict[str, Any]:
    key = {"id": (after or before)["id"]}
    return {"type": f"row_{kind}", "id": id, "table": TABLE, "key": key, "before": before, "after": after, **more}


async def send(peer: Peer, *messages: dict[str, Any]) -> None:
    for message in messages:
        name = f"id: {message['id']}\n" if "id" in message else ""
        await peer.write(f"event: {message['type']}\n{name}data: {json.dumps(message)}\n\n")


async def opened(peer: Peer) -> None:
    await peer.open()
    await peer.greet(10, heartbeatMs=60_000)


@asynccontextmanager
async def following(*scripts: Script, **options: Any) -> AsyncIterator[tuple[ScriptedServer, TableStore, list[Any]]]:
    async with ScriptedServer(*scripts) as server:
        async with FlagentSSEClient(
            server.url("sse", "/api/v1/events/stream"), "k1", reconnect_config=QUICK, start=False
        ) as client:
            errors: list[FlagentError] = []
            client.on_error(errors.append)
            # Only the table's connection: the client itself has nothing to follow.
            client._supervisor.start = lambda: None  # type: ignore[method-assign]
            store = TableStore(client, TABLE, **options)
            try:
                yield server, store, errors
            finally:
                await store.close()


O1, O2 = {"id": 1, "total": 10}, {"id": 2, "total": 20}


async def test_tc_table_request() -> None:
    """tc-table-request."""

    async def script(peer: Peer) -> None:
        await opened(peer)
        await send(peer, rows(O1), end(10))
        await peer.gone()

    options = {"where": "total > $1 and state = $2", "params": [5, "open"], "columns": ["id", "total"]}
    async with following(script, **options) as (server, store, _):
        await store.start()
        await store.ready(5)
        assert server.peers[0].query == {
            "table": [TABLE],
            "where": ["total > $1 and state = $2"],
            "param": ["5", "open"],
            "columns": ["id,total"],
            "envelope": ["true"],
            "snapshot": ["true"],
        }
        assert server.peers[0].headers["x-api-key"] == "k1"


async def test_tc_table_rows_and_events() -> None:
    """tc-table-rows, tc-table-events."""

    async def script(peer: Peer) -> None:
        await opened(peer)
        await send(peer, rows(O1), rows(O2), end(10))
        await send(peer, row_event("updated", "9-0@k", O1, {**O1, "total": 0}))
        await send(peer, row_event("updated", "11-0@k", O1, {**O1, "total": 11}))
        await send(peer, row_event("inserted", "12-0@k", None, {"id": 3, "total": 3}, moved="in"))
        await send(peer, {**row_event("deleted", "13-0@k", O2, None), "before": None, "moved": "out"})
        await send(peer, {**row_event("updated", "14-0@k", {"id": 3, "total": 3}, {"id": 4, "total": 3})})
        await peer.gone()

    async with following(script) as (_, store, errors):
        changes: list[RowChange] = []
        store.on_change(changes.append)
        assert (store.status, store.get(1), len(store)) == (StoreStatus.INITIALIZING, None, 0)
        await store.start()
        await store.ready(5)
        await eventually(lambda: store.position == 14)
        assert sorted(row["id"] for row in store.rows) == [1, 4]
        assert (store.get(1), store.get({"id": 4})) == ({"id": 1, "total": 11}, {"id": 4, "total": 3})
        assert (store.get(2), store.get(3)) == (None, None)
        with pytest.raises(TypeError, match="type object"):
            store.get(object())
        await eventually(lambda: len(changes) == 6)
        assert [(c.before and c.before["id"], c.after and c.after["id"]) for c in changes] == [
            (None, 1),
            (None, 2),
            (1, 1),
            (None, 3),
            (2, None),
            (3, 4),
        ]
        assert errors == []


async def test_tc_table_resume() -> None:
    """tc-table-resume: from the id of the end or later; lost before it, the rows come again."""

    async def halfway(peer: Peer) -> None:
        await opened(peer)
        await send(peer, rows(O1))
        peer.abort()

    async def whole(peer: Peer) -> None:
        await opened(peer)
        await send(peer, rows(O2), end(10), row_event("updated", "11-0@k", O2, {**O2, "total": 21}))
        peer.abort()

    async def later(peer: Peer) -> None:
        await opened(peer)
        await send(peer, row_event("deleted", "12-0@k", O2, None))
        await peer.gone()

    async with following(halfway, whole, later) as (server, store, _):
        await store.start()
        await eventually(lambda: store.position == 12)
        assert (len(store), store.status) == (0, StoreStatus.READY)
        assert [peer.last_event_id for peer in server.peers] == [None, None, "11-0@k"]
        assert ["snapshot" in peer.query for peer in server.peers] == [True, True, False]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "resync", "id": "20@k", "reason": "pruned", "snapshot": {"position": "20", "flags": []}},
        {"type": "schema_changed", "id": "20-0@k", "table": TABLE, "before": [], "after": [], "rewritten": True},
    ],
    ids=["resync", "schema_changed"],
)
async def test_tc_table_resync(message: dict[str, Any]) -> None:
    """tc-table-resync, tc-table-schema-changed."""
    go = asyncio.Event()

    async def first(peer: Peer) -> None:
        await opened(peer)
        await send(peer, rows(O1), end(10), message)
        await peer.gone()

    async def second(peer: Peer) -> None:
        await opened(peer)
        await go.wait()
        await send(peer, rows(O2), end(20))
        await peer.gone()

    async with following(first, second) as (server, store, _):
        schemas: list[Any] = []
        store.on_schema_change(schemas.append)
        await store.start()
        await eventually(lambda: len(server.peers) == 2 and server.peers[1].query)
        assert (store.status, [row["id"] for row in store.rows]) == (StoreStatus.STALE, [1])
        assert (server.peers[1].last_event_id, server.peers[1].query["snapshot"]) == (None, ["true"])
        go.set()
        await eventually(lambda: store.status is StoreStatus.READY)
        assert [row["id"] for row in store.rows] == [2]
        assert len(schemas) == (message["type"] == "schema_changed")


async def test_a_truncated_table_is_empty() -> None:
    async def script(peer: Peer) -> None:
        await opened(peer)
        await send(
            peer, rows(O1, O2), end(10), {"type": "table_truncated", "id": "11-0@k", "table": TABLE, "key": None}
        )
        await peer.gone()

    async with following(script) as (_, store, _errors):
        await store.start()
        await eventually(lambda: store.position == 11)
        assert (len(store), store.rows) == (0, [])


async def test_tc_table_too_many() -> None:
    """tc-table-too-many."""

    async def script(peer: Peer) -> None:
        await opened(peer)
        await send(peer, rows(O1, O2), end(10))
        await peer.gone()

    async with following(script, max_rows=1) as (server, store, errors):
        await store.start()
        with pytest.raises(ConnectionRefused, match=r"shop\.orders has more than 1 rows"):
            await store.ready(5)
        assert (store.status, len(server.peers)) == (StoreStatus.ERROR, 1)
        await eventually(lambda: errors)


async def test_tc_table_fails() -> None:
    """tc-table-fails: retried where that helps, and otherwise fatal with the server's sentence."""

    def failing(code: str) -> Script:
        async def script(peer: Peer) -> None:
            await opened(peer)
            await send(peer, {"type": "backfill_failed", "code": code, "message": "a sentence"})
            peer.writer.close()

        return script

    async with following(failing("too_busy"), failing("unknown_table")) as (server, store, _):
        await store.start()
        with pytest.raises(ConnectionRefused, match="unknown_table: a sentence"):
            await store.ready(5)
        assert len(server.peers) == 2

    async def hang(peer: Peer) -> None:
        await peer.gone()

    async with following(hang) as (_, store, _errors):
        await store.start()
        with pytest.raises(NotReady, match=TABLE):
            await store.ready(0.1)


async def test_tc_table_numbers() -> None:
    """tc-table-numbers: every digit arrives."""

    async def script(peer: Peer) -> None:
        await opened(peer)
        text = (
            f'{{"type":"rows","table":"{TABLE}","rows":[{{"key":{{"id":9007199254740993}},'
            '"row":{"id":9007199254740993,"total":0.1000000000000000000000000000000001,"rate":1e400}}]}'
        )
        await peer.write(f"event: rows\ndata: {text}\n\n")
        await send(peer, end(10))
        await peer.gone()

    async with following(script) as (_, store, _errors):
        await store.start()
        await store.ready(5)
        assert store.get(9007199254740993) == {
            "id": 9007199254740993,
            "total": Decimal("0.1000000000000000000000000000000001"),
            "rate": Decimal("1e400"),
        }


async def test_tc_table_unreadable() -> None:
    """tc-table-unreadable: kept by its key, without values, and reported."""

    async def script(peer: Peer) -> None:
        await opened(peer)
        unreadable = {"key": {"id": 3}, "row": None, "unreadable": "too_large"}
        await send(peer, {**rows(O1), "rows": [*rows(O1)["rows"], unreadable]}, end(10))
        await send(
            peer, {**row_event("updated", "11-0@k", O1, O1), "after": None, "before": None, "unreadable": "not_utf8"}
        )
        await peer.gone()

    async with following(script) as (_, store, errors):
        await store.start()
        await eventually(lambda: store.position == 11)
        assert (len(store), store.rows, store.get(3)) == (2, [], None)
        await eventually(lambda: len(errors) == 2)
        assert "too_large" in str(errors[0])


async def test_rows_of_a_table_without_a_key_are_counted() -> None:
    row = {"n": 1}

    async def script(peer: Peer) -> None:
        await opened(peer)
        await send(peer, {"type": "rows", "table": TABLE, "rows": [{"key": None, "row": row}] * 3}, end(10))
        gone = {"type": "row_deleted", "id": "11-0@k", "table": TABLE, "key": None, "before": row, "after": None}
        await send(peer, gone)
        await peer.gone()

    async with following(script) as (_, store, _errors):
        await store.start()
        await eventually(lambda: store.position == 11)
        assert store.rows == [row, row]
