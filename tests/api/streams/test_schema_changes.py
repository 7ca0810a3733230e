"""A change of a watched table's columns reaches whoever follows the table, in order, on every surface."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.fixtures.flags import Writer
from tests.fixtures.server import RunningServer, serving, sse, until
from tests.fixtures.websocket import receive

TABLES = (
    "create schema shop",
    "create table shop.orders (id integer primary key, total numeric(10,2), secret text)",
    "create table shop.items (id integer primary key)",
    "insert into shop.orders values (1, 1.10, 's')",
    "select flagent_cdc.watch('shop.orders', exclude => '{secret}')",
    "select flagent_cdc.watch('shop.items', lane => 'items')",
)

ID, TOTAL, TEXT = ({"name": name, "type": type} for name, type in (
    ("id", "integer"), ("total", "numeric(10,2)"), ("total", "text")
))  # fmt: skip


@pytest.fixture
def tables_url(database_url: str) -> str:
    with Writer(database_url) as writer:
        for statement in TABLES:
            writer.run(statement)
    return database_url


@pytest.fixture
async def server(tables_url: str) -> AsyncIterator[RunningServer]:
    async with serving(tables_url) as running:
        await until(lambda: all(each.is_loaded for each in running.pipelines.pipelines.values()), "both lanes")
        yield running


def alter(url: str) -> None:
    with Writer(url) as writer:
        writer.run("insert into shop.orders values (2, 2)")
        writer.run(
            "insert into shop.orders values (3, 3)",
            "alter table shop.orders alter total type text using 'x'",
            "insert into shop.orders values (4, 'y')",
        )


TYPES = ["row_inserted", "row_inserted", "schema_changed", "row_inserted"]


def check(event: dict[str, Any]) -> None:
    assert {name: event[name] for name in ("table", "before", "after", "rewritten")} == {
        "table": "shop.orders",
        "before": [ID, TOTAL],
        "after": [ID, TEXT],
        "rewritten": True,
    }
    assert "key" not in event
    assert (event["type"], event["schema"], "secret" in json.dumps(event)) == ("schema_changed", "shop", False)


async def test_it_comes_between_the_rows_before_and_after_live_and_in_the_replay(
    server: RunningServer, tables_url: str
) -> None:
    query = {"table": "shop.orders", "envelope": "true", "snapshot": "true"}
    async with sse(server.stream_url, query) as stream, sse(server.stream_url, {"table": "shop.items"}) as other:
        _, end = await stream.next(), await stream.next()
        alter(tables_url)
        live = [await stream.next() for _ in TYPES]
        with Writer(tables_url) as writer:
            writer.run("alter table shop.items add more integer")
        assert (await other.next()).data["after"][-1] == {"name": "more", "type": "integer"}
    assert [event.type for event in live] == TYPES
    check(live[2].data)
    assert [event.data["after"]["total"] for event in (live[1], live[3])] == [3.0, "y"]
    # Another server reads the past from the log.
    async with serving(tables_url) as later, sse(later.stream_url, {**query, "lastEventId": str(end.id)}) as stream:
        assert [(await stream.next()).data for _ in TYPES] == [event.data for event in live]


async def test_a_websocket_gets_it_for_its_tables_and_types(server: RunningServer, tables_url: str) -> None:
    async with connect(server.url.replace("http", "ws") + "/ws") as socket:
        await socket.send(json.dumps({"type": "subscribe", "tables": ["orders"], "types": ["schema_changed"]}))
        assert (await receive(socket))["type"] == "subscribed"
        alter(tables_url)
        check(await receive(socket))


async def test_a_filter_lets_it_through_with_the_columns_that_it_shows(server: RunningServer, tables_url: str) -> None:
    query = {"table": "shop.orders", "where": "id > 2", "columns": "id", "envelope": "true"}
    async with sse(server.stream_url, query) as stream:
        alter(tables_url)
        first, second = (await stream.next()).data, (await stream.next()).data
    assert (first["type"], second["type"]) == ("row_inserted", "schema_changed")
    assert (second["before"], second["after"], second["rewritten"]) == ([ID], [ID], True)


async def test_other_columns_of_a_watch_are_announced_before_the_rows_that_have_them(
    server: RunningServer, tables_url: str
) -> None:
    async with sse(server.stream_url, {"table": "shop.orders", "envelope": "true"}) as stream:
        with Writer(tables_url) as writer:
            writer.run("insert into shop.orders values (2, 2, 's')")
            writer.run("select flagent_cdc.watch('shop.orders', exclude => '{total}')")
            writer.run("insert into shop.orders values (3, 3, 't')")
        first, change, last = [(await stream.next()).data for _ in range(3)]
    assert (first["after"], last["after"]) == ({"id": 2, "total": 2}, {"id": 3, "secret": "t"})
    assert (change["type"], change["rewritten"]) == ("schema_changed", True)
    assert (change["before"], change["after"]) == ([ID, TOTAL], [ID, {"name": "secret", "type": "text"}])


async def test_the_change_feed_has_it_in_each_format(server: RunningServer, tables_url: str) -> None:
    alter(tables_url)
    async with httpx.AsyncClient(base_url=server.url) as client:
        pages = [
            (await client.get("/api/v1/changes", params={"table": "shop.orders", "format": format})).json()
            for format in ("json", "debezium", "cloudevents")
        ]
    plain, debezium, events = pages[0]["changes"], pages[1]["changes"], pages[2]
    assert [change["op"] for change in plain] == ["insert", "insert", "schema", "insert"]
    assert (plain[2]["before"], plain[2]["after"], plain[2]["rewritten"]) == ([ID, TOTAL], [ID, TEXT], True)
    assert [column["typeName"] for column in debezium[2]["value"]["tableChanges"][0]["table"]["columns"]] == [
        "integer", "text",
    ]  # fmt: skip
    assert (events[2]["type"], events[2]["data"]) == ("flagent_cdc.schema_changed", plain[2])


async def test_without_event_triggers_it_comes_a_moment_later(server: RunningServer, tables_url: str) -> None:
    with Writer(tables_url) as writer:
        writer.run("drop event trigger flagent_cdc_900_note_rewrite", "drop event trigger flagent_cdc_910_log_ddl")
        async with sse(server.stream_url, {"table": "shop.orders", "envelope": "true"}) as stream:
            writer.run("alter table shop.orders alter total type text using 'x'")
            check((await stream.next()).data)
