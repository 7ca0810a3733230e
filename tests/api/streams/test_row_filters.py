"""Filters of a table's rows on the streams: live, in the rows at the beginning, and in the replay."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.fixtures.flags import Writer
from tests.fixtures.server import RunningServer, serving, sse
from tests.fixtures.websocket import receive

TABLES = (
    "create schema shop",
    "create type shop.state as enum ('open', 'held', 'paid')",
    "create table shop.orders (id integer primary key, tenant_id integer, status shop.state, total numeric, note text)",
    "insert into shop.orders values (1, 1, 'open', 1.10, 'a'), (2, 2, 'open', 2.20, 'b'), (3, 1, 'paid', 3.30, 'c')",
    "select flagent_cdc.watch('shop.orders', mask => '{note}')",
)

CHANGES = (
    "update shop.orders set total = 1.50 where id = 1",
    "update shop.orders set total = 9 where id = 2",
    "update shop.orders set tenant_id = 1 where id = 2",
    "update shop.orders set tenant_id = 2 where id = 1",
    "insert into shop.orders values (4, 2, 'open', 4), (5, 1, 'held', 12345678901234567890.123)",
    "update shop.orders set id = 6, status = 'paid' where id = 5",
    "delete from shop.orders where id in (1, 2)",
    "truncate shop.orders",
)

SEEN = [
    ("row_updated", 1, None),
    ("row_inserted", 2, "in"),
    ("row_deleted", 1, "out"),
    ("row_inserted", 5, None),
    ("row_deleted", 5, "out"),
    ("row_deleted", 2, None),
    ("table_truncated", None, None),
]

FILTER = {"table": "shop.orders", "where": "tenant_id = $1 and status in ('open', 'held')", "param": "1"}


@pytest.fixture
def tables_url(database_url: str) -> str:
    with Writer(database_url) as writer:
        for statement in TABLES:
            writer.run(statement)
    return database_url


@pytest.fixture
async def server(tables_url: str) -> AsyncIterator[RunningServer]:
    async with serving(tables_url) as running:
        yield running


def change(url: str) -> None:
    with Writer(url) as writer:
        for statement in CHANGES:
            writer.run(statement)


def seen(event: dict[str, Any]) -> tuple[str, int | None, str | None]:
    key = event["key"]
    return event["type"], None if key is None else key["id"], event.get("moved")


async def test_rows_enter_and_leave_a_filter_live_and_in_the_replay(server: RunningServer, tables_url: str) -> None:
    query = {**FILTER, "envelope": "true", "snapshot": "true"}
    async with sse(server.stream_url, query) as stream:
        rows, end = await stream.next(), await stream.next()
        assert [row["row"] for row in rows.data["rows"]] == [
            {"id": 1, "tenant_id": 1, "status": "open", "total": 1.1, "note": None}
        ]
        assert (end.type, end.data["rows"], rows.data["estimated"]) == ("rows_end", 1, 1)
        change(tables_url)
        live = [(await stream.next()).data for _ in SEEN]
    assert [seen(event) for event in live] == SEEN
    entered, left, last = live[1], live[2], live[4]
    assert (entered["before"], entered["changed"], entered["after"]["tenant_id"]) == (None, [], 1)
    assert (left["before"], left["after"], left["changed"]) == (None, None, [])
    assert last["key"] == {"id": 5}, "the key that the subscriber knows"
    async with sse(server.stream_url, {**FILTER, "envelope": "true", "lastEventId": end.id}) as stream:
        assert [(await stream.next()).data for _ in SEEN] == live


async def test_numbers_keep_all_their_digits(server: RunningServer, tables_url: str) -> None:
    query = {"table": "shop.orders", "where": "total > 1e19"}
    async with httpx.AsyncClient() as client, client.stream("GET", server.stream_url, params=query) as answer:
        change(tables_url)
        async for line in answer.aiter_lines():
            if '"total"' in line:
                break
    assert " 12345678901234567890.123," in line


async def test_only_chosen_columns_are_sent_and_updates_of_others_are_not(
    server: RunningServer, tables_url: str
) -> None:
    query = {"table": "shop.orders", "columns": "status", "snapshot": "true", "where": "id < 3", "envelope": "true"}
    async with sse(server.stream_url, query) as stream:
        rows, _ = await stream.next(), await stream.next()
        assert [row["row"] for row in rows.data["rows"]] == [{"id": 1, "status": "open"}, {"id": 2, "status": "open"}]
        with Writer(tables_url) as writer:
            writer.run("update shop.orders set total = 7")
            writer.run("update shop.orders set status = 'held', total = 8 where id = 2")
        event = (await stream.next()).data
    assert (event["before"], event["after"]) == ({"id": 2, "status": "open"}, {"id": 2, "status": "held"})
    assert event["changed"] == ["status"]


async def test_a_websocket_filters_each_of_its_tables(server: RunningServer, tables_url: str) -> None:
    table = {"name": "orders", "where": "total = $1 or status = $2", "params": [2.20, "paid"], "columns": ["status"]}
    async with connect(server.url.replace("http", "ws") + "/ws") as socket:
        await socket.send(json.dumps({"type": "subscribe", "tables": [table], "snapshot": True}))
        subscribed, rows, end = [await receive(socket) for _ in range(3)]
        assert subscribed["added"]["tables"] == [{**table, "params": ["2.2", "paid"]}]
        assert [row["key"]["id"] for row in rows["rows"]] == [2, 3]
        assert end["type"] == "rows_end"
        with Writer(tables_url) as writer:
            writer.run("update shop.orders set status = 'paid' where id = 1")
        event = await receive(socket)
        assert (seen(event), event["after"]) == (("row_inserted", 1, "in"), {"id": 1, "status": "paid"})
        other = {"type": "subscribe", "requestId": "r", "tables": [{"name": "shop.orders", "where": "id = 1"}]}
        await socket.send(json.dumps(other))
        refused = await receive(socket)
        assert (refused["type"], refused["code"], refused["requestId"]) == ("error", "several_filters", "r")


@pytest.mark.parametrize(
    ("where", "code", "names"),
    [
        ("nope = 1", "unknown_column", "nope"),
        ("note = 'a'", "unknown_column", "note"),
        ("tenant_id = 'x'", "invalid_filter", "tenant_id"),
        ("status = 'lost'", "invalid_filter", "status"),
        ("tenant_id = $2", "missing_parameter", "$2"),
        ("pg_sleep(10) is null", "invalid_filter", "PG_SLEEP"),
        ("id in (select 1)", "invalid_filter", "SELECT"),
        ("id = 1; drop table shop.orders", "invalid_filter", "one expression"),
        ("id in (" + ",".join(["1"] * 100) + ")", "too_many_nodes", "100"),
        ("(" * 2000 + "id = 1" + ")" * 2000, "invalid_filter", "deep"),
        ("id = claim('tenant')", "invalid_filter", "claim"),
        ("", "invalid_parameter", "where"),
    ],
)
async def test_a_filter_that_cannot_be_is_refused_by_name(
    server: RunningServer, where: str, code: str, names: str
) -> None:
    query = {"table": "shop.orders", "where": where, "param": "1"}
    async with httpx.AsyncClient() as client, client.stream("GET", server.stream_url, params=query) as answer:
        problem = json.loads(await answer.aread())
    assert (answer.status_code, problem["code"]) == (400, code)
    assert names in problem["detail"]
    assert "drop table shop" not in problem["detail"]


async def test_the_change_feed_and_the_rows_take_the_same_filters(server: RunningServer, tables_url: str) -> None:
    change(tables_url)
    query = {"table": "shop.orders", "where": FILTER["where"], "param": "1", "columns": "status"}
    async with httpx.AsyncClient(base_url=server.url) as client:
        page = (await client.get("/api/v1/changes", params=query)).json()
        debezium = (await client.get("/api/v1/changes", params={**query, "format": "debezium"})).json()
        with Writer(tables_url) as writer:
            writer.run(
                "insert into shop.orders values (7, 1, 'held', 1, 'n'), (8, 2, 'held', 1, 'n'), (9, 1, 'paid', 1, 'n')"
            )
        rows = (
            await client.get(
                "/api/v1/tables/orders/rows", params={name: query[name] for name in ("where", "param", "columns")}
            )
        ).text
        del query["table"]
        refused = [
            await client.get("/api/v1/changes", params=query),
            await client.get("/api/v1/tables/orders/rows", params={**query, "where": "note = 'n'"}),
        ]
    expected = [
        ("delete" if type == "row_deleted" else type.removeprefix("row_").removesuffix("ed"), key, moved)
        for type, key, moved in SEEN[1:-1]
    ]
    assert [
        (each["op"], each["key"]["id"], each.get("moved")) for each in page["changes"] if each["op"] != "truncate"
    ] == [({"insert": "insert", "updat": "update"}.get(op, op), key, moved) for op, key, moved in expected]
    assert {name for each in page["changes"] for name in (each["after"] or {})} == {"id", "status"}
    assert [each["value"]["op"] for each in debezium["changes"]] == ["c", "d", "c", "d", "d", "t"]
    assert [json.loads(line).get("row") for line in rows.splitlines()] == [None, {"id": 7, "status": "held"}, None]
    assert [(answer.status_code, answer.json()["parameter"]) for answer in refused] == [(400, "table"), (400, "where")]


async def test_a_filter_on_a_column_that_is_dropped_ends_by_name(server: RunningServer, tables_url: str) -> None:
    query = {"table": "shop.orders", "where": "total > 1", "snapshot": "true"}
    async with sse(server.stream_url, query) as stream, sse(server.stream_url, {"table": "shop.orders"}) as other:
        _, end = await stream.next(), await stream.next()
        with Writer(tables_url) as writer:
            writer.run("alter table shop.orders drop column total")
            altered, ended = await stream.next(), await stream.next()
            writer.run("delete from shop.orders where id = 1")
        assert altered.type == "schema_changed"
        assert (ended.type, ended.data["code"]) == ("filter_ended", "unknown_column")
        assert "total" in ended.data["message"]
        assert [(await other.next()).type for _ in range(2)] == ["schema_changed", "row_deleted"]
    async with httpx.AsyncClient() as client:
        again = await client.get(server.stream_url, params={**query, "lastEventId": str(end.id)})
    assert (again.status_code, again.json()["code"]) == (400, "unknown_column")


async def test_a_websocket_with_a_filter_learns_that_the_columns_have_changed(
    server: RunningServer, tables_url: str
) -> None:
    async with connect(server.url.replace("http", "ws") + "/ws") as socket:
        await socket.send(json.dumps({"type": "subscribe", "tables": [{"name": "orders", "where": "total > 1"}]}))
        assert (await receive(socket))["type"] == "subscribed"
        with Writer(tables_url) as writer:
            writer.run("alter table shop.orders add column more integer")
        ended = await receive(socket)
        assert (ended["type"], ended.get("code")) == ("error", "columns_changed"), ended


async def test_a_table_that_was_watched_a_moment_ago_can_be_filtered(server: RunningServer, tables_url: str) -> None:
    async with connect(server.url.replace("http", "ws") + "/ws") as socket:
        for number in range(3):
            event_stream, websocket = f"a{number}", f"b{number}"
            with Writer(tables_url) as writer:
                for name in (event_stream, websocket):
                    writer.run(f"create table {name} (id integer primary key)", f"select flagent_cdc.watch('{name}')")
                async with sse(server.stream_url, {"table": event_stream, "where": "id > 1"}) as stream:
                    writer.run(f"insert into {event_stream} values (1), (2)")
                    assert (await stream.next()).data["key"] == {"id": 2}
            subscribe = {"type": "subscribe", "tables": [{"name": websocket, "where": "id > 1"}]}
            # Messages keep their order.
            for message in (subscribe, {"type": "ping"}, {"type": "unsubscribe"}):
                await socket.send(json.dumps(message))
            assert [(await receive(socket))["type"] for _ in range(3)] == ["subscribed", "pong", "unsubscribed"]


async def test_a_table_that_is_not_watched_is_refused_by_name(server: RunningServer) -> None:
    async with httpx.AsyncClient() as client, connect(server.url.replace("http", "ws") + "/ws") as socket:
        answer = await client.get(server.stream_url, params={"table": "none", "where": "id > 1"})
        await socket.send(json.dumps({"type": "subscribe", "tables": [{"name": "none", "where": "id > 1"}]}))
        refused = await receive(socket)
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_table")
    assert (refused["type"], refused["code"]) == ("error", "unknown_table")
