"""Against the real server on a real PostgreSQL: random writers, a proxy that resets and becomes silent, restarts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from proxy import Proxy
from tests.fixtures.flags import Writer
from tests.fixtures.server import ServerProcess, serving

from flagent_realtime import (
    ConnectionRefused,
    EventType,
    Flag,
    FlagentClient,
    FlagentEvent,
    FlagentSSEClient,
    FlagentWebSocketClient,
    FlagStore,
    ReconnectConfig,
    StoreStatus,
    TableStore,
)
from flagent_realtime._event_id import compare_event_ids

QUICK = ReconnectConfig(max_attempts=0, initial_delay=0.02, max_delay=0.2)
DEADLINE_S = 20.0

both = pytest.mark.parametrize("transport", ["sse", "ws"])
Client = FlagentSSEClient | FlagentWebSocketClient


async def eventually(condition: Callable[[], object], what: str) -> None:
    end = asyncio.get_running_loop().time() + DEADLINE_S
    while not condition():
        if asyncio.get_running_loop().time() > end:
            raise AssertionError(f"{what} did not happen in {DEADLINE_S:g} s")
        await asyncio.sleep(0.01)


def client_of(transport: str, port: int, **options: Any) -> Client:
    options.setdefault("reconnect_config", QUICK)
    if transport == "ws":
        return FlagentWebSocketClient(f"ws://127.0.0.1:{port}/ws", **options)
    return FlagentSSEClient(f"http://127.0.0.1:{port}/api/v1/events/stream", **options)


@asynccontextmanager
async def behind_a_proxy(database_url: str, **settings: Any) -> AsyncIterator[tuple[Any, Proxy]]:
    settings = {"sse_keep_alive_s": 0.5, "websocket_ping_interval_s": 0.5} | settings
    async with serving(database_url, **settings) as server, Proxy(int(server.url.rpartition(":")[2])) as proxy:
        yield server, proxy


class RandomWriter:
    """Writes at random in a thread, in transactions of one to four statements; some are rolled back."""

    def __init__(self, url: str, seed: int, count: int) -> None:
        self._url, self._random, self._count = url, random.Random(seed), count

    def run(self) -> None:
        with Writer(self._url) as writer:
            for _ in range(self._count):
                statements = [self._statement() for _ in range(self._random.randint(1, 4))]
                with contextlib.suppress(psycopg.IntegrityError, psycopg.errors.DeadlockDetected):
                    if self._random.random() < 0.1:
                        statements.append("select 1 / (select count(*) from flags where false)")
                        with contextlib.suppress(psycopg.errors.DivisionByZero):
                            writer.run(*statements)
                    else:
                        writer.run(*statements)

    def _statement(self) -> str:
        n, pick = self._random.randint(1, 10**9), self._random.choice
        some_flag = "(select id from flags order by random() limit 1)"
        some_segment = "(select id from segments order by random() limit 1)"
        return pick(
            [
                f"insert into flags (key, description, enabled, created_at) values ('f{n % 40}', 'made {n}', {n % 2 == 0}, now()) on conflict do nothing",
                f"update flags set enabled = not enabled where id = {some_flag}",
                f"update flags set enabled = not enabled where id = {some_flag}",
                f"update flags set description = 'a \"quoted\" ü 🚩 {n}', notes = null where id = {some_flag}",
                f"update flags set snapshot_id = {n % 1000}, updated_by = 'w', updated_at = now() where id = {some_flag}",
                f"update flags set key = 'r{n % 40}' where id = {some_flag}",
                f"update flags set deleted_at = now() where id = {some_flag}",
                "update flags set deleted_at = null where deleted_at is not null",
                f"delete from flags where id = {some_flag}",
                f"insert into segments (flag_id, rank, rollout_percent, created_at) select id, {n % 5}, {n % 101}, now() from flags order by random() limit 1",
                f"delete from segments where id = {some_segment}",
                f"insert into constraints (segment_id, property, operator, value, created_at) select id, 'country', 'EQ', 'US{n}', now() from segments order by random() limit 1",
                f'insert into variants (flag_id, key, attachment, created_at) select id, \'v{n % 9}\', \'{{"b": "{n}", "a": "x"}}\', now() from flags order by random() limit 1',
                "insert into distributions (segment_id, variant_id, variant_key, percent, created_at)"
                " select s.id, v.id, v.key, 100, now() from segments s join variants v on v.flag_id = s.flag_id order by random() limit 1",
                f"insert into tags (value, created_at) values ('t{n % 5}', now()) on conflict do nothing",
                "insert into flags_tags (flag_id, tag_id) select f.id, t.id from flags f, tags t order by random() limit 1 on conflict do nothing",
                f"delete from flags_tags where flag_id = {some_flag}",
            ]
        )


TRUTH = """
select f.key, f.id, f.enabled, f.description,
  coalesce((select jsonb_agg(t.value order by t.id) from flags_tags ft join tags t on t.id = ft.tag_id where ft.flag_id = f.id), '[]'),
  coalesce((select jsonb_agg(jsonb_build_array(v.id, v.key, v.attachment::jsonb) order by v.id) from variants v where v.flag_id = f.id and v.deleted_at is null), '[]'),
  coalesce((select jsonb_agg(jsonb_build_array(s.id, s.rank, s.rollout_percent,
      coalesce((select jsonb_agg(jsonb_build_array(c.property, c.operator, c.value) order by c.created_at, c.id) from constraints c where c.segment_id = s.id), '[]'),
      coalesce((select jsonb_agg(jsonb_build_array(d.variant_id, d.percent) order by d.variant_id, d.id) from distributions d where d.segment_id = s.id), '[]')
    ) order by s.rank, s.id) from segments s where s.flag_id = f.id and s.deleted_at is null), '[]')
from flags f where f.deleted_at is null
"""


def truth(url: str) -> dict[str, Any]:
    """The flags in the database, queried directly."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(TRUTH.encode()).fetchall()
    return {row[0]: json.loads(json.dumps(row[1:])) for row in rows}


def shown(flag: Flag) -> list[Any]:
    """A flag of the store in the form of :func:`truth`."""
    return [
        flag.id,
        flag.enabled,
        flag.description,
        [tag.value for tag in flag.tags],
        [[v.id, v.key, v.attachment] for v in flag.variants],
        [
            [
                s.id,
                s.rank,
                s.rollout_percent,
                [[c.property, c.operator, c.value] for c in s.constraints],
                [[d.variant_id, d.percent] for d in s.distributions],
            ]
            for s in flag.segments
        ],
    ]


def state(store: FlagStore) -> dict[str, Any]:
    return {flag.key: shown(flag) for flag in store}


def sockets() -> int:
    """Open sockets of this process."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count


@both
@pytest.mark.parametrize("seed", [1, 2])
async def test_the_store_ends_equal_to_the_database(database_url: str, transport: str, seed: int) -> None:
    """Random writers, a proxy that resets and becomes silent: at the end all is equal, no event came twice, no task is left."""
    print("seed", seed)
    chaos = random.Random(seed)
    async with behind_a_proxy(database_url, pipeline_ring_events=200) as (server, proxy):
        threads, open_sockets = set(threading.enumerate()), sockets()
        ids: list[str] = []
        repeated: list[str] = []
        errors: list[Exception] = []

        async def on_event(event: FlagentEvent) -> None:
            if event.type is not EventType.RESYNC and event.id is not None:
                if ids and compare_event_ids(event.id, ids[-1]) != 1:
                    repeated.append(event.id)
                ids.append(event.id)
            elif event.type is EventType.RESYNC:
                ids.clear()
            if chaos.random() < 0.01:
                await asyncio.sleep(0.02)

        client = client_of(transport, proxy.port)
        client.on_error(errors.append)
        client.on_event(on_event)
        store = FlagStore(client)
        partial = FlagStore(client, tags=["t1"])
        changes = 0

        def count(change: object) -> None:
            nonlocal changes
            changes += 1

        store.on_change(count)
        await client.start()
        writers = [
            asyncio.create_task(asyncio.to_thread(RandomWriter(database_url, seed * 10 + n, 60).run)) for n in range(3)
        ]
        disturbances = 0
        while disturbances < 5 or not all(writer.done() for writer in writers):
            disturbances += 1
            await asyncio.sleep(chaos.uniform(0.05, 0.4))
            if chaos.random() < 0.25:
                proxy.silence()
                await asyncio.sleep(chaos.uniform(0.1, 0.4))
                proxy.speak()
            else:
                proxy.reset()
        await asyncio.gather(*writers)
        expected = await asyncio.to_thread(truth, database_url)
        await eventually(lambda: state(store) == expected and store.status is StoreStatus.READY, "equality")
        await eventually(lambda: store.digest == server.pipeline.hub.catalog.digest, "an equal digest")
        tagged = {key: flag for key, flag in expected.items() if "t1" in flag[3]}
        await eventually(lambda: state(partial) == tagged and partial.status is StoreStatus.READY, "the partial store")
        await eventually(lambda: client.queued_messages == 0, "an empty queue")
        assert repeated == []
        assert ids
        assert changes > 20
        assert proxy.accepted > 2
        assert {type(error).__name__ for error in errors} <= {"ConnectionLost"}, errors
        await client.close()
        await eventually(lambda: proxy.connections == 0, "the end of all connections")
        # The server in this loop has tasks too; those of the SDK have names.
        await eventually(
            lambda: not [task for task in asyncio.all_tasks() if task.get_name().startswith("flagent-")], "the end"
        )
        left = [each.name for each in set(threading.enumerate()) - threads]
        assert all(name.startswith("asyncio_") for name in left), left  # the loop's thread pool, which ran the writers
        await eventually(lambda: sockets() <= open_sockets, "the end of all sockets")


@both
async def test_a_client_reconnects_after_a_silent_network(database_url: str, transport: str) -> None:
    with Writer(database_url) as writer:
        number = writer.flag("a")
        async with behind_a_proxy(database_url) as (_, proxy):
            async with client_of(transport, proxy.port, connect_timeout=1.0) as client:
                store = FlagStore(client)
                await store.ready(10)
                await eventually(lambda: client._supervisor.liveness._observed is not None, "two heartbeats")
                proxy.silence()
                writer.toggle(number)
                await eventually(lambda: store.status is StoreStatus.STALE, "staleness")
                proxy.reset()
                proxy.speak()
                await eventually(lambda: (found := store.get("a")) is not None and found.enabled, "the change")
                await eventually(lambda: store.status is StoreStatus.READY, "readiness")


@pytest.mark.timeout(180)  # two servers start, each with a deadline of a minute
@both
async def test_a_client_resumes_after_a_killed_server(database_url: str, transport: str) -> None:
    """Subscriptions survive, no event is lost or repeated, and changes made in between arrive."""
    seen: list[tuple[str | None, bool]] = []
    with Writer(database_url) as writer:
        number = writer.flag("a")
        process = ServerProcess(database_url)
        try:
            process.start()
            await process.ready()
            async with client_of(transport, process.port) as client:
                client.subscribe_flag("a", lambda flag: seen.append((flag.key, flag.enabled)))
                store = FlagStore(client)
                await store.ready(20)
                writer.toggle(number)
                await eventually(lambda: seen == [("a", True)], "the first event")
                process.kill()
                await eventually(lambda: store.status is StoreStatus.STALE, "staleness")
                writer.toggle(number)
                writer.toggle(number)
                process.start()
                await process.ready()
                await eventually(lambda: len(seen) == 3, "what was written meanwhile")
                assert seen == [("a", True), ("a", False), ("a", True)]
                await eventually(lambda: store.status is StoreStatus.READY, "readiness")
        finally:
            process.kill()


async def test_evaluation_over_the_wire_equals_local_evaluation(database_url: str) -> None:
    with Writer(database_url) as writer:
        number = writer.flag("split", enabled=True)
        segment = writer.segment(number, rollout=60)
        for key, percent in (("a", 30), ("b", 70)):
            variant = writer.variant(number, key)
            writer.run(
                "insert into distributions (segment_id, variant_id, variant_key, percent, created_at)"
                f" values ({segment}, {variant}, '{key}', {percent}, now())"
            )
        writer.run(
            "insert into constraints (segment_id, property, operator, value, created_at)"
            f" values ({segment}, 'country', 'EREG', 'U[SK]', now())"
        )
        async with serving(database_url) as server:
            async with FlagentWebSocketClient(server.websocket_url) as client:
                store = FlagStore(client)
                await store.ready(10)
                entities = [(f"user{n}", {"country": country}) for n in range(40) for country in ("US", "FR")]
                local = [store.evaluate("split", entity, context) for entity, context in entities]
                answers = [await client.evaluate("split", entity, context) for entity, context in entities]
                assert [answer.variant_key for answer in answers] == [result.variant_key for result in local]
                assert [answer.segment_id for answer in answers] == [result.segment_id for result in local]
                assert {result.variant_key for result in local} == {None, "a", "b"}
                batch = await client.evaluate_batch(
                    [{"entityID": "user1", "entityContext": {"country": "US"}}], flag_keys=["split"]
                )
                assert [answer.variant_key for answer in batch] == [
                    store.evaluate("split", "user1", {"country": "US"}).variant_key
                ]


@both
async def test_rows_of_a_table_named_with_its_schema_or_without(database_url: str, transport: str) -> None:
    """tc-tables: rows reach only the handlers that name their table."""
    delivered: dict[str, list[Any]] = {"orders": [], "analytics.orders": [], "analytics.other": []}
    with Writer(database_url) as writer:
        for statement in (
            "create schema analytics",
            "create table analytics.orders (id integer primary key)",
            "create table analytics.other (id integer primary key)",
            "select flagent_cdc.watch('analytics.orders'), flagent_cdc.watch('analytics.other')",
        ):
            writer.run(statement)
        async with serving(database_url) as server:
            async with client_of(transport, int(server.url.rpartition(":")[2])) as client:
                for table, events in delivered.items():
                    client.subscribe_tables([table], events.append)
                await eventually(lambda: client._is_greeted, "the greeting")
                writer.run("insert into analytics.orders values (7)")
                writer.run("insert into analytics.other values (8)")
                await eventually(lambda: delivered["analytics.other"], "the last row")
    received = {
        name: [(event.type, event.table, event.raw["key"]) for event in events] for name, events in delivered.items()
    }
    row = (EventType.ROW_INSERTED, "analytics.orders", {"id": 7})
    assert received == {
        "orders": [row],
        "analytics.orders": [row],
        "analytics.other": [(EventType.ROW_INSERTED, "analytics.other", {"id": 8})],
    }


async def test_the_rows_of_a_filtered_table(database_url: str) -> None:
    """tc-table-events, on the real server: rows enter and leave the filter, with every digit."""
    with Writer(database_url) as writer:
        for statement in (
            "create schema shop",
            "create table shop.orders (id bigint primary key, state text, total numeric)",
            "insert into shop.orders values (1, 'open', 1.10), (2, 'done', 2), (3, 'open', 3)",
            "select flagent_cdc.watch('shop.orders')",
        ):
            writer.run(statement)
        async with serving(database_url) as server:
            client = FlagentClient(server.url, reconnect_config=QUICK)
            options: dict[str, Any] = {"where": "state = $1", "params": ["open"], "columns": ["id", "state", "total"]}
            async with client, TableStore(client, "shop.orders", **options) as orders:
                await orders.ready(DEADLINE_S)
                assert {row["id"]: row["total"] for row in orders.rows} == {1: Decimal("1.10"), 3: 3}
                writer.run("update shop.orders set state = 'done' where id = 1")
                writer.run("update shop.orders set state = 'open' where id = 2")
                writer.run("insert into shop.orders values (9007199254740993, 'open', 0.12345678901234567890123)")
                writer.run("delete from shop.orders where id = 3")
                await eventually(lambda: len(orders) == 2 and orders.get(3) is None, "the rows follow")
                big = orders.get(9007199254740993)
                assert big is not None
                assert big["total"] == Decimal("0.12345678901234567890123")
                assert orders.get(2) == {"id": 2, "state": "open", "total": 2}


async def test_a_table_whose_rows_are_rewritten_is_loaded_again(database_url: str) -> None:
    """tc-table-schema-changed, on the real server: after each change of columns the store holds what the table does."""
    with Writer(database_url) as writer:
        writer.run("create table orders (id integer primary key, note text)")
        writer.run("insert into orders values (1, 'a'), (2, 'b')", "select flagent_cdc.watch('orders')")
        async with serving(database_url) as server:
            client = FlagentClient(server.url, reconnect_config=QUICK)
            options: dict[str, Any] = {"where": "id > $1", "params": [0]}
            async with client, TableStore(client, "orders") as whole, TableStore(client, "orders", **options) as some:
                schemas: list[Any] = []
                whole.on_schema_change(schemas.append)
                for store in (whole, some):
                    await store.ready(DEADLINE_S)
                for change in (
                    "alter table orders add column state text default 'new'",
                    "alter table orders alter column note type integer using 7",
                    "alter table orders rename column note to number",
                    "alter table orders drop column state",
                ):
                    writer.run(change)
                    row = writer.connection.execute("select json_agg(o order by id) from orders o").fetchone()
                    assert row is not None
                    for store in (whole, some):
                        await eventually(lambda store=store, row=row: store.rows == row[0], change)  # type: ignore[misc]
                assert [message["rewritten"] for message in schemas] == [True] * 4
                assert not any(store.failure for store in (whole, some))


async def test_an_event_stream_refuses_everything_and_tables_at_once() -> None:
    """tc-tables: its query cannot express everything, and with tables alone it would not include the flags."""
    async with FlagentSSEClient("http://127.0.0.1:9/") as client:
        store = FlagStore(client)
        client.subscribe_tables(["orders"], print)
        with pytest.raises(ConnectionRefused, match="everything and tables"):
            await store.ready(DEADLINE_S)


async def test_the_example_of_the_issue(database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("new_payment_flow", enabled=True)
        async with serving(database_url) as server:
            async with FlagentWebSocketClient(
                server.websocket_url, api_key=None, reconnect_config=ReconnectConfig(max_attempts=0)
            ) as client:
                store = FlagStore(client)
                await store.ready(timeout=5)
                found = store.get("new_payment_flow")
                assert found is not None
                assert found.enabled


@both
async def test_the_store_repairs_a_wrong_state(database_url: str, transport: str) -> None:
    """A wrong state, from a bug or a memory error, is found by the digest and repaired by a snapshot."""
    with Writer(database_url) as writer:
        writer.flag("a")
        writer.flag("b")
        async with behind_a_proxy(database_url) as (_, proxy), client_of(transport, proxy.port) as client:
            store = FlagStore(client)
            await store.ready(10)
            statuses: list[StoreStatus] = []
            store.on_status(statuses.append)
            table = store._core.table
            table.remove(next(iter(table.entries)))
            assert len(store) == 1
            await eventually(lambda: len(store) == 2 and StoreStatus.READY in statuses, "the repair")
            await eventually(lambda: statuses == [StoreStatus.STALE, StoreStatus.READY], "the sequence of statuses")
            assert proxy.accepted == (1 if transport == "ws" else 2)


@both
async def test_handlers_by_flag_tag_and_segment(database_url: str, transport: str) -> None:
    delivered: dict[str, list[Any]] = {"flag": [], "deleted": [], "tags": [], "segments": [], "typed": []}
    with Writer(database_url) as writer:
        async with serving(database_url) as server:
            async with client_of(transport, int(server.url.rpartition(":")[2])) as client:
                client.subscribe_flag(
                    "a", lambda flag: delivered["flag"].append(flag.enabled), delivered["deleted"].append
                )
                client.subscribe_tags(["pay"], lambda flags: delivered["tags"].append([flag.key for flag in flags]))
                client.subscribe_segments(lambda event: delivered["segments"].append(event.type))
                client.subscribe_events(
                    lambda event: delivered["typed"].append(event.data), flags=["a"], types=[EventType.FLAG_DELETED]
                )
                await eventually(lambda: client._is_greeted, "the greeting")
                number = writer.flag("a")
                writer.toggle(number)
                other = writer.flag("other")
                writer.tag(other, "pay")
                writer.run("delete from flags_tags")
                writer.segment(other)
                writer.run("delete from flags where key = 'a'")
                await eventually(lambda: delivered["typed"], "the last event")
    assert delivered == {
        "flag": [False, True],
        "deleted": ["a"],
        "tags": [["other"], ["other"]],
        "segments": [EventType.SEGMENT_UPDATED],
        "typed": ["a"],
    }
