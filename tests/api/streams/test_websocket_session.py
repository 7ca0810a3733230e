"""The WebSocket as a client sees it: a real server, a real database, a real socket."""

import asyncio
import json
import zlib
from typing import NoReturn

import httpx
import pytest

from api.access.authentication import AuthenticatedStream, Authentication
from api.access.credential_expiry import CredentialExpiryWatcher
from api.streams.websocket_session import MAX_CLAUSES, Session
from cdc.auth.identity import Identity
from cdc.core.flags.catalog import Catalog
from cdc.core.log.point_in_time import PointInTime
from cdc.core.log.position import EventId, Position
from cdc.core.subscription.grant import EVERYTHING, Grant
from cdc.core.wire.dialect import MESSAGES
from cdc.core.wire.format import Format
from cdc.fanout.subscriber import CloseReason
from cdc.source.memory import MemoryLog
from tests.cdc.fanout.memory import MemorySink
from tests.fixtures.flags import Writer
from tests.fixtures.hostile import raw_websocket, text
from tests.fixtures.memory import MemoryWriter
from tests.fixtures.server import DEADLINE_S, RunningServer, port_of, serving, sse, until
from tests.fixtures.websocket_client import talking


async def test_a_subscriber_of_everything_gets_the_event_object(
    either_server: RunningServer, database_url: str
) -> None:
    with Writer(database_url) as writer:
        async with talking(either_server) as client:
            subscribed = await client.ask(type="subscribe", requestId="r1", subscribeAll=True)
            flag = writer.flag("a")
            event = await client.hear()
    assert (subscribed["type"], subscribed["requestId"]) == ("subscribed", "r1")
    assert subscribed["added"]["all"] is True
    assert subscribed["fresh"] is True
    assert (event["type"], event["flagKey"], event["flagID"], event["schema"]) == ("flag_created", "a", flag, "public")
    assert event["flag"]["key"] == "a"
    assert EventId.parse(event["id"]).log == EventId.parse(subscribed["id"]).log


async def test_a_request_id_is_made_where_there_is_none(memory_server: RunningServer) -> None:
    async with talking(memory_server) as client:
        assert (await client.ask(type="subscribe", flags=["a"]))["requestId"]


async def test_subscribes_add_up_and_unsubscribe_takes_away(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        a, b, tagged = (writer.flag(key) for key in ("a", "b", "t"))
        writer.tag(tagged, "payment")
        # So that no event of these comes after the first subscribe.
        newest = writer.connection.execute("select max(position) from flagent_cdc.commit_log").fetchone()
        assert newest is not None
        await until(lambda: server.pipeline.hub.catalog.position >= newest[0], "the flags")
        async with talking(server) as client:
            await client.ask(type="subscribe", flags=["a"])
            both = await client.ask(type="subscribe", tags=["payment"], flagIDs=[b])
            for flag in (a, b, tagged):
                writer.toggle(flag)
            keys = [(await client.hear())["flagKey"] for _ in range(6)]
            fewer = await client.ask(type="unsubscribe", flags=["a"], flagIDs=[b])
            for flag in (a, b, tagged):
                writer.toggle(flag)
            rest = [(await client.hear())["flagKey"] for _ in range(2)]
            nothing = await client.ask(type="unsubscribe")
            writer.toggle(tagged)
            silent = await client.ask(type="ping", requestId="p")
    assert both["added"] == {
        "all": False,
        "flags": [],
        "flagIDs": [b],
        "tags": ["payment"],
        "segments": False,
        "tables": [],
        "types": [],
        "schemas": [],
    }
    assert (both["selectors"], both["clauses"]) == (3, 1)
    assert keys == ["a", "a", "b", "b", "t", "t"]
    assert fewer["type"] == "unsubscribed"
    assert (fewer["removed"]["flags"], fewer["removed"]["flagIDs"], fewer["selectors"]) == (["a"], [b], 1)
    assert rest == ["t", "t"]
    assert (nothing["removed"], nothing["selectors"], nothing["clauses"]) == (None, 0, 0)
    assert silent == {"type": "pong", "requestId": "p"}


async def test_a_snapshot_holds_what_the_new_part_selects(either_server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        async with talking(either_server) as client:
            await client.ask(type="subscribe", subscribeAll=True)
            for key in ("a", "b", "c"):
                writer.flag(key)
                await client.hear()
        async with talking(either_server) as client:
            await client.say(type="subscribe", requestId="s", flags=["b"], snapshot=True)
            await client.hear()
            snapshot = await client.hear()
    assert (snapshot["type"], snapshot["requestId"]) == ("snapshot", "s")
    assert [flag["key"] for flag in snapshot["flags"]] == ["b"]
    assert snapshot["id"].startswith(snapshot["position"] + "@")


async def test_a_client_that_comes_back_gets_what_it_missed(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        async with talking(server) as client:
            await client.ask(type="subscribe", subscribeAll=True)
            writer.flag("a")
            last = (await client.hear())["id"]
        writer.flag("b")
        writer.flag("c")
        async with talking(server) as client:
            await client.ask(type="subscribe", subscribeAll=True, lastEventId=last)
            keys = [(await client.hear())["flagKey"] for _ in range(2)]
    assert keys == ["b", "c"]


async def test_an_added_part_with_an_id_replays_only_what_is_new(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        async with talking(server) as client:
            subscribed = await client.ask(type="subscribe", flags=["a"])
            writer.flag("a")
            await client.hear()
            writer.flag("b")
            writer.flag("a2")
            await client.ask(type="subscribe", flags=["b"], lastEventId=subscribed["id"])
            missed = await client.hear()
            assert (await client.ask(type="ping"))["type"] == "pong"
    assert missed["flagKey"] == "b"


async def test_an_added_part_with_an_id_is_batched_and_stamped_as_the_rest(
    server: RunningServer, database_url: str
) -> None:
    with Writer(database_url) as writer:
        async with talking(server) as client:
            subscribed = await client.ask(type="subscribe", flags=["a"], batchMs=50, stamps=True)
            writer.flag("b")
            writer.flag("b2")
            writer.flag("a")
            assert (await client.hear())["type"] == "batch"
            await client.ask(type="subscribe", flags=["b", "b2"], lastEventId=subscribed["id"])
            batch = await client.hear()
            await client.ask(type="subscribe", flags=["c"], batchMs=0)
            last = batch["events"][-1]["id"]
            await client.ask(type="subscribe", flags=["b2"], lastEventId=last)
            writer.flag("c")
            single = await client.hear()
    assert batch["type"] == "batch"
    assert [event["flagKey"] for event in batch["events"]] == ["b", "b2"]
    assert batch["sentAt"] >= batch["events"][-1]["committedAt"]
    assert (single["flagKey"], "sentAt" in single) == ("c", True)


async def test_an_added_part_with_an_id_that_is_ahead_waits_for_it(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        async with talking(server) as client:
            subscribed = await client.ask(type="subscribe", flags=["a"])
            here = EventId.parse(subscribed["id"])
            await client.ask(type="subscribe", flags=["b"], lastEventId=f"{here.position + 1}@{here.log}")
            writer.flag("b")
            writer.toggle(writer.flag("a"))
            heard = [await client.hear() for _ in range(2)]
    assert [(event["type"], event["flagKey"]) for event in heard] == [("flag_created", "a"), ("flag_updated", "a")]


async def test_batches_and_stamps(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        async with talking(server) as client:
            await client.ask(type="subscribe", subscribeAll=True, batchMs=300, stamps=True)
            for key in "abc":
                writer.flag(key)
            batch = await client.hear()
            await client.ask(type="subscribe", subscribeAll=True, batchMs=0)
            writer.flag("d")
            single = await client.hear()
    assert batch["type"] == "batch"
    assert [event["flagKey"] for event in batch["events"]] == ["a", "b", "c"]
    assert batch["sentAt"] >= batch["events"][-1]["committedAt"]
    assert single["sentAt"] >= single["committedAt"]


async def test_a_heartbeat_tells_position_freshness_and_digest(database_url: str) -> None:
    async with serving(database_url, websocket_ping_interval_s=0.2) as server:
        with Writer(database_url) as writer:
            async with talking(server) as client:
                await client.ask(type="subscribe", subscribeAll=True)
                writer.flag("a")
                await client.hear()
                heartbeat = await client.hear(heartbeats=True)
            async with talking(server) as client:
                await client.ask(type="subscribe", flags=["a"])
                filtered = await client.hear(heartbeats=True)
    assert (heartbeat["type"], heartbeat["position"], heartbeat["fresh"]) == ("heartbeat", "2", True)
    assert heartbeat["digest"] == server.pipeline.hub.catalog.digest
    assert heartbeat["digest"].startswith("1:")
    assert "digest" not in filtered


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ("{", "invalid_json", ("not valid JSON",)),
        ("[]", "invalid_message", ("object",)),
        ('{"type":"subscribee"}', "unknown_type", ("subscribee", "subscribe", "ping")),
        ('{"type":"subscribe","flagz":[]}', "unknown_field", ("flagz", "flags")),
        ('{"type":"subscribe","flags":"a"}', "invalid_parameter", ("flags", "list")),
        ('{"type":"subscribe","types":["nope"]}', "invalid_parameter", ("types", "nope", "flag_updated")),
        ('{"type":"subscribe","lastEventId":"junk"}', "invalid_event_id", ("junk",)),
        ('{"type":"ping","requestId":7}', "invalid_parameter", ("requestId",)),
        ("[" * 100_000, "invalid_message", ("nested",)),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
async def test_bad_input_gets_an_error_and_the_connection_stays(
    memory_server: RunningServer, message: str, code: str, words: tuple[str, ...]
) -> None:
    await is_refused(memory_server, message, code, words)


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ("{", "invalid_json", ("not valid JSON",)),
        (json.dumps({"type": "ping", "requestId": "x" * 140_000}), "message_too_large", ("131072",)),
        (b"\x00", "binary_message", ("binary",)),
    ],
    ids=["text", "too large", "binary"],
)
async def test_either_way_an_unreadable_message_gets_an_error_and_the_connection_stays(
    either_memory_server: RunningServer, message: str | bytes, code: str, words: tuple[str, ...]
) -> None:
    await is_refused(either_memory_server, message, code, words)


async def is_refused(server: RunningServer, message: str | bytes, code: str, words: tuple[str, ...]) -> None:
    async with talking(server) as client:
        await client.connection.send(message)
        error = await client.hear()
        assert (await client.ask(type="ping", requestId="still here"))["requestId"] == "still here"
    assert (error["type"], error["code"]) == ("error", code)
    for word in words:
        assert word in error["message"]


async def test_messages_are_answered_in_order_while_a_snapshot_is_on_its_way(
    either_server: RunningServer, database_url: str
) -> None:
    with Writer(database_url) as writer:
        for n in range(30):
            writer.flag(f"f{n}", description="x" * 100_000)
        assert await either_server.pipeline.hub.reached(Position(31), DEADLINE_S)
        async with talking(either_server) as client:
            await client.say(type="subscribe", subscribeAll=True, snapshot=True)
            for n in range(20):
                await client.say(type="ping", requestId=str(n))
            await asyncio.sleep(0)
            heard = [await client.hear() for _ in range(22)]
    assert [message["type"] for message in heard[:2]] == ["subscribed", "snapshot"]
    assert len(heard[1]["flags"]) == 30
    assert [message["requestId"] for message in heard[2:]] == [str(n) for n in range(20)]


@pytest.mark.parametrize("number", [32, 33, 250, 2_000])
async def test_a_burst_of_subscribes_is_answered_in_order_to_the_last(
    memory_server: RunningServer, number: int
) -> None:
    """However TCP cuts it: here as one write. Every subscribe makes the subscriber behind and live again."""
    wishes = [text({"type": "subscribe", "requestId": f"r{n}", "flags": [f"f{n}"]}) for n in range(number)]
    async with raw_websocket(port_of(memory_server)) as connection:
        await connection.send(b"".join([*wishes, text({"type": "ping", "requestId": "last"})]))
        answers = [await connection.message() for _ in range(number + 1)]
    assert [answer["requestId"] for answer in answers] == [*(f"r{n}" for n in range(number)), "last"]
    assert [answer.get("selectors") for answer in answers] == [*range(1, number + 1), None]


async def test_an_answer_says_what_has_changed_however_much_there_was_before(memory_server: RunningServer) -> None:
    async with talking(memory_server) as client:
        first = await client.ask(type="subscribe", flags=["a"])
        await client.ask(type="subscribe", flags=[f"flag-{n}" for n in range(1_000)])
        later = await client.ask(type="subscribe", flags=["b"])
        fewer = await client.ask(type="unsubscribe", flags=["b"])
    assert later["added"]["flags"] == fewer["removed"]["flags"] == ["b"]
    assert (later["selectors"], fewer["selectors"]) == (1_002, 1_001)
    assert len(json.dumps(later)) < len(json.dumps(first)) + 16


async def test_a_connection_has_32_clauses_at_most(either_memory_server: RunningServer) -> None:
    async with talking(either_memory_server) as client:
        for number in range(MAX_CLAUSES):
            answer = await client.ask(type="subscribe", subscribeAll=True, schemas=[f"s{number}"])
        assert answer["clauses"] == MAX_CLAUSES
        refused = await client.ask(type="subscribe", requestId="r", subscribeAll=True, schemas=["one more"])
        merged = await client.ask(type="subscribe", flags=["a"], schemas=["s1"])
        await client.ask(type="unsubscribe", subscribeAll=True, schemas=["s2"])
        again = await client.ask(type="subscribe", subscribeAll=True, schemas=["one more"])
    assert (refused["type"], refused["code"], refused["requestId"]) == ("error", "too_many_clauses", "r")
    assert "the limit is 32" in refused["message"]
    assert (merged["type"], merged["clauses"]) == ("subscribed", MAX_CLAUSES)
    assert (again["type"], again["clauses"]) == ("subscribed", MAX_CLAUSES)


async def test_a_message_that_fails_in_a_later_turn_ends_the_connection() -> None:
    """An unforeseen error must not leave it open and deaf."""

    class Broken:
        def evaluate_text(self, request: object, /, *, grant: Grant, catalog: Catalog | None = None) -> NoReturn:
            raise RuntimeError("unforeseen")

        evaluate_batch_texts = evaluate_text

        async def catalog_at(self, point: PointInTime, /) -> Catalog:
            raise NotImplementedError

    sink = MemorySink()
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    async with serving(MemoryLog()) as server:
        session = Session(
            server.pipelines, sink, Format(MESSAGES, is_framed=False), stop_reading=lambda: None,
            resume_reading=lambda: None, authenticated=AuthenticatedStream(Identity("test", EVERYTHING)),
            authentication=Authentication(), credential_expiry=CredentialExpiryWatcher(None), evaluator=Broken(),
        )  # fmt: skip
        server.pipeline.join(session.subscriber)
        for _ in range(2):
            session.receive('{"type":"evaluate","flagKey":"a","entityID":"e"}')
        await until(lambda: sink.closed is not None, "the close")
        session.close()
        server.pipeline.leave(session.subscriber)
    assert sink.closed == (CloseReason.RESTARTING, "internal error; reconnect with the last event id received")
    assert [str(failure) for failure in failures] == ["unforeseen"]


async def test_a_flag_beyond_the_bound_is_sent_reduced_and_can_be_fetched(memory_log: MemoryLog) -> None:
    """On every stream, live, in a replay and in a snapshot; the digest is that of what was sent."""
    async with serving(memory_log, pipeline_max_flag_bytes=10_000, websocket_ping_interval_s=0.2) as server:
        writer = MemoryWriter(memory_log)
        async with talking(server) as client, sse(server.stream_url) as stream:
            begin = (await client.ask(type="subscribe", subscribeAll=True))["id"]
            large = writer.flag("large", enabled=True, description="x" * 50_000)
            live = await client.hear()
            streamed = await stream.next()
        async with talking(server) as client:
            await client.ask(type="subscribe", subscribeAll=True, lastEventId=begin)
            replayed = await client.hear()
            await client.ask(type="unsubscribe")
            await client.ask(type="subscribe", subscribeAll=True, snapshot=True)
            (sent,) = (await client.hear())["flags"]
            heartbeat = await client.hear(heartbeats=True)
        async with httpx.AsyncClient(base_url=server.url) as http:
            whole = (await http.get(f"/api/v1/flags/{large}")).json()
    assert (sent["id"], sent["key"], sent["enabled"], sent["description"]) == (large, "large", True, "")
    assert sent["tooLarge"] > 50_000
    assert live["flag"] == replayed["flag"] == streamed.data == sent
    assert len(whole["description"]) == 50_000
    assert "tooLarge" not in whole
    canonical = {name: sent[name] for name in sorted(sent) if name not in ("snapshotID", "updatedAt", "updatedBy")}
    crc = zlib.crc32(json.dumps(canonical, separators=(",", ":"), ensure_ascii=False).encode())
    assert heartbeat["digest"] == f"1:{crc:08x}"
