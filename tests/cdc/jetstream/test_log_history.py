"""A node that is fed by NATS answers about the past as one at PostgreSQL does, as far as the stream reaches."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from cdc.core.log.position import Position
from tests.fixtures.flags import Writer
from tests.fixtures.nats import NatsServer, active, nats_client, relaying
from tests.fixtures.random_writer import writing
from tests.fixtures.server import DEADLINE_S, RunningServer, serving

pytestmark = pytest.mark.timeout(90)

QUICK: dict[str, Any] = {"listener_probe_interval_s": 0.5}

CHANGES = "/api/v1/changes"


class Pair:
    """A node at PostgreSQL and one behind a relay, asked the same."""

    def __init__(self, direct: RunningServer, node: RunningServer, here: httpx.AsyncClient, there: httpx.AsyncClient):
        self.direct = direct
        self.node = node
        self._here = here
        self._there = there

    async def ask(self, path: str, **parameters: Any) -> httpx.Response:
        """The answer of the node behind the relay, which must be that of the other one too, to the last byte."""
        expected = await self._here.get(path, params=parameters)
        found = await self._there.get(path, params=parameters)
        assert found.status_code == expected.status_code, (path, parameters, found.text)
        assert found.text == expected.text, (path, parameters)
        for name in ("cache-control", "flagent-next"):
            assert found.headers.get(name) == expected.headers.get(name), (path, parameters)
        return found

    async def ask_history(self, key: str, **parameters: Any) -> None:
        """All of it, page by page, must be the same; why it ends may not be, as both reach back to other places."""
        before: dict[str, Any] = parameters
        while True:
            here, there = [
                (await http.get(f"/api/v1/flags/{key}/history", params={"limit": 4, **before})).json()
                for http in (self._here, self._there)
            ]
            assert there["changes"] == here["changes"]
            if (next := there["next"]) is None:
                return
            before = {"before": next}

    async def ask_node(self, path: str, **parameters: Any) -> httpx.Response:
        return await self._there.get(path, params=parameters)

    async def reaches(self) -> int:
        """Wait until both have all that is committed now; how far that is."""
        newest = await self.direct.pipeline.log.newest()
        for server in (self.direct, self.node):
            assert await server.pipeline.hub.reached(newest, DEADLINE_S)
        return newest


@asynccontextmanager
async def both(database_url: str, nats_url: str) -> AsyncIterator[Pair]:
    async with (
        relaying(database_url, nats_url) as relay,
        serving(database_url, **QUICK) as direct,
        serving(None, nats_source=nats_url, **QUICK) as node,
        httpx.AsyncClient(base_url=direct.url, timeout=DEADLINE_S) as here,
        httpx.AsyncClient(base_url=node.url, timeout=DEADLINE_S) as there,
    ):
        await active(relay)
        yield Pair(direct, node, here, there)


async def begin_of(pair: Pair) -> str:
    """The cursor at which the stream begins: what came before, the node behind the relay does not have."""
    oldest = (await pair.node.pipeline.past.log.reach()).oldest
    assert oldest is not None
    return f"{oldest - 1}@{pair.node.pipeline.hub.catalog.log}"


async def test_pages_of_changes_are_the_same_and_a_cursor_holds_on_both(
    database_url: str, nats_server: NatsServer
) -> None:
    with Writer(database_url) as writer:
        writer.run("create table orders (id integer primary key, total numeric, note json)")
        writer.run("select flagent_cdc.watch('orders')")
        async with both(database_url, nats_server.url) as pair:
            with writing(database_url, seed="past", count=3):
                assert await pair.direct.pipeline.hub.reached(Position(80), DEADLINE_S)
            writer.run(
                "insert into orders values (1, 0.1234567890123456789012345678901234567890, '{\"a\":1.50}')",
                "insert into orders values (2, 1e30, '[\"ü\\t\\u0001\",null,1e-9]')",
                "update orders set total = total + 0.10",
                "alter table orders add column more integer default 1",
            )
            writer.run("truncate orders")
            await pair.reaches()
            begin = await begin_of(pair)
            for parameters in (
                {"limit": 7},
                {"limit": 500, "format": "debezium"},
                {"limit": 50, "format": "cloudevents"},
                {"limit": 3, "table": "orders"},
                {"limit": 5, "table": ["flags", "public.tags"]},
            ):
                after, pages = begin, 0
                while True:
                    page = await pair.ask(CHANGES, after=after, **parameters)
                    assert page.status_code == 200, page.text
                    pages += 1
                    if page.headers["flagent-next"] == after or (
                        isinstance(page.json(), dict) and page.json()["isOpen"]
                    ):
                        break
                    after = page.headers["flagent-next"]
                assert pages > 1 or parameters["limit"] == 500
            page = await pair.ask(CHANGES, after=begin, limit=50, table="orders")
            assert '"total":0.1234567890123456789012345678901234567890' in page.text


async def test_a_commit_of_several_tables_can_be_read_change_by_change(
    database_url: str, nats_server: NatsServer
) -> None:
    with Writer(database_url) as writer:
        async with both(database_url, nats_server.url) as pair:
            writer.run(
                "insert into flags (key, description, created_at) select 'f' || n, repeat('ü', 300), now()"
                " from generate_series(1, 40) n",
                "insert into tags (value, created_at) values ('t', now())",
                "update flags set enabled = true",
            )
            await pair.reaches()
            after = await begin_of(pair)
            seen: list[tuple[int, int]] = []
            while len(seen) < 81:
                page = (await pair.ask(CHANGES, after=after, limit=9)).json()
                seen += [(change["index"], change["count"]) for change in page["changes"]]
                after = page["next"]
    assert seen == [(number, 81) for number in range(1, 82)]


async def test_a_commit_with_a_savepoint_rolled_back_is_read_whole_in_pages_of_any_size(
    database_url: str, nats_server: NatsServer
) -> None:
    with Writer(database_url) as writer:
        async with both(database_url, nats_server.url) as pair:
            with writer.connection.transaction():
                for number in range(2):
                    writer.connection.execute(insert_tag(number))
                with writer.connection.transaction(force_rollback=True):
                    for number in range(2, 5):
                        writer.connection.execute(insert_tag(number))
                for number in range(5, 10):
                    writer.connection.execute(insert_tag(number))
            await pair.reaches()
            for limit in (1, 2, 3, 7):
                after = await begin_of(pair)
                seen: list[str] = []
                while len(seen) < 7:
                    page = (await pair.ask(CHANGES, after=after, limit=limit)).json()
                    assert page["changes"]
                    seen += [change["after"]["value"] for change in page["changes"]]
                    after = page["next"]
                assert seen == ["t0", "t1", "t5", "t6", "t7", "t8", "t9"]


def insert_tag(number: int) -> bytes:
    return f"insert into tags (value, created_at) values ('t{number}', now())".encode()


async def test_a_reader_at_the_end_waits_for_what_comes_next(database_url: str, nats_server: NatsServer) -> None:
    with Writer(database_url) as writer:
        async with both(database_url, nats_server.url) as pair:
            writer.flag("a")
            newest = await pair.reaches()
            after = f"{newest}@{pair.node.pipeline.hub.catalog.log}"
            waiting = asyncio.create_task(pair.ask_node(CHANGES, after=after, waitMs=20_000))
            await asyncio.sleep(0)
            await asyncio.to_thread(writer.flag, "b")
            (change,) = (await waiting).json()["changes"]
            assert change["after"]["key"] == "b"


async def test_the_flags_of_any_moment_and_a_flags_history_are_the_same(
    database_url: str, nats_server: NatsServer
) -> None:
    with Writer(database_url) as writer:
        async with both(database_url, nats_server.url) as pair:
            first = int((await begin_of(pair)).partition("@")[0])
            with writing(database_url, seed="moments", count=3):
                assert await pair.direct.pipeline.hub.reached(Position(first + 60), DEADLINE_S)
            newest = await pair.reaches()
            rng = random.Random(7)
            times = [
                commit.committed_at
                for commit in await pair.direct.pipeline.log.commits_after(Position(first), 1_000_000)
            ]
            moments = [str(position) for position in rng.sample(range(first, newest + 1), 12)]
            for moment in [*moments, *rng.sample(times, 12), str(first), str(newest), times[-1]]:
                answer = await pair.ask("/api/v1/flags", at=moment, preload="true")
                assert answer.status_code == 200, answer.text
            for number in range(12):
                await pair.ask_history(f"k{number}", before=newest - 3)
            # A moment that just passed is answered when the relay has proven what was the newest then.
            row = writer.connection.execute("select to_json(clock_timestamp() at time zone 'UTC') #>> '{}'").fetchone()
            assert row is not None
            assert (await pair.ask("/api/v1/flags", at=f"{row[0]}Z")).status_code == 200


async def test_what_lies_outside_is_refused_with_where_it_begins(database_url: str, nats_server: NatsServer) -> None:
    with Writer(database_url) as writer:
        for number in range(3):
            writer.flag(f"early{number}")
        async with both(database_url, nats_server.url) as pair:
            for number in range(8):
                writer.flag(f"f{number}")
            newest = await pair.reaches()
            log = pair.node.pipeline.hub.catalog.log
            async with nats_client(nats_server.url) as client:
                jetstream = client.jetstream()
                last = (await jetstream.stream_info("flagent_cdc")).state.last_seq
                await jetstream.purge_stream("flagent_cdc", seq=last - 2)
            begin = newest - 3
            for after, code in (
                (f"{begin}@{log}", None),
                (f"{begin - 1}@{log}", "pruned"),
                (f"{begin}.1@{log}", "pruned"),
                (f"{newest + 1}@{log}", "ahead"),
                (f"{newest}@zzzzzz", "log_replaced"),
            ):
                answer = await pair.ask_node(CHANGES, after=after)
                assert (answer.status_code, answer.json().get("code")) == (410 if code else 200, code), answer.text
                if code:
                    assert answer.json()["oldestPosition"] == str(begin + 1)
                    assert answer.json()["oldestTime"]
            assert len((await pair.ask_node(CHANGES)).json()["changes"]) == 3
            assert (await pair.ask_node("/api/v1/flags", at=str(begin))).status_code == 200
            for at, status, code in (
                (str(begin - 1), 410, "pruned"),
                ("2020-01-01T00:00:00Z", 410, "pruned"),
                (str(newest + 5), 400, "in_the_future"),
                ("2999-01-01T00:00:00Z", 400, "in_the_future"),
                (f"{newest}@zzzzzz", 410, "log_replaced"),
            ):
                answer = await pair.ask_node("/api/v1/flags", at=at)
                assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
            history = (await pair.ask_node("/api/v1/flags/f0/history")).json()
            assert history["changes"] == []
            assert f"begins at position {begin + 1}" in history["endsBecause"]


async def test_a_moment_that_nobody_can_prove_is_not_made_up(
    database_url: str, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.jetstream.log_history._PROOF_S", 0.5)
    async with relaying(database_url, nats_server.url) as relay:
        await active(relay)
        with Writer(database_url) as writer:
            writer.flag("a")
            row = writer.connection.execute("select max(committed_at) from flagent_cdc.commit_log").fetchone()
            assert row is not None
        async with (
            serving(None, nats_source=nats_server.url, **QUICK) as node,
            httpx.AsyncClient(base_url=node.url, timeout=DEADLINE_S) as http,
        ):
            await relay.stop()
            earlier = await http.get("/api/v1/flags", params={"at": str(node.pipeline.hub.catalog.position)})
            assert [flag["key"] for flag in earlier.json()] == ["a"]
            answer = await http.get("/api/v1/flags", params={"at": row[0].isoformat()})
            assert answer.status_code == 503
            assert "no relay is active" in answer.json()["detail"]
