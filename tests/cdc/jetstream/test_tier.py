"""A node that is fed by NATS says what one at PostgreSQL says, under the same ids."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from cdc.admin.api_keys import create_key, list_usage, read_audit, revoke_key, rotate_secret
from cdc.admin.installation import migrate, uninstall
from cdc.auth.api_key import ApiKey
from cdc.core.log.position import EventId, Position
from cdc.core.subscription.grant import Grant
from cdc.database.queries import flagent_tables
from cdc.jetstream.address import NatsAddress
from cdc.jetstream.api_keys import decode_keys, encode_keys
from cdc.jetstream.layout import Layout
from cdc.jetstream.log import JetStreamLog
from cdc.postgres.log_reader import LogReader
from tests.fixtures.flags import Writer
from tests.fixtures.logged import actions
from tests.fixtures.nats import NatsServer, RunningRelay, active, nats_client, relay_settings, relaying
from tests.fixtures.server import RunningServer, SseReader, serving, sse, until
from tests.fixtures.websocket import receive

pytestmark = pytest.mark.timeout(90)

QUICK: dict[str, Any] = {"listener_probe_interval_s": 0.5}

EVERYTHING = {"envelope": "true"}


@pytest.fixture
async def relay(database_url: str, nats_server: NatsServer) -> AsyncIterator[RunningRelay]:
    async with relaying(database_url, nats_server.url) as running:
        await active(running)
        yield running


@pytest.fixture
async def node(relay: RunningRelay, nats_server: NatsServer) -> AsyncIterator[RunningServer]:
    """A node behind the relay."""
    async with serving(None, nats_source=nats_server.url, **QUICK) as running:
        yield running


async def reaches(node: RunningServer, url: str) -> None:
    """Wait until a node has all that is committed now."""
    store = LogReader(url)
    newest = await store.newest()
    await store.close()
    await until(lambda: node.pipeline.hub.catalog.position >= newest, "the node's catching up")


async def told(stream: SseReader, count: int) -> list[tuple[str, str]]:
    """The next events: their ids and what they are of."""
    events = [await stream.next() for _ in range(count)]
    return [(str(event.id), f"{event.type} {event.data['flagKey']}") for event in events]


async def test_both_kinds_of_node_say_the_same(database_url: str, node: RunningServer) -> None:
    parameters = {**EVERYTHING, "snapshot": "true"}
    async with (
        serving(database_url) as direct,
        sse(direct.stream_url, parameters) as here,
        sse(node.stream_url, parameters) as there,
    ):
        with Writer(database_url) as writer:
            flag = writer.flag("a", description='ü€ "quoted"')
            segment = writer.segment(flag)
            writer.share(segment, writer.variant(flag, "on"))
            writer.run(
                "update flags set enabled = true",
                "insert into flags (key, description, created_at) values ('b', '', now())",
            )
            writer.run("delete from flags where key = 'a'")
        for _ in range(9):
            expected = await here.next()
            assert await there.next() == expected
        assert there.last_id == here.last_id


async def test_a_client_moves_between_both_kinds_and_misses_nothing(database_url: str, node: RunningServer) -> None:
    keys = [f"f{number}" for number in range(6)]
    seen: list[tuple[str, str]] = []
    async with serving(database_url) as direct:
        with Writer(database_url) as writer:
            headers: dict[str, str] = {}
            for url, pair in zip(
                (direct.stream_url, node.stream_url, direct.stream_url), (keys[:2], keys[2:4], keys[4:]), strict=True
            ):
                writer.flag(pair[0])  # while nobody listens
                async with sse(url, EVERYTHING if headers else {**EVERYTHING, "snapshot": "true"}, **headers) as stream:
                    if not headers:
                        assert (await stream.next()).type == "snapshot"
                        writer.flag(pair[1])
                        seen += await told(stream, 1)
                    else:
                        writer.flag(pair[1])
                        seen += await told(stream, 2)
                    headers = {"last_event_id": stream.last_id}
    assert [what for _, what in seen] == [f"flag_created {key}" for key in keys[1:]]
    assert len({id for id, _ in seen}) == 5


async def test_events_behind_the_ring_come_from_the_stream_as_they_were(
    database_url: str, relay: RunningRelay, nats_server: NatsServer
) -> None:
    with Writer(database_url) as writer:
        async with serving(None, nats_source=nats_server.url, pipeline_ring_events=10, **QUICK) as node:
            async with sse(node.stream_url, EVERYTHING) as stream:
                flag = writer.flag("a", description="0")
                await stream.next()
                first = stream.last_id
            for number in range(1, 60):
                writer.run(f"update flags set description = '{number}' where id = {flag}")
            await reaches(node, database_url)
            async with sse(node.stream_url, EVERYTHING, last_event_id=first) as stream:
                events = [await stream.next() for _ in range(59)]
    assert [event.type for event in events] == ["flag_updated"] * 59
    assert [event.data["flag"]["description"] for event in events] == [str(number) for number in range(1, 60)]


async def test_a_commit_of_ten_thousand_rows_arrives_whole(database_url: str, node: RunningServer) -> None:
    with Writer(database_url) as writer:
        writer.run(
            "insert into flags (key, description, created_at) select 'f' || n, repeat('x', 200), now()"
            " from generate_series(1, 10000) n",
            "insert into tags (value, created_at) values ('t', now())",
        )
    await reaches(node, database_url)
    store = LogReader(database_url)
    assert node.pipeline.hub.catalog.digest == (await store.bootstrap()).catalog().digest
    (commit,) = await node.pipeline.log.commits_before(node.pipeline.hub.catalog.position, Position(0), 1)
    assert commit == (await store.commits_after(Position(commit.position - 1), 1))[0]
    assert len(commit.changes) == 10_001
    await store.close()


async def test_a_row_larger_than_a_message_arrives_whole(database_url: str, node: RunningServer) -> None:
    text = "ü" * 1_500_000
    async with sse(node.stream_url, EVERYTHING) as stream:
        with Writer(database_url) as writer:
            large = writer.flag("large", description=text)
        assert (await stream.next()).data["flag"]["tooLarge"] > len(text)
    async with httpx.AsyncClient(base_url=node.url) as client:
        assert (await client.get(f"/api/v1/flags/{large}")).json()["description"] == text


async def test_no_commit_waits_behind_a_heartbeat(
    database_url: str, node: RunningServer, nats_server: NatsServer
) -> None:
    async with nats_client(nats_server.url) as client, sse(node.stream_url, EVERYTHING) as stream:
        (consumer,) = await client.jetstream().consumers_info("flagent_cdc")
        inbox = consumer.config.deliver_subject
        assert inbox is not None
        ended = asyncio.Event()

        async def beat() -> None:
            while not ended.is_set():
                for _ in range(500):
                    await client.publish(inbox, headers={"Status": "100", "Description": "Idle Heartbeat"})
                await client.flush()

        with Writer(database_url) as writer:
            for number in range(10):
                ended.clear()
                before = node.pipeline.listener.notifications
                beating = asyncio.create_task(beat())
                await asyncio.to_thread(writer.flag, f"f{number}")
                await until(lambda: node.pipeline.listener.notifications > before, "the delivery")  # noqa: B023
                ended.set()
                await beating
                assert await told(stream, 1) == [(stream.last_id, f"flag_created f{number}")]


async def test_a_schema_attached_later_is_known(database_url: str, node: RunningServer) -> None:
    async with sse(node.stream_url, EVERYTHING) as stream:
        with Writer(database_url) as writer:
            writer.run("create schema tenant", "set local search_path = tenant", flagent_tables())
            writer.run("insert into tenant.flags (key, description, created_at) values ('before', '', now())")
            await asyncio.to_thread(migrate, database_url, ["tenant"])
            writer.run("insert into tenant.flags (key, description, created_at) values ('after', '', now())")
        events = [await stream.next() for _ in range(2)]
    assert [(event.data["schema"], event.data["flagKey"]) for event in events] == [
        ("tenant", "before"),
        ("tenant", "after"),
    ]


@pytest.mark.parametrize("order", ["commit", "read"])
async def test_a_stream_of_a_tables_own_is_the_same_on_both_kinds_of_node(
    database_url: str, nats_server: NatsServer, order: str
) -> None:
    with Writer(database_url) as writer:
        writer.run("create table orders (id integer primary key, n integer)")
        writer.run(f"select flagent_cdc.watch('orders', lane => 'orders', lane_order => '{order}')")
        parameters = {**EVERYTHING, "table": "orders"}
        async with (
            relaying(database_url, nats_server.url, listener_poll_interval_s=0.05),
            serving(None, nats_source=nats_server.url, **QUICK) as node,
            serving(database_url, listener_poll_interval_s=0.05, **QUICK) as direct,
        ):
            await served(node, "orders")
            await served(direct, "orders")
            async with sse(direct.stream_url, parameters) as here, sse(node.stream_url, parameters) as there:
                for number in range(3):
                    writer.run(f"insert into orders values ({number}, 0)", "update orders set n = n + 1")
                for _ in range(9):
                    expected = await here.next()
                    assert await there.next() == expected
                last_id = here.last_id
            writer.run("delete from orders")
            async with sse(node.stream_url, parameters, last_event_id=last_id) as there:
                events = [await there.next() for _ in range(3)]
    assert [event.type for event in events] == ["row_deleted"] * 3


@pytest.mark.parametrize("order", ["commit", "read"])
async def test_a_filter_of_rows_is_the_same_on_both_kinds_of_node(
    database_url: str, nats_server: NatsServer, order: str
) -> None:
    with Writer(database_url) as writer:
        writer.run("create table orders (id integer primary key, tenant integer, total numeric)")
        writer.run(f"select flagent_cdc.watch('orders', lane => 'orders', lane_order => '{order}')")
        parameters = {"envelope": "true", "table": "orders", "where": "tenant = $1 and total < 10", "param": "7"}
        async with (
            relaying(database_url, nats_server.url, listener_poll_interval_s=0.05),
            serving(None, nats_source=nats_server.url, **QUICK) as node,
            serving(database_url, listener_poll_interval_s=0.05, **QUICK) as direct,
        ):
            await served(node, "orders")
            await served(direct, "orders")
            async with sse(direct.stream_url, parameters) as here, sse(node.stream_url, parameters) as there:
                writer.run("insert into orders values (1, 7, 1.10), (2, 8, 2), (3, 7, 99)")
                writer.run("update orders set tenant = 7 where id = 2", "update orders set tenant = 8 where id = 1")
                seen = [await here.next() for _ in range(3)]
                assert [await there.next() for _ in range(3)] == seen
            async with sse(node.stream_url, parameters, last_event_id=seen[0].id or "") as there:
                assert [await there.next() for _ in range(2)] == seen[1:]
    assert [(event.type, event.data["key"], event.data.get("moved")) for event in seen] == [
        ("row_inserted", {"id": 1}, None),
        ("row_inserted", {"id": 2}, "in"),
        ("row_deleted", {"id": 1}, "out"),
    ]


async def test_a_stream_of_a_table_that_cannot_be_copied_does_not_stop_the_flags(
    database_url: str, node: RunningServer, nats_server: NatsServer
) -> None:
    with Writer(database_url) as writer:
        async with nats_client(nats_server.url) as client:
            for number in range(1, 4):
                await client.jetstream().add_stream(name=f"flagent_cdc_s{number}", subjects=[f"other{number}"])
        writer.run("create table orders (id integer primary key)")
        writer.run("select flagent_cdc.watch('orders', lane => 'orders')")
        async with sse(node.stream_url, EVERYTHING) as stream:
            await until(lambda: len(node_streams(node)) == 2, "the node's hearing of the stream")
            writer.flag("a")
            assert await told(stream, 1) == [(stream.last_id, "flag_created a")]


def node_streams(node: RunningServer) -> Any:
    return node.uvicorn.config.app.web.state.gateway.pipelines._pipelines  # type: ignore[union-attr]


async def served(server: RunningServer, table: str) -> None:
    """Wait until the stream of a table is served: just after the start it may not have been read yet."""
    async with httpx.AsyncClient() as client:

        async def is_served() -> bool:
            async with client.stream("GET", server.stream_url, params={"table": table}) as response:
                return response.status_code == 200

        await until(is_served, f"the stream of {table}")


async def test_a_late_node_starts_from_the_newest_snapshot(
    database_url: str, relay: RunningRelay, nats_server: NatsServer
) -> None:
    with Writer(database_url) as writer:
        for number in range(20):
            writer.flag(f"f{number}")
        settings = relay_settings(database_url, nats_server.url)
        log = JetStreamLog(NatsAddress.of(settings, nats_server.url, name="nats"), Layout("flagent_cdc"))

        async def holds_all() -> bool:
            bootstrap = await log.bootstrap()
            return len(bootstrap.schemas.get("public", {}).get("flags", ())) == 20

        await until(holds_all, "the snapshot")
        await log.close()
        # Nothing of what the snapshot holds is read again.
        async with nats_client(nats_server.url) as client:
            await client.jetstream().purge_stream("flagent_cdc")
        async with serving(None, nats_source=nats_server.url, **QUICK) as node:
            assert len(list(node.pipeline.hub.catalog.flags())) == 20
            writer.flag("later")
            await reaches(node, database_url)
            assert node.pipeline.hub.catalog.find("public", "later") is not None


async def test_without_nats_a_node_is_not_fresh_and_afterwards_it_goes_on(
    database_url: str, node: RunningServer, nats_server: NatsServer
) -> None:
    async with httpx.AsyncClient() as client, sse(node.stream_url, EVERYTHING) as stream:
        assert (await client.get(node.url + "/readyz")).status_code == 200
        await asyncio.to_thread(nats_server.stop)
        await until(lambda: not node.pipeline.freshness().fresh, "the node's noticing")
        told_so = (await client.get(node.url + "/readyz")).json()
        assert (told_so["ready"], told_so["loaded"], told_so["listener"]) == (False, True, "disconnected")
        with Writer(database_url) as writer:
            writer.flag("meanwhile")
        await asyncio.to_thread(nats_server.start)
        assert await told(stream, 1) == [(stream.last_id, "flag_created meanwhile")]
        await until(lambda: node.pipeline.is_ready, "the node's readiness")


async def test_without_a_relay_a_node_is_not_fresh_and_says_why(
    database_url: str, node: RunningServer, relay: RunningRelay, nats_server: NatsServer
) -> None:
    await relay.stop()
    await until(lambda: not node.pipeline.freshness().fresh, "the node's noticing")
    assert node.pipeline.listener.reason == "no relay is active"
    async with relaying(database_url, nats_server.url):
        await until(lambda: node.pipeline.is_ready, "the node's readiness")
        assert node.pipeline.listener.reason == ""


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_a_node_that_is_cut_off_sends_nobody_back(
    database_url: str, node: RunningServer, relay: RunningRelay, transport: str
) -> None:
    """A client that knows more is sent away, to another node; as long as this one cannot prove that it is current."""
    node.pipeline.hub.limits = replace(node.pipeline.hub.limits, ahead_wait_s=0.1, ahead_proof_s=1.0)
    with Writer(database_url) as writer:
        writer.flag("before")
        await reaches(node, database_url)
        await relay.stop()
        async with serving(database_url) as direct, sse(direct.stream_url, EVERYTHING) as stream:
            writer.flag("after")
            await stream.next()
            newest = stream.last_id
    if transport == "sse":
        async with sse(node.stream_url, EVERYTHING, last_event_id=newest) as behind:
            with pytest.raises(StopAsyncIteration):
                await behind.next()
    else:
        async with connect(node.websocket_url) as socket:
            await socket.send(json.dumps({"type": "subscribe", "subscribeAll": True, "lastEventId": newest}))
            assert (await receive(socket))["type"] == "subscribed"
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(socket.recv(), 20)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1013


async def test_another_log_is_told_of_and_everyone_starts_over(
    database_url: str, node: RunningServer, relay: RunningRelay, nats_server: NatsServer
) -> None:
    async with sse(node.stream_url, EVERYTHING) as stream:
        with Writer(database_url) as writer:
            writer.flag("kept")
            await stream.next()
            log = EventId.parse(stream.last_id).log
            await relay.stop()
            await asyncio.to_thread(uninstall, database_url)
            await asyncio.to_thread(migrate, database_url)
            async with relaying(database_url, nats_server.url, nats_adopt=log):
                event = await stream.next()
                assert (event.type, event.data["reason"]) == ("resync", "log_replaced")
                assert [flag["key"] for flag in event.data["snapshot"]["flags"]] == ["kept"]
                writer.flag("new")
                assert [what for _, what in await told(stream, 1)] == ["flag_created new"]
        assert EventId.parse(stream.last_id).log != log


@pytest.mark.parametrize("news", [1, 4])
async def test_a_past_that_was_rewritten_under_the_same_name_is_continued_by_nobody(
    database_url: str, node: RunningServer, nats_server: NatsServer, news: int
) -> None:
    """The disk is restored while relay and node run; with fewer new commits than were lost, and with more."""
    async with sse(node.stream_url, EVERYTHING) as stream:
        with Writer(database_url) as writer:
            writer.flag("kept")
            await stream.next()
            kept_id = stream.last_id
            for key in ("lost1", "lost2"):
                writer.flag(key)
                await stream.next()
            lost_id = stream.last_id
            writer.rewrite(EventId.parse(kept_id).position)
            new = [f"new{n}" for n in range(news)]
            for key in new:
                writer.flag(key)
        event = await stream.next()
        assert (event.type, event.data["reason"]) == ("resync", "log_replaced")
        keys = [flag["key"] for flag in event.data["snapshot"]["flags"]]
        while len(keys) < 3 + news:
            keys.append((await stream.next()).data["flagKey"])
        assert keys == ["kept", "lost1", "lost2", *new]
    await reaches(node, database_url)
    for nodes in (nullcontext(node), serving(None, nats_source=nats_server.url, **QUICK)):
        async with nodes as one:
            async with sse(one.stream_url, {**EVERYTHING, "lastEventId": lost_id}) as late:
                event = await late.next()
                # The copy begins anew with the restored state, and may know nothing of what came before.
                assert event.type == "resync"
                assert event.data["reason"] in (("log_replaced", "pruned") if news > 1 else ("ahead",))
            async with sse(one.stream_url, {**EVERYTHING, "lastEventId": kept_id}) as faithful:
                event = await faithful.next()
                if event.type == "resync":
                    assert [flag["key"] for flag in event.data["snapshot"]["flags"]] == ["kept", "lost1", "lost2", *new]
                else:
                    assert event.data["flagKey"] == new[0]
            async with httpx.AsyncClient(base_url=one.url) as client:
                answer = await client.get("/api/v1/changes", params={"after": lost_id.replace("-0@", "@")})
                assert answer.status_code == 410, answer.text


async def test_commits_pruned_before_they_were_copied_are_a_resync(
    database_url: str, node: RunningServer, relay: RunningRelay, nats_server: NatsServer
) -> None:
    async with sse(node.stream_url, EVERYTHING) as stream:
        with Writer(database_url) as writer:
            writer.flag("before")
            await stream.next()
            await relay.stop()
            writer.flag("lost")
            writer.flag("kept")
            writer.run(
                "delete from flagent_cdc.commit_log c"
                " where c.position < (select max(m.position) from flagent_cdc.commit_log m)"
            )
        async with relaying(database_url, nats_server.url):
            event = await stream.next()
            assert (event.type, event.data["reason"]) == ("resync", "pruned")
            assert {flag["key"] for flag in event.data["snapshot"]["flags"]} == {"before", "lost", "kept"}


async def test_plain_clients_subscribe_to_the_tables_they_want(
    database_url: str, node: RunningServer, nats_server: NatsServer
) -> None:
    async with nats_client(nats_server.url) as client:
        tags = await client.subscribe("flagent_cdc.change.public.tags")
        everything = await client.subscribe("flagent_cdc.change.>")
        await client.flush()
        with Writer(database_url) as writer:
            writer.flag("a")
            writer.run(
                "insert into flags (key, description, created_at) values ('b', '', now())",
                "insert into tags (value, created_at) values ('t', now())",
            )
        message = await tags.next_msg(timeout=20)
        (change,) = json.loads(message.data)["changes"]
        assert (change["table"], change["op"], change["after"]["value"]) == ("tags", "insert", "t")
        assert message.header is not None
        assert message.header["Flagent-Cdc-Part"].startswith("2/2@")
        seen = [await everything.next_msg(timeout=20) for _ in range(3)]
        positions = [json.loads(each.data)["position"] for each in seen]
        assert positions[1] == positions[2] != positions[0]
        assert [each.subject.rpartition(".")[2] for each in seen] == ["flags", "flags", "tags"]


async def test_a_message_of_somebody_else_is_left_out(
    database_url: str, node: RunningServer, nats_server: NatsServer
) -> None:
    async with nats_client(nats_server.url) as client, sse(node.stream_url, EVERYTHING) as stream:
        with Writer(database_url) as writer:
            writer.flag("a")
            await stream.next()
            await client.jetstream().publish("flagent_cdc.change.public.flags", b"not ours")
            writer.flag("b")
            assert [what for _, what in await told(stream, 1)] == ["flag_created b"]


async def test_api_keys_reach_nodes_without_a_database(
    database_url: str,
    relay: RunningRelay,
    nats_server: NatsServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    key = await asyncio.to_thread(create_key, database_url, "app", Grant())
    shared = {"auth_enabled": True, "auth_stream_token_secret": "s" * 32, "nats_source": nats_server.url, **QUICK}
    async with serving(None, **shared) as first, serving(None, **shared) as second, httpx.AsyncClient() as client:
        headers = {"authorization": f"Bearer {key}"}

        async def is_known() -> bool:
            return (await client.get(first.url + "/api/v1/flags", headers=headers)).status_code == 200

        await until(is_known, "the key's arrival")
        assert (await client.get(first.url + "/api/v1/flags")).status_code == 401
        answer = await client.post(first.url + "/api/v1/stream-tokens", headers=headers)
        token = answer.json()["token"]
        async with sse(second.stream_url, {"token": token, **EVERYTHING}) as stream:
            with Writer(database_url) as writer:
                writer.flag("a")
            await stream.next()
        # A rotation reaches the nodes through the relay, and each derives the same secret from it.
        early = (await client.post(first.url + "/api/v1/stream-tokens", headers=headers)).json()["token"]
        await asyncio.to_thread(rotate_secret, database_url)
        monkeypatch.setattr("cdc.auth.stream_token._SPREAD_S", 0.0)
        await until(lambda: actions(caplog).count("token_secret_rotated") == 2, "the rotation's arrival at both")
        late = (await client.post(first.url + "/api/v1/stream-tokens", headers=headers)).json()["token"]
        for token in (early, late):
            async with sse(second.stream_url, {"token": token}):
                pass
        (usage,) = await asyncio.to_thread(list_usage, database_url)
        assert usage.last_used_at is None, "nodes report once a minute"
        await asyncio.to_thread(revoke_key, database_url, key[:16])

        async def is_refused() -> bool:
            return (await client.get(first.url + "/api/v1/flags", headers=headers)).status_code == 401

        await until(is_refused, "the key's revocation")
    (usage,) = await asyncio.to_thread(list_usage, database_url)
    assert usage.last_used_at is not None
    audit = {(entry.action, entry.reason) for entry in await asyncio.to_thread(read_audit, database_url, 100)}
    assert audit >= {("first_used", None), ("refused", "revoked")}


async def test_the_log_reads_alike_in_both_places(
    database_url: str, node: RunningServer, nats_server: NatsServer
) -> None:
    here, there = LogReader(database_url), node.pipeline.log
    with Writer(database_url) as writer:
        for number in range(12):
            writer.run(
                f"insert into flags (key, description, created_at) values ('f{number}', '', now())",
                f"insert into tags (value, created_at) values ('t{number}', now())",
            )
            with pytest.raises(ZeroDivisionError):
                # A number that nobody gets.
                hole(writer)
    await reaches(node, database_url)
    newest = await here.newest()
    assert await there.newest() == newest
    for position in range(newest - 20, newest + 1):
        for limit in (1, 5, 1000):
            expected = await here.commits_after(Position(position), limit)
            assert await there.commits_after(Position(position), limit) == expected
            expected = await here.commits_before(newest, Position(position), limit)
            assert await there.commits_before(newest, Position(position), limit) == expected
    mine, its = await here.state(), await there.state()
    assert (mine.log, mine.newest, mine.stamp) == (its.log, its.newest, its.stamp)
    await here.close()


def hole(writer: Writer) -> None:
    """A position that is drawn and never used."""
    with writer.connection.transaction():
        writer.connection.execute("select nextval('flagent_cdc.commit_position')")
        raise ZeroDivisionError


def test_keys_are_carried_unchanged() -> None:
    now = datetime(2026, 11, 24, 1, 2, 3, 456789, UTC)
    keys = [ApiKey(1, "ü", "fla_cdc_aaaaaaaa", b"\x00\xff" * 16, Grant(flags=frozenset({"a"})), now, now, None)]
    assert decode_keys(encode_keys(keys)) == keys
