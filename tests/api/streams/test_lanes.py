"""Streams of their own, as their clients see them."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
import pytest
from psycopg.conninfo import make_conninfo
from websockets.asyncio.client import connect

from cdc.admin.installation import migrate, uninstall
from cdc.core.change_feed.cursor import Cursor
from cdc.core.log.position import EventId
from tests.fixtures.changes import at_least, everything, page
from tests.fixtures.flags import Writer
from tests.fixtures.server import DEADLINE_S, RunningServer, serving, sse, until
from tests.fixtures.websocket import receive

SECRET = "a secret of more than thirty-two bytes"

TABLES = (
    "create schema shop",
    "create table shop.orders (id integer primary key, n integer)",
    "create table shop.clicks (id integer primary key, n integer)",
    "create table shop.plain (id integer primary key)",
    "select flagent_cdc.watch('shop.orders', lane => 'orders')",
    "select flagent_cdc.watch('shop.clicks', lane => 'clicks', lane_order => 'read')",
    "select flagent_cdc.watch('shop.plain')",
)


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    with Writer(database_url) as writer:
        for statement in TABLES:
            writer.run(statement)
        yield writer


@pytest.fixture
def server_settings(writer: Writer) -> dict[str, Any]:
    """The tables are watched before the server starts."""
    return {"listener_poll_interval_s": 0.05}


async def ready(server: RunningServer, table: str) -> None:
    """Wait until the stream of a table is served: just after the start it may not have been read yet."""
    async with httpx.AsyncClient() as client:

        async def is_served() -> bool:
            async with client.stream("GET", server.stream_url, params={"table": table}) as response:
                return response.status_code == 200

        await until(is_served, f"the stream of {table}")


@pytest.mark.parametrize("table", ["shop.orders", "shop.clicks"])
async def test_a_stream_of_its_own_has_ids_of_its_own_and_resumes(
    server: RunningServer, writer: Writer, table: str
) -> None:
    await ready(server, table)
    async with sse(server.stream_url, {"table": table, "envelope": "true"}) as stream:
        writer.run(
            f"insert into {table} values (1, 1)", f"update {table} set n = 2", "insert into shop.plain values (1)"
        )
        writer.run(f"delete from {table}")
        writer.run(f"truncate {table}")
        events = [await stream.next() for _ in range(4)]
    assert [event.type for event in events] == ["row_inserted", "row_updated", "row_deleted", "table_truncated"]
    assert [event.data["changed"] for event in events] == [[], ["n"], [], []]
    assert {event.data["user"] for event in events} == {events[0].data["user"]}
    ids = [event.id or "" for event in events]
    flags = server.pipeline.hub.catalog.log
    assert all(id.split("@")[1].startswith(flags + "s") for id in ids)
    assert ids[1] == ids[0].replace("-0@", "-1@")
    async with sse(server.stream_url, {"table": table, "lastEventId": ids[0]}) as stream:
        assert [(await stream.next()).id for _ in range(3)] == ids[1:]
    async with sse(server.stream_url, {"table": "shop.plain", "lastEventId": ids[0]}) as stream:
        other = await stream.next()
        assert (other.type, other.data["reason"]) == ("resync", "log_replaced")


@pytest.mark.parametrize("table", ["shop.orders", "shop.clicks"])
async def test_what_was_missed_is_read_from_the_log_after_a_restart(
    database_url: str, writer: Writer, table: str
) -> None:
    async with serving(database_url, listener_poll_interval_s=0.05) as server:
        await ready(server, table)
        async with sse(server.stream_url, {"table": table}) as stream:
            writer.run(f"insert into {table} values (0, 0)")
            last = (await stream.next()).id
    for n in range(1, 4):
        writer.run(f"insert into {table} select g, g from generate_series({n} * 1000, {n} * 1000 + 399) g")
    async with serving(database_url, listener_poll_interval_s=0.05, pipeline_ring_events=10) as server:
        await ready(server, table)
        async with sse(server.stream_url, {"table": table, "lastEventId": last}) as stream:
            missed = [(await stream.next()).data["after"]["id"] for _ in range(1200)]
            writer.run(f"insert into {table} values (9999, 0)")
            assert (await stream.next()).data["after"]["id"] == 9999
    assert missed == [n * 1000 + g for n in range(1, 4) for g in range(400)]


async def test_a_runtime_role_is_enough_for_streams_of_their_own(database_url: str, writer: Writer) -> None:
    role = f"cdc_run_{uuid.uuid4().hex[:8]}"
    writer.run(f"create role {role} login password 'p'")
    try:
        migrate(database_url, grant_to=role)
        async with serving(
            make_conninfo(database_url, user=role, password="p"), listener_poll_interval_s=0.05
        ) as server:
            for table in ("shop.orders", "shop.clicks", "shop.plain"):
                await ready(server, table)
                async with sse(server.stream_url, {"table": table}) as stream:
                    writer.run(f"insert into {table} values (1)")
                    assert (await stream.next()).data["after"]["id"] == 1
    finally:
        uninstall(database_url)
        writer.run(f"drop role {role}")


async def test_tables_of_two_streams_in_one_subscription_are_refused_by_name(
    server: RunningServer, writer: Writer
) -> None:
    await ready(server, "shop.orders")
    wishes: tuple[tuple[Any, str], ...] = (
        (
            [("table", "shop.orders"), ("table", "clicks")],
            "shop.clicks belongs to the lane clicks, and shop.orders",
        ),
        ([("table", "shop.orders"), ("table", "shop.plain")], "shop.plain to the lane flags"),
        ([("table", "shop.orders"), ("flag", "a")], "what is selected of flags belongs to the lane flags"),
    )
    async with httpx.AsyncClient() as client:
        for parameters, sentence in wishes:
            refused = await client.get(server.stream_url, params=parameters)
            assert (refused.status_code, refused.json()["code"]) == (400, "several_lanes")
            assert sentence in refused.json()["detail"]
        refused = await client.get(server.url + "/api/v1/changes", params={"table": ["shop.orders", "plain"]})
        assert (refused.status_code, refused.json()["code"]) == (400, "several_lanes")
        assert (await client.get(server.url + "/api/v1/changes", params={"table": "plain"})).status_code == 200
    async with connect(server.websocket_url) as socket:
        await socket.send(json.dumps({"type": "subscribe", "tables": ["orders"]}))
        assert (await receive(socket))["type"] == "subscribed"
        await socket.send(json.dumps({"type": "subscribe", "flags": ["a"], "requestId": "r"}))
        error = await receive(socket)
        assert (error["type"], error["code"], error["requestId"]) == ("error", "several_lanes", "r")
        assert "orders" in error["message"]
        # The subscription that there was goes on.
        writer.run("insert into shop.orders values (1, 1)")
        assert (await receive(socket))["table"] == "shop.orders"


async def test_a_websocket_without_a_subscription_may_go_to_another_stream_and_back(
    either_server: RunningServer, writer: Writer
) -> None:
    await ready(either_server, "shop.clicks")
    async with connect(either_server.websocket_url) as socket:
        for n, table in enumerate(("shop.clicks", "shop.plain", "shop.clicks")):
            await socket.send(json.dumps({"type": "subscribe", "tables": [table]}))
            assert (await receive(socket))["added"]["tables"] == [table]
            writer.run(f"insert into {table} values ({n})")
            event = await receive(socket)
            assert (event["table"], event["after"]["id"]) == (table, n)
            await socket.send(json.dumps({"type": "unsubscribe"}))
            assert (await receive(socket))["type"] == "unsubscribed"
            await socket.send(json.dumps({"type": "ping", "requestId": "p"}))
            assert (await receive(socket)) == {"type": "pong", "requestId": "p"}
    await until(lambda: either_server.pipeline.hub.subscriber_count == 0, "the end of the connection")


async def test_a_subscriber_of_a_table_that_moves_is_sent_to_its_new_stream(
    either_server: RunningServer, writer: Writer
) -> None:
    await ready(either_server, "shop.orders")
    async with connect(either_server.websocket_url) as socket:
        await socket.send(json.dumps({"type": "subscribe", "tables": ["shop.plain"]}))
        assert (await receive(socket))["type"] == "subscribed"
        writer.run("select flagent_cdc.watch('shop.plain', lane => 'orders')")
        await socket.wait_closed()
        assert socket.close_code == 1012
    await ready(either_server, "shop.plain")
    async with sse(either_server.stream_url, [("table", "shop.plain"), ("table", "shop.orders")]) as stream:
        writer.run("insert into shop.plain values (1)")
        assert (await stream.next()).data["table"] == "shop.plain"


@pytest.mark.parametrize("table", ["shop.orders", "shop.clicks"])
async def test_terminated_sessions_of_a_stream_are_replaced_and_nothing_is_lost(
    database_url: str, writer: Writer, table: str
) -> None:
    async with serving(database_url, listener_poll_interval_s=0.05) as server:
        await ready(server, table)
        async with sse(server.stream_url, {"table": table}) as stream:
            for n in range(3):
                writer.run(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and application_name like 'flagent-cdc%'"
                )
                writer.run(f"insert into {table} values ({n})")
                assert (await stream.next()).data["after"]["id"] == n


async def test_a_stream_waits_for_the_horizon_and_says_that_it_is_not_fresh(database_url: str, writer: Writer) -> None:
    async with serving(database_url, listener_poll_interval_s=0.05, sse_keep_alive_s=0.3) as server:
        await ready(server, "shop.clicks")
        with Writer(database_url) as slow, slow.connection.transaction():
            slow.connection.execute("insert into shop.clicks values (1, 1)")
            writer.run("insert into shop.clicks values (2, 2)")
            async with sse(server.stream_url, {"table": "shop.clicks"}) as stream:

                async def admits() -> bool:
                    return "fresh=false" in (await stream.next_block()).comment

                await until(admits, "the admission that changes are held back")
                slow.connection.execute("update shop.clicks set n = 3 where id = 1")
                slow.connection.execute("commit")
                told = [(await stream.next()).data["after"] for _ in range(3)]
    assert told == [{"id": 1, "n": 1}, {"id": 1, "n": 3}, {"id": 2, "n": 2}]


async def test_the_sequence_orders_the_changes_of_a_row_where_transactions_are_told_by_their_ids(
    database_url: str, writer: Writer
) -> None:
    writer.run("insert into shop.clicks values (1, 1)")
    async with serving(database_url, listener_poll_interval_s=0.05) as server:
        await ready(server, "shop.clicks")
        async with sse(server.stream_url, {"table": "shop.clicks"}) as stream:
            with Writer(database_url) as earlier, earlier.connection.transaction():
                # The transaction with the lower id changes the row last.
                earlier.connection.execute("insert into shop.clicks values (2, 0)")
                writer.run("update shop.clicks set n = 2 where id = 1")
                earlier.connection.execute("update shop.clicks set n = 3 where id = 1")
            told = [(await stream.next()).data for _ in range(3)]
    assert [event["after"]["n"] for event in told] == [0, 3, 2]
    assert [event["after"]["n"] for event in sorted(told, key=lambda event: int(event["sequence"]))] == [0, 2, 3]


async def test_a_scope_holds_on_streams_of_their_own_and_hides_where_tables_belong(
    database_url: str, writer: Writer
) -> None:
    def bearer(**scopes: Any) -> str:
        claims = {"sub": "u", "exp": time.time() + 300, "flagent_cdc": scopes}
        return "Bearer " + jwt.encode(claims, SECRET, "HS256")

    async with serving(database_url, listener_poll_interval_s=0.05, auth_jwt_secret=SECRET) as server:
        everything, orders = bearer(), bearer(tables=["shop.orders"])
        both: Any = [("table", "shop.orders"), ("table", "shop.clicks")]
        async with httpx.AsyncClient() as client:

            async def is_served() -> bool:
                response = await client.get(server.stream_url, params=both, headers={"authorization": everything})
                return response.status_code == 400

            await until(is_served, "the streams")

            async def is_read() -> bool:
                async with client.stream(
                    "GET", server.stream_url, params={"table": "orders"}, headers={"authorization": everything}
                ) as response:
                    return response.status_code == 200

            await until(is_read, "the stream of orders")
        # Who may not see shop.clicks is not told that it is watched, and where.
        async with sse(server.stream_url, both, authorization=orders) as stream:
            writer.run("insert into shop.clicks values (1, 1)")
            writer.run("insert into shop.orders values (1, 1)")
            assert (await stream.next(DEADLINE_S)).data["table"] == "shop.orders"
        async with sse(server.stream_url, {"table": "shop.clicks"}, authorization=orders) as stream:
            assert EventId.parse(stream.greeting["id"]).log == server.pipeline.hub.catalog.log


# -- the change feed and the rows --------------------------------------------------------------------------------------


def http_of(server: RunningServer) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S)


@pytest.mark.parametrize("table", ["shop.orders", "shop.clicks"])
async def test_the_feed_of_a_stream_gives_every_change_once_from_any_cursor(
    server: RunningServer, writer: Writer, table: str
) -> None:
    for n in range(6):
        writer.run(f"insert into {table} select {n} * 10 + g, g from generate_series(0, {n}) g")
    writer.run(f"update {table} set n = -1", f"delete from {table} where id < 30", f"truncate {table}")
    async with http_of(server) as http:
        whole = await at_least(49, http, table=table)
        assert [change["op"] for change in whole] == ["insert"] * 21 + ["update"] * 21 + ["delete"] * 6 + ["truncate"]
        assert [change["after"]["id"] for change in whole[:21]] == [n * 10 + g for n in range(6) for g in range(n + 1)]
        places = [(int(change["position"]), change["index"]) for change in whole]
        assert places == sorted(set(places))
        # The last one of a commit is known by it: whoever applies whole transactions needs no more.
        ends = [change["index"] == change["count"] for change in whole]
        following = [int(change["position"]) for change in whole[1:]] + [0]
        assert ends == [int(change["position"]) != next for change, next in zip(whole, following, strict=True)]
        for cut, limit in ((0, 3), (4, 500), (20, 4), (41, 1)):
            assert await everything(http, whole[cut]["cursor"], table=table, limit=limit) == whole[cut + 1 :]
        # Of another table of the stream nothing is told, and it is passed over.
        (other,) = [name for name in ("shop.orders", "shop.clicks") if name != table]
        stream = table.partition(".")[2]
        writer.run(f"select flagent_cdc.watch('shop.plain', lane => '{stream}')", f"insert into {table} values (1, 1)")
        assert await everything(http, whole[-1]["cursor"], table="shop.plain") == []
        refused = await http.get("/api/v1/changes", params={"after": whole[-1]["cursor"], "table": other})
        assert (refused.status_code, refused.json()["code"]) == (410, "log_replaced")


@pytest.mark.parametrize("table", ["shop.orders", "shop.clicks"])
async def test_consumers_of_a_stream_get_debezium_and_cloudevents(
    server: RunningServer, writer: Writer, table: str
) -> None:
    writer.run(f"insert into {table} values (1, 1), (2, 2)")
    writer.run(f"update {table} set id = 3 where id = 2", f"delete from {table} where id = 1")
    async with http_of(server) as http:
        (begun, *changes) = await at_least(4, http, table=table)
        records = (await page(http, table=table, format="debezium", after=begun["cursor"]))["changes"]
        events = (
            await http.get(
                "/api/v1/changes", params={"table": table, "format": "cloudevents", "after": begun["cursor"]}
            )
        ).json()
        rows = (await http.get(f"/api/v1/tables/{table}/rows", params={"format": "debezium"})).text.splitlines()
    assert [record["value"]["op"] for record in records] == ["c", "d", "c", "d"]
    assert [record["key"]["id"] for record in records] == [2, 2, 3, 1]
    order = [int(record["value"]["source"]["lsn"]) for record in records]
    assert order == sorted(order)
    assert [event["id"] for event in events] == [change["cursor"] for change in changes]
    assert [event["sequence"] for event in events] == sorted(event["sequence"] for event in events)
    read = json.loads(rows[1])
    assert (read["key"], read["value"]["op"], read["value"]["after"]) == ({"id": 3}, "r", {"id": 3, "n": 2})
    assert read["value"]["source"]["lsn"] < order[0] or table == "shop.orders"


@pytest.mark.parametrize("table", ["shop.orders", "shop.clicks"])
async def test_a_long_poll_is_answered_by_the_next_change_of_its_stream(
    server: RunningServer, writer: Writer, table: str
) -> None:
    async with http_of(server) as http:
        begun = await page(http, table=table)
        waiting = asyncio.create_task(page(http, table=table, after=begun["next"], waitMs=20_000))
        await until(
            lambda: any(pipeline.changes._waiting for pipeline in server.pipelines.pipelines.values()),
            "a reader that waits",
        )
        writer.run(f"insert into {table} values (1, 1)", "insert into shop.plain values (1)")
        told = await waiting
        assert [change["after"] for change in told["changes"]] == [{"id": 1, "n": 1}]
        # The end may still grow; what lies before it never changes.
        writer.run(f"insert into {table} values (2, 2)")
        await at_least(2, http, table=table)
        past = await http.get("/api/v1/changes", params={"table": table, "after": begun["next"], "limit": 1})
        assert "immutable" in past.headers["cache-control"]
        again = await http.get(
            "/api/v1/changes",
            params={"table": table, "after": begun["next"], "limit": 1},
            headers={"if-none-match": past.headers["etag"]},
        )
        assert again.status_code == 304
        end = await http.get("/api/v1/changes", params={"table": table, "after": told["next"]})
        assert end.headers["cache-control"] == "no-store"


async def test_a_table_that_was_watched_just_now_is_found_at_once(server: RunningServer, writer: Writer) -> None:
    async with http_of(server) as http:
        for name, order in (("new", "commit"), ("newer", "read")):
            writer.run(
                f"create table shop.{name} (id integer primary key)",
                f"select flagent_cdc.watch('shop.{name}', lane => '{name}', lane_order => '{order}')",
                f"insert into shop.{name} values (1)",
            )
            next = Cursor.parse((await page(http, table=f"shop.{name}"))["next"])
            assert next.log.endswith("s3" if name == "new" else "s4")
            assert [change["after"] for change in await at_least(1, http, table=f"shop.{name}")] == [{"id": 1}]


@pytest.mark.parametrize("table", ["shop.orders", "shop.clicks"])
async def test_a_cursor_of_a_stream_that_was_pruned_says_so(server: RunningServer, writer: Writer, table: str) -> None:
    for n in range(3):
        writer.run(f"insert into {table} select {n} * 10 + g, g from generate_series(0, 3) g")
    async with http_of(server) as http:
        whole = await at_least(12, http, table=table)
        writer.run("update flagent_cdc.retention set min_age = '0'", "select flagent_cdc.prune_lanes('0', 1000)")
        rest = await everything(http, table=table)
        assert rest == whole[-len(rest) :]
        assert 0 < len(rest) < len(whole)
        for change in whole[: -len(rest) - 1]:
            refused = await http.get("/api/v1/changes", params={"after": change["cursor"], "table": table})
            assert (refused.status_code, refused.json()["code"]) == (410, "pruned")
            assert refused.json()["oldestTime"] == rest[0]["committedAt"]
        assert await everything(http, whole[-len(rest) - 1]["cursor"], table=table) == rest


async def test_rows_of_mode_horizon_and_their_changes_join_around_a_transaction_that_runs(
    server: RunningServer, database_url: str, writer: Writer
) -> None:
    table = "shop.clicks"
    writer.run(f"insert into {table} values (1, 1)")
    async with http_of(server) as http:
        with Writer(database_url) as slow, slow.connection.transaction():
            slow.connection.execute("insert into shop.clicks values (2, 2)")
            # Later than the one that runs, and among the rows that are read now.
            writer.run(f"insert into {table} values (3, 3)", f"insert into {table} values (4, 4)")
            head, *rows, end = (await http.get(f"/api/v1/tables/{table}/rows")).text.splitlines()
            assert [json.loads(row)["row"]["id"] for row in rows] == [1, 3, 4]
            cursor = json.loads(end)["next"]
            # What the rows have seen is not told again, what runs is not yet told.
            writer.run(f"insert into {table} values (5, 5)")
            held_back = await page(http, table=table, after=cursor)
            assert (held_back["changes"], held_back["next"], held_back["isOpen"]) == ([], cursor, True)
            slow.connection.execute("update shop.clicks set n = 30 where id = 3")
        told: list[dict[str, Any]] = []
        for limit in (1, 2, 500):
            told = await at_least(3, http, cursor, table=table, limit=limit)
            assert [(change["op"], change["after"]) for change in told] == [
                ("insert", {"id": 2, "n": 2}),
                ("update", {"id": 3, "n": 30}),
                ("insert", {"id": 5, "n": 5}),
            ], limit
        # Each one's cursor knows as much, and the end is one like any other.
        assert await everything(http, told[0]["cursor"], table=table) == told[1:]
        assert "~" in told[0]["cursor"]
        assert "~" not in (await page(http, table=table, after=told[-1]["cursor"]))["next"]
        assert int(json.loads(head)["position"]) < int(told[0]["position"])


@asynccontextmanager
async def beginning_with_rows(
    server: RunningServer, table: str, transport: str
) -> AsyncIterator[Callable[[], Awaitable[dict[str, Any]]]]:
    """A subscription with `snapshot`: what comes next of it, apart from pieces without rows, its signs of life."""

    def is_news(message: dict[str, Any]) -> bool:
        return message["type"] not in ("subscribed", "rows") or bool(message.get("rows"))

    if transport == "sse":
        async with sse(server.stream_url, {"table": table, "snapshot": "true"}) as stream:

            async def hear_block() -> dict[str, Any]:
                while True:
                    event = await stream.next()
                    message = {"type": event.type, **event.data, **({} if event.id is None else {"id": event.id})}
                    if is_news(message):
                        return message

            yield hear_block
    else:
        async with connect(server.websocket_url) as socket:
            await socket.send(json.dumps({"type": "subscribe", "tables": [table], "snapshot": True}))

            async def hear_message() -> dict[str, Any]:
                while True:
                    message = await receive(socket)
                    if is_news(message):
                        return message

            yield hear_message


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_a_stream_of_mode_horizon_tells_what_was_running_before_the_rows_end(
    server: RunningServer, database_url: str, writer: Writer, transport: str
) -> None:
    table = "shop.clicks"
    await ready(server, table)
    writer.run(f"insert into {table} values (1, 1)")
    with Writer(database_url) as slow:
        slow.connection.execute("begin")
        slow.connection.execute("insert into shop.clicks values (2, 2)")
        writer.run(f"insert into {table} values (3, 3)")
        async with beginning_with_rows(server, table, transport) as hear_next:
            assert [row["row"]["id"] for row in (await hear_next())["rows"]] == [1, 3]
            slow.connection.execute("update shop.clicks set n = 30 where id = 3")
            slow.connection.execute("commit")
            told = [await hear_next() for _ in range(3)]
            writer.run(f"insert into {table} values (4, 4)")
            later = await hear_next()
    assert [message["type"] for message in told] == ["row_inserted", "row_updated", "rows_end"]
    assert [message.get("after") for message in told] == [{"id": 2, "n": 2}, {"id": 3, "n": 30}, None]
    # Whoever is cut off before the end begins anew.
    assert ["id" in message for message in told] == [False, False, True]
    assert (later["type"], later["after"]) == ("row_inserted", {"id": 4, "n": 4})
    async with sse(server.stream_url, {"table": table, "lastEventId": told[-1]["id"]}) as stream:
        assert (await stream.next()).id == later["id"]
