"""Random filters and claims against PostgreSQL: each subscriber's rows are those of `select … where`, at the end and at
positions in between, in every kind of lane and through NATS, while random writers change the table, connections break,
and the server loses its own.

FLAGENT_CDC_TEST_SEED repeats the filters and the writes of an earlier run; FLAGENT_CDC_TEST_FILTERS is the number of
subscribers, and FLAGENT_CDC_TEST_FILTER_CHANGES that of each writer's transactions.
"""

import asyncio
import json
import os
import random
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import psycopg
import pytest
from psycopg import sql
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cdc.core.change_feed.snapshot_visibility import SnapshotVisibility
from cdc.core.errors import InvalidInput
from cdc.core.subscription.selection import Selection
from cdc.core.wire.query import row_query
from tests.cdc.filters.programs.comparison import prepare
from tests.cdc.filters.programs.conditions import random_condition
from tests.cdc.filters.programs.rows import COLUMNS, TYPES, random_row
from tests.fixtures.nats import active, relaying, run_nats
from tests.fixtures.server import RunningServer, serving, until
from tests.fixtures.websocket import receive_any

SECRET = "a secret of more than thirty-two bytes"

SUBSCRIBERS = int(os.environ.get("FLAGENT_CDC_TEST_FILTERS") or 8)
CHANGES = int(os.environ.get("FLAGENT_CDC_TEST_FILTER_CHANGES") or 60)
WRITERS = 3
CHECKS = 10
ROWS = 24

# The machine may be busy, and every fault costs some seconds.
DEADLINE_S = 60.0

QUICK: dict[str, Any] = {
    "auth_jwt_secret": SECRET,
    "listener_probe_interval_s": 0.5,
    "listener_poll_interval_s": 0.05,
}


class Broken(Exception):
    """The connection is of no use any more, and the client makes another one."""


@dataclass(frozen=True)
class Look:
    """What each subscriber should have at a point in time, and the newest position then. In a lane that is ordered
    when read, positions are ids of transactions, of which a snapshot does not see all below the newest."""

    newest: int
    answers: Sequence[dict[int, Any]]
    visibility: SnapshotVisibility | None

    def sees(self, position: int) -> bool:
        return position <= self.newest and (self.visibility is None or self.visibility.sees(position))


class Subscriber:
    """A client of an event stream or a WebSocket, with a filter of its own, and for some also that of its token; it
    folds what it receives."""

    def __init__(self, choose: random.Random) -> None:
        self.choose = choose
        self.where, self.parameters = random_condition(choose)
        self.claim = choose.choice((None, 1, 7))
        self.has_socket = choose.random() < 0.5
        # The position, the key, the row, None where it is gone, and what orders the changes of one row.
        self.events: list[tuple[int, int, dict[str, Any] | None, int]] = []
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

    async def follow(self, servers: Sequence[RunningServer], ready: asyncio.Event, until: asyncio.Future[int]) -> None:
        """Read until the position is behind, with all of its commit; now and then the connection breaks, and continues
        after the last id, perhaps on another server. The rows come from the first, which has the database."""
        while not until.done() or self.position <= until.result():
            server = self.choose.choice(servers) if self.last_id else servers[0]
            try:
                await (self._follow_socket if self.has_socket else self._follow_events)(server, ready, until)
            except (Broken, ConnectionClosed, InvalidStatus, httpx.TransportError):
                assert ready.is_set()
                await asyncio.sleep(0.2)
            self.breaks += 1

    async def _follow_socket(self, server: RunningServer, ready: asyncio.Event, until: asyncio.Future[int]) -> None:
        parameters = [value for value in self.parameters if value is not None]
        subscribe: dict[str, Any] = {
            "type": "subscribe",
            "tables": [{"name": "pairs", "where": self.where, "params": parameters}],
        }
        subscribe |= {"lastEventId": self.last_id} if self.last_id else {"snapshot": True}
        left = self.choose.randint(5, 60)
        async with connect(server.websocket_url, additional_headers=self.headers, open_timeout=DEADLINE_S) as socket:
            await socket.send(json.dumps(subscribe))
            while left > 0 or not ready.is_set():
                message = await receive_any(socket)
                # That of `subscribed` is where the server is, not what has arrived.
                self._take(message["type"], message, "" if message["type"] == "subscribed" else message.get("id", ""))
                if message["type"] == "rows_end":
                    ready.set()
                if until.done() and self.position > until.result():
                    return
                left -= 1

    async def _follow_events(self, server: RunningServer, ready: asyncio.Event, until: asyncio.Future[int]) -> None:
        query: list[tuple[str, str | int | float | bool | None]] = [
            ("table", "pairs"),
            ("where", self.where),
            ("envelope", "true"),
        ]
        query += [("param", value) for value in self.parameters if value is not None]
        query.append(("lastEventId", self.last_id) if self.last_id else ("snapshot", "true"))
        left = self.choose.randint(5, 60)
        async with (
            httpx.AsyncClient(timeout=DEADLINE_S * 2, headers=self.headers) as client,
            client.stream("GET", server.stream_url, params=query) as answer,
        ):
            if answer.status_code == 503:
                raise Broken
            assert answer.status_code == 200, (self.where, await answer.aread())
            block: dict[str, str] = {}
            async for line in answer.aiter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    block[name] = value
                    continue
                self._take(block.get("event", ""), json.loads(block.get("data", "null")), block.get("id", ""))
                if block.get("event") == "rows_end":
                    ready.set()
                left -= "data" in block
                block = {}
                if (left <= 0 or (until.done() and self.position > until.result())) and ready.is_set():
                    return

    def _take(self, kind: str, data: Any, id: str) -> None:
        if id:
            self.last_id = id
            self.position = int(id.partition("-")[0].partition("@")[0])
        match kind:
            case "rows":
                for item in data["rows"]:
                    self.events.append((0, item["key"]["n"], item["row"], -1))
            case "row_inserted" | "row_updated" | "row_deleted":
                number, sequence = data["key"]["n"], int(data.get("sequence", 0))
                if kind == "row_deleted":
                    self.events.append((self.position, number, None, sequence))
                    return
                if data["before"] is not None and data["before"]["n"] != number:
                    self.events.append((self.position, data["before"]["n"], None, sequence))
                self.events.append((self.position, number, data["after"], sequence))
            case "error" if data["code"] == "not_ready":
                raise Broken
            case "" | "connected" | "subscribed" | "heartbeat" | "table_truncated" | "rows_end":
                pass
            case _:
                raise AssertionError(f"{kind} {data}")

    def at(self, look: Look) -> dict[int, Any]:
        """The rows as of a look."""
        rows: dict[int, Any] = {}
        newest: dict[int, int] = {}
        for position, number, row, sequence in self.events:
            if look.sees(position) and sequence >= newest.get(number, -1):
                newest[number] = sequence
                rows[number] = row
        return {number: row for number, row in rows.items() if row is not None}


class Progress:
    """How many transactions of all writers have ended, and how many may be begun: they must not run away from those who
    look at the table."""

    def __init__(self, allowed: int) -> None:
        self.ended = 0
        self.conflicts = 0
        self._begun = 0
        self._allowed = allowed
        self._changed = threading.Condition()

    def begin(self) -> None:
        """Wait until one more may be begun."""
        with self._changed:
            self._changed.wait_for(lambda: self._begun < self._allowed)
            self._begun += 1

    def end(self, *, has_conflict: bool) -> None:
        with self._changed:
            self.ended += 1
            self.conflicts += has_conflict

    def allow(self, allowed: int) -> None:
        with self._changed:
            self._allowed = allowed
            self._changed.notify_all()


def write(url: str, seed: int, writer: int, progress: Progress) -> None:
    """Random transactions on rows that all writers share; some conflict, and are rolled back."""
    choose = random.Random(seed * 100 + writer)
    levels = (psycopg.IsolationLevel.READ_COMMITTED, psycopg.IsolationLevel.REPEATABLE_READ)
    with psycopg.connect(url, autocommit=True) as session:
        for _ in range(CHANGES):
            session.isolation_level = choose.choice(levels)
            progress.begin()
            has_conflict = False
            try:
                with session.transaction():
                    for _ in range(choose.randint(1, 3)):
                        with session.transaction() as savepoint:
                            change(session, choose)
                            if choose.random() < 0.1:
                                raise psycopg.Rollback(savepoint)
            except (
                psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure, psycopg.errors.UniqueViolation
            ):  # fmt: skip
                has_conflict = True
            progress.end(has_conflict=has_conflict)


def change(session: psycopg.Connection[Any], choose: random.Random) -> None:
    number = choose.randint(1, ROWS)
    row = random_row(choose, number)
    kind = choose.random()
    if kind < 0.45:
        names = choose.sample(COLUMNS, 4)
        sets = ", ".join(f'"{_double(name)}" = %s::{TYPES[name]}' for name in names)
        session.execute(f"update pairs set {sets} where n = {number}".encode(), [row[name] for name in names])
    elif kind < 0.55:
        session.execute(f"delete from pairs where n = {number}".encode())
    elif kind < 0.65:
        old, new = choose.sample((number, number + 500), 2)
        free = f"not exists (select from pairs where n = {new})"
        session.execute(f"update pairs set n = {new} where n = {old} and {free}".encode())
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


def look(url: str, subscribers: Sequence[Subscriber], order: str) -> Look:
    """What each subscriber should have, read in one snapshot."""
    with psycopg.connect(url) as session:
        session.execute("set transaction isolation level repeatable read")
        session.execute("set local timezone = 'UTC'")
        found = session.execute(
            "select coalesce((select max(position) from flagent_cdc.lane_commit_log),"
            " (select max(position) from flagent_cdc.commit_log), 0), pg_current_snapshot()::text"
        ).fetchone()
        assert found is not None
        visibility = SnapshotVisibility.of_pg_snapshot(found[1]) if order == "read" else None
        answers = []
        for one in subscribers:
            names = ", ".join(["unknown"] * len(one.parameters))
            head = f"prepare pair ({names}) as" if one.parameters else "prepare pair as"
            session.execute(f"{head} select n, to_json(p.*)::text from pairs p where {one.sql}".encode())
            values = sql.SQL(", ").join(map(sql.Literal, one.parameters))
            call = sql.SQL("execute pair ({})").format(values) if one.parameters else sql.SQL("execute pair")
            answers.append({row[0]: json.loads(row[1]) for row in session.execute(call).fetchall()})
            session.execute("deallocate pair")
        return Look(found[0] if visibility is None else visibility.end - 1, answers, visibility)


def subscribers_for(url: str, choose: random.Random, columns_of: Any) -> list[Subscriber]:
    """Subscribers whose filters PostgreSQL and the server both accept."""
    found: list[Subscriber] = []
    while len(found) < SUBSCRIBERS:
        one = Subscriber(random.Random(choose.random()))
        try:
            columns_of(one)
            look(url, [one], "commit")
        except (InvalidInput, psycopg.Error):
            continue
        found.append(one)
    return found


def end_sessions(url: str) -> None:
    """Terminate every session of the servers and of the relay."""
    run(
        url,
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and application_name like 'flagent-cdc%'",
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("lane", "order", "has_nats"),
    [
        ("flags", "commit", False),
        ("pairs", "commit", False),
        ("pairs", "read", False),
        ("flags", "commit", True),
        ("pairs", "read", True),
    ],
    ids=[
        "flags' lane", "ordered at commit", "ordered when read", "flags' lane through NATS",
        "ordered when read through NATS",
    ],
)  # fmt: skip
async def test_each_subscribers_rows_are_those_that_postgresql_selects(
    database_url: str, tmp_path: Path, lane: str, order: str, has_nats: bool
) -> None:
    seed = int(os.environ.get("FLAGENT_CDC_TEST_SEED") or random.randrange(1_000_000))
    print(f"seed {seed}")
    choose = random.Random(seed)
    with psycopg.connect(database_url, autocommit=True) as session:
        prepare(session)
        own = () if lane == "flags" else (lane, order)
        session.execute(
            "select flagent_cdc.watch('pairs'" + (", lane => %s, lane_order => %s)" if own else ")"), own or None
        )
    await asyncio.to_thread(write, database_url, seed, 9, Progress(CHANGES))
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serving(database_url, **QUICK))]
        faults: list[Callable[[], Awaitable[None]]] = [lambda: asyncio.to_thread(end_sessions, database_url)]
        if has_nats:
            nats = stack.enter_context(run_nats(tmp_path))
            relay = await stack.enter_async_context(relaying(database_url, nats.url, listener_poll_interval_s=0.05))
            await active(relay, DEADLINE_S)
            servers.append(await stack.enter_async_context(serving(None, nats_source=nats.url, **QUICK)))

            async def restart_nats() -> None:
                await asyncio.to_thread(nats.stop)
                nats.start()

            faults.append(restart_nats)
        for server in servers:
            pipelines = server.pipelines.pipelines
            await until(lambda pipelines=pipelines: lane in pipelines, "the lane", DEADLINE_S)  # type: ignore[misc]
            assert await pipelines[lane].loaded(DEADLINE_S)

        def accept(one: Subscriber) -> None:
            query = row_query(["pairs"], one.where, [value or "" for value in one.parameters], None)
            servers[0].pipelines.compiled(Selection.of(tables=["pairs"], row_query=query))

        subscribers = await asyncio.to_thread(subscribers_for, database_url, choose, accept)
        last: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        looks: list[Look] = []
        every = CHANGES * WRITERS
        progress = Progress(0)
        async with asyncio.timeout(DEADLINE_S * 8), asyncio.TaskGroup() as group:
            for one in subscribers:
                ready = asyncio.Event()
                group.create_task(one.follow(servers, ready, last))
                await ready.wait()
            begin = await asyncio.to_thread(look, database_url, subscribers, order)
            writers = [
                group.create_task(asyncio.to_thread(write, database_url, seed, number, progress))
                for number in range(WRITERS)
            ]
            try:
                for part in range(CHECKS):
                    # Each look is taken in the midst of its part of the transactions, while the writers go on.
                    progress.allow((part + 1) * every // CHECKS)
                    half = (2 * part + 1) * every // (2 * CHECKS)
                    await until(lambda half=half: progress.ended >= half, "the writers", DEADLINE_S * 2)  # type: ignore[misc]
                    looks.append(await asyncio.to_thread(look, database_url, subscribers, order))
                    if part % 3 == 1:
                        await choose.choice(faults)()
            finally:
                progress.allow(every)
            await asyncio.wait(writers)
            looks.append(await asyncio.to_thread(look, database_url, subscribers, order))
            last.set_result(looks[-1].newest)
            # A truncation is the last change of every filter.
            await asyncio.to_thread(run, database_url, "truncate pairs")
    assert looks[-1].newest > begin.newest
    for each in looks:
        for one, answer in zip(subscribers, each.answers, strict=True):
            assert one.at(each) == answer, f"seed {seed}, at {each.newest}: {one.sql} {one.parameters}"
    events, breaks = (sum(len(one.events) for one in subscribers), sum(one.breaks for one in subscribers))
    newest = [each.newest for each in looks]
    print(f"{progress.ended} transactions, {progress.conflicts} conflicts, {events} events, {breaks} breaks, {newest}")
    assert breaks > 0
    assert len(set(newest)) > CHECKS // 2
    assert any(answer for answer in looks[-1].answers)
