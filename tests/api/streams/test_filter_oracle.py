"""Random filters and claims against PostgreSQL: each subscriber's rows are those of `select … where`, at the end and at
positions in between, while random writers change the table and connections break."""

import asyncio
import json
import os
import random
import time
from collections.abc import Sequence
from typing import Any

import httpx
import jwt
import psycopg
import pytest
from psycopg import sql
from websockets.asyncio.client import connect

from cdc.core.errors import InvalidInput
from cdc.core.subscription.selection import Selection
from cdc.core.wire.query import row_query
from tests.cdc.filters.programs.comparison import prepare
from tests.cdc.filters.programs.conditions import random_condition
from tests.cdc.filters.programs.rows import COLUMNS, TYPES, random_row
from tests.fixtures.server import DEADLINE_S, RunningServer, serving
from tests.fixtures.websocket import receive_any

SECRET = "a secret of more than thirty-two bytes"

SUBSCRIBERS = int(os.environ.get("FLAGENT_CDC_TEST_FILTERS") or 12)
WRITERS = 3
CHANGES = 60
CHECKS = 10


class Subscriber:
    """A client of an event stream or a WebSocket, with a filter of its own, and for some also that of its token; it
    folds what it receives."""

    def __init__(self, choose: random.Random) -> None:
        self.choose = choose
        self.where, self.parameters = random_condition(choose)
        self.claim = choose.choice((None, 1, 7))
        self.has_socket = choose.random() < 0.5
        self.events: list[tuple[int, dict[str, Any] | None, str, dict[str, Any] | None]] = []
        self.rows: dict[int, Any] = {}
        self.position = 0
        self.last_id = ""
        self.breaks = 0

    @property
    def headers(self) -> dict[str, str]:
        rule: dict[str, Any] = {} if self.claim is None else {"rows": {"pairs": {"where": "i <> claim('not')"}}}
        scopes = rule or {"tables": ["pairs"]}
        claims = {"sub": "s", "exp": time.time() + 600, "not": self.claim, "flagent_cdc": scopes}
        return {"authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}", "accept-encoding": "identity"}

    @property
    def sql(self) -> str:
        return self.where if self.claim is None else f"({self.where}) and i <> {self.claim}"

    async def follow(self, server: RunningServer, ready: asyncio.Event, until: asyncio.Future[int]) -> None:
        """Read until the position is behind, with all of its commit; now and then the connection breaks, and continues
        after the last id."""
        while not until.done() or self.position <= until.result():
            if self.has_socket:
                await self._follow_socket(server, ready, until)
                continue
            query: list[tuple[str, str | int | float | bool | None]] = [
                ("table", "pairs"),
                ("where", self.where),
                ("envelope", "true"),
            ]
            query += [("param", value) for value in self.parameters if value is not None]
            query.append(("lastEventId", self.last_id) if self.last_id else ("snapshot", "true"))
            async with (
                httpx.AsyncClient(timeout=DEADLINE_S * 4, headers=self.headers) as client,
                client.stream("GET", server.stream_url, params=query) as answer,
            ):
                assert answer.status_code == 200, (self.where, await answer.aread())
                await self._read(answer, ready, until)

    async def _follow_socket(self, server: RunningServer, ready: asyncio.Event, until: asyncio.Future[int]) -> None:
        """The same on a WebSocket, over one connection."""
        parameters = [value for value in self.parameters if value is not None]
        subscribe: dict[str, Any] = {
            "type": "subscribe",
            "tables": [{"name": "pairs", "where": self.where, "params": parameters}],
        }
        subscribe |= {"lastEventId": self.last_id} if self.last_id else {"snapshot": True}
        left = self.choose.randint(5, 60)
        async with connect(server.websocket_url, additional_headers=self.headers) as socket:
            await socket.send(json.dumps(subscribe))
            while left > 0 or not ready.is_set():
                message = await receive_any(socket)
                # That of `subscribed` is where the server is, not what has arrived.
                if message["type"] != "subscribed" and message.get("id"):
                    self.last_id = message["id"]
                    self.position = int(self.last_id.partition("-")[0].partition("@")[0])
                self._take(message["type"], message, ready)
                if until.done() and self.position > until.result():
                    return
                left -= 1
        self.breaks += 1

    async def _read(self, answer: httpx.Response, ready: asyncio.Event, until: asyncio.Future[int]) -> None:
        left = self.choose.randint(5, 60)
        kind = ""
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "id":
                self.last_id = value
                self.position = int(value.partition("-")[0].partition("@")[0])
            elif name == "data":
                self._take(kind, json.loads(value), ready)
                left -= 1
            elif not line and (left <= 0 or (until.done() and self.position > until.result())) and ready.is_set():
                self.breaks += 1
                return

    def _take(self, kind: str, data: Any, ready: asyncio.Event) -> None:
        match kind:
            case "rows":
                for item in data["rows"]:
                    self.events.append((0, item["key"], "insert", item["row"]))
            case "rows_end":
                ready.set()
            case "row_inserted" | "row_updated":
                self.events.append((self.position, data["key"], "put", data["after"]))
                if data["before"] is not None and data["before"]["n"] != data["key"]["n"]:
                    self.events.insert(-1, (self.position, {"n": data["before"]["n"]}, "gone", None))
            case "row_deleted":
                self.events.append((self.position, data["key"], "gone", None))
            case "connected" | "subscribed" | "heartbeat" | "table_truncated":
                pass
            case _:
                raise AssertionError(f"{kind} {data}")

    def at(self, position: int) -> dict[int, Any]:
        """The rows as of a position."""
        rows: dict[int, Any] = {}
        for when, key, _, row in self.events:
            if when > position:
                break
            assert key is not None
            if row is None:
                rows.pop(key["n"], None)
            else:
                rows[key["n"]] = row
        return rows


def write(url: str, seed: int, writer: int) -> None:
    choose = random.Random(seed * 100 + writer)
    with psycopg.connect(url, autocommit=True) as session:
        for _ in range(CHANGES):
            with session.transaction():
                for _ in range(choose.randint(1, 3)):
                    number = writer * 1000 + choose.randint(1, 12)
                    row = random_row(choose, number)
                    kind = choose.random()
                    if kind < 0.45:
                        names = choose.sample(COLUMNS, 4)
                        sets = ", ".join(f'"{_double(name)}" = %s::{TYPES[name]}' for name in names)
                        session.execute(
                            f"update pairs set {sets} where n = {number}".encode(), [row[name] for name in names]
                        )
                    elif kind < 0.55:
                        session.execute(f"delete from pairs where n = {number}".encode())
                    elif kind < 0.62:
                        free = f"not exists (select from pairs where n = {number + 500})"
                        moved = f"update pairs set n = n + 500 where n = {number} and {free}"
                        session.execute(moved.encode())
                    else:
                        values = ", ".join(f"%s::{TYPES[name]}" for name in COLUMNS)
                        into = ", ".join(f'"{_double(name)}"' for name in COLUMNS)
                        insert = f"insert into pairs (n, {into}) values ({number}, {values}) on conflict do nothing"
                        session.execute(insert.encode(), [row[name] for name in COLUMNS])


def run(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(statement.encode())


def _double(name: str) -> str:
    return name.replace('"', '""')


def look(url: str, subscribers: Sequence[Subscriber]) -> tuple[int, list[dict[int, Any]]]:
    """The newest position, and what each subscriber should have then, in one snapshot."""
    with psycopg.connect(url) as session:
        session.execute("set transaction isolation level repeatable read")
        session.execute("set local timezone = 'UTC'")
        found = session.execute(
            "select coalesce((select max(position) from flagent_cdc.lane_commit_log),"
            " (select max(position) from flagent_cdc.commit_log))"
        ).fetchone()
        assert found is not None
        answers = []
        for one in subscribers:
            names = ", ".join(["unknown"] * len(one.parameters))
            head = f"prepare pair ({names}) as" if one.parameters else "prepare pair as"
            session.execute(f"{head} select n, to_json(p.*)::text from pairs p where {one.sql}".encode())
            values = sql.SQL(", ").join(map(sql.Literal, one.parameters))
            call = sql.SQL("execute pair ({})").format(values) if one.parameters else sql.SQL("execute pair")
            answers.append({row[0]: json.loads(row[1]) for row in session.execute(call).fetchall()})
            session.execute("deallocate pair")
        return found[0], answers


def subscribers_for(url: str, choose: random.Random, columns_of: Any) -> list[Subscriber]:
    """Subscribers whose filters PostgreSQL and the server both accept."""
    found: list[Subscriber] = []
    while len(found) < SUBSCRIBERS:
        one = Subscriber(random.Random(choose.random()))
        try:
            columns_of(one)
            look(url, [one])
        except (InvalidInput, psycopg.Error):
            continue
        found.append(one)
    return found


@pytest.mark.timeout(400)
@pytest.mark.parametrize("lane", ["flags", "pairs"])
async def test_each_subscribers_rows_are_those_that_postgresql_selects(database_url: str, lane: str) -> None:
    seed = int(os.environ.get("FLAGENT_CDC_TEST_SEED") or random.randrange(1_000_000))
    print(f"seed {seed}")
    choose = random.Random(seed)
    with psycopg.connect(database_url, autocommit=True) as session:
        prepare(session)
        session.execute("select flagent_cdc.watch('pairs', lane => %s)", (lane,))
    await asyncio.to_thread(write, database_url, seed, 9)
    async with serving(database_url, auth_jwt_secret=SECRET) as server:

        def accept(one: Subscriber) -> None:
            query = row_query(["pairs"], one.where, [value or "" for value in one.parameters], None)
            server.pipelines.compiled(Selection.of(tables=["pairs"], row_query=query))

        pipelines = server.pipelines.pipelines
        assert await pipelines[lane].loaded(DEADLINE_S)
        subscribers = await asyncio.to_thread(subscribers_for, database_url, choose, accept)
        until: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        expected: list[tuple[int, list[dict[int, Any]]]] = []
        async with asyncio.timeout(DEADLINE_S * 6), asyncio.TaskGroup() as group:
            for one in subscribers:
                ready = asyncio.Event()
                group.create_task(one.follow(server, ready, until))
                await ready.wait()
            begin = (await asyncio.to_thread(look, database_url, subscribers))[0]
            writers = [
                asyncio.create_task(asyncio.to_thread(write, database_url, seed, number)) for number in range(WRITERS)
            ]
            expected += [await asyncio.to_thread(look, database_url, subscribers) for _ in range(CHECKS)]
            await asyncio.gather(*writers)
            expected.append(await asyncio.to_thread(look, database_url, subscribers))
            until.set_result(expected[-1][0])
            # A truncation is the last change of every filter.
            await asyncio.to_thread(run, database_url, "truncate pairs")
    assert expected[-1][0] > begin
    for position, answers in expected:
        for one, answer in zip(subscribers, answers, strict=True):
            assert one.at(position) == answer, f"seed {seed}, at {position}: {one.sql} {one.parameters}"
    assert sum(one.breaks for one in subscribers) > 0
    assert any(answer for answer in expected[-1][1])
