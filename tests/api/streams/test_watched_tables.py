"""Rows of watched tables on the streams, as a data team's client sees them."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from websockets.asyncio.client import connect

from tests.fixtures.flags import Writer
from tests.fixtures.server import RunningServer, serving, sse
from tests.fixtures.websocket import receive

SECRET = "a secret of more than thirty-two bytes"

TABLES = (
    "create schema analytics",
    "create schema shop",
    "create table analytics.orders (id integer primary key, email text, total numeric)",
    "create table shop.orders (id integer primary key)",
    'create table analytics."shop.orders" (id integer primary key)',
    "select flagent_cdc.watch('analytics.orders', mask => '{email}')",
    "select flagent_cdc.watch('shop.orders')",
    "select flagent_cdc.watch('analytics.\"shop.orders\"')",
)


@pytest.fixture
def tables_url(database_url: str) -> str:
    """A database with three watched tables."""
    with Writer(database_url) as writer:
        for statement in TABLES:
            writer.run(statement)
    return database_url


@pytest.fixture
async def server(tables_url: str) -> AsyncIterator[RunningServer]:
    async with serving(tables_url) as running:
        yield running


async def test_rows_come_with_both_images_and_their_provenance(server: RunningServer, tables_url: str) -> None:
    url = make_conninfo(tables_url, application_name="checkout")
    with psycopg.connect(url, autocommit=True) as session:
        async with sse(server.stream_url, {"table": "analytics.orders", "envelope": "true"}) as stream:
            session.execute("insert into analytics.orders values (1, 'a@x', 10.50)")
            session.execute("update analytics.orders set total = 12, email = 'b@x'")
            session.execute("delete from analytics.orders")
            xid = session.execute("select pg_current_xact_id()::text::bigint - 1").fetchone()
            session.execute("truncate analytics.orders")
            events = [await stream.next() for _ in range(4)]
        user = session.execute("select session_user").fetchone()
    one, two = {"id": 1, "email": None, "total": 10.5}, {"id": 1, "email": None, "total": 12}
    key = {"id": 1}
    assert [(event.type, event.data["type"]) for event in events] == [
        (type, type) for type in ("row_inserted", "row_updated", "row_deleted", "table_truncated")
    ]
    assert [[event.data[name] for name in ("key", "before", "after", "changed")] for event in events] == [
        [key, None, one, []],
        [key, one, two, ["total"]],
        [key, two, None, []],
        [None, None, None, []],
    ]
    assert user is not None
    assert xid is not None
    assert {(e.data["table"], e.data["schema"], e.data["user"], e.data["application"]) for e in events} == {
        ("analytics.orders", "analytics", user[0], "checkout")
    }
    assert events[2].data["transaction"] == str(xid[0])
    assert all(event.data["committedAt"].endswith("Z") and event.data["id"] == event.id for event in events)


async def test_a_table_is_selected_with_or_without_its_schema_and_flags_stay_apart(
    server: RunningServer, tables_url: str
) -> None:
    with Writer(tables_url) as writer:
        async with (
            sse(server.stream_url) as flags,
            sse(server.stream_url, {"table": "orders"}) as both,
            sse(server.stream_url, {"table": "shop.orders", "type": "row_deleted"}) as deleted,
            sse(server.stream_url, [("table", "orders"), ("flag", "a")]) as mixed,
            sse(server.stream_url, {"table": 'analytics."shop.orders"'}) as dotted,
        ):
            writer.run('insert into analytics."shop.orders" values (1)')
            writer.run("insert into analytics.orders values (1)", "insert into shop.orders values (1)")
            writer.run("delete from shop.orders")
            writer.flag("a")
            assert [(await both.next()).data["table"] for _ in range(3)] == [
                "analytics.orders", "shop.orders", "shop.orders",
            ]  # fmt: skip
            only = await deleted.next()
            assert (only.type, only.data["table"]) == ("row_deleted", "shop.orders")
            assert [(await mixed.next()).type for _ in range(4)] == [
                "row_inserted", "row_inserted", "row_deleted", "flag_created",
            ]  # fmt: skip
            assert (await flags.next()).type == "flag_created"
            assert (await dotted.next()).data["table"] == 'analytics."shop.orders"'


async def test_who_comes_back_gets_the_rows_that_were_missed(tables_url: str) -> None:
    with Writer(tables_url) as writer:
        async with serving(tables_url) as server, sse(server.stream_url, {"table": "shop.orders"}) as stream:
            writer.run("insert into shop.orders values (1)")
            last = (await stream.next()).id
        writer.run("insert into shop.orders select generate_series(2, 300)")  # too many for a notification
        writer.flag("a")
        # Another server reads the past from the log.
        async with (
            serving(tables_url) as server,
            sse(server.stream_url, {"table": "shop.orders", "lastEventId": last}) as stream,
        ):
            missed = [await stream.next() for _ in range(299)]
            writer.run("update shop.orders set id = 0 where id = 1")
            live = await stream.next()
    assert [event.data["after"]["id"] for event in missed] == list(range(2, 301))
    assert (live.type, live.data["key"], live.data["before"]) == ("row_updated", {"id": 0}, {"id": 1})


async def test_a_websocket_takes_tables_and_gives_them_back(server: RunningServer, tables_url: str) -> None:
    with Writer(tables_url) as writer:
        async with connect(server.websocket_url) as socket:

            async def hear() -> dict[str, Any]:
                return await receive(socket)

            await socket.send(json.dumps({"type": "subscribe", "tables": ["shop.orders"], "flags": ["a"]}))
            assert (await hear())["added"]["tables"] == ["shop.orders"]
            writer.run("insert into shop.orders values (1)")
            event = await hear()
            assert (event["type"], event["table"], event["after"]) == ("row_inserted", "shop.orders", {"id": 1})
            assert event["user"] != ""
            await socket.send(json.dumps({"type": "unsubscribe", "tables": ["shop.orders"]}))
            assert (await hear())["removed"]["tables"] == ["shop.orders"]
            writer.run("insert into shop.orders values (2)")
            writer.flag("a")
            assert (await hear())["type"] == "flag_created"


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ({"tables": ["analytics.orders"]}, {"analytics.orders"}),
        ({"tables": ["orders"]}, {"analytics.orders", "shop.orders"}),
        ({"tables": ["*"], "schemas": ["shop"]}, {"shop.orders"}),
        ({"tables": ["shop.orders"]}, {"shop.orders"}),
        ({"tables": ['analytics."shop.orders"']}, {'analytics."shop.orders"'}),
        ({"flags": ["*"]}, set()),
    ],
)
async def test_a_scope_holds_for_tables_live_and_in_replay(
    tables_url: str, scopes: dict[str, Any], allowed: set[str]
) -> None:
    credential = jwt.encode({"sub": "u", "exp": time.time() + 300, "flagent_cdc": {"tables": ["*"]}}, SECRET, "HS256")
    restricted = jwt.encode({"sub": "u", "exp": time.time() + 300, "flagent_cdc": scopes}, SECRET, "HS256")
    wanted = [("table", name) for name in ("analytics.orders", "shop.orders", 'analytics."shop.orders"')]
    with Writer(tables_url) as writer:
        async with serving(tables_url, auth_jwt_secret=SECRET) as server:

            async def told(**parameters: str) -> tuple[set[str], str]:
                params = [*wanted, *parameters.items()]
                async with sse(server.stream_url, params, authorization=f"Bearer {restricted}") as stream:
                    if not parameters:
                        write()
                    found: set[str] = set()
                    while len(found) < len(allowed):
                        found.add((await stream.next()).data["table"])
                    if not allowed:
                        # Nothing comes, not even after all has been delivered to somebody else.
                        async with sse(server.stream_url, wanted, authorization=f"Bearer {credential}") as other:
                            writer.run("insert into shop.orders values (0)")
                            await other.next()
                        await server.pipeline.hub.reached(await server.pipeline.newest_position(), 10)
                        assert server.pipeline.hub.counters.deliveries == 1
                    return found, str(stream.greeting["id"])

            def write() -> None:
                for table in ("analytics.orders", "shop.orders", 'analytics."shop.orders"'):
                    writer.run(f"insert into {table} values (1)", f"update {table} set id = 2 where id = 1")

            live, since = await told()
            assert live == allowed
            if allowed:
                replayed, _ = await told(lastEventId=since)
                assert replayed == allowed
