"""The AsyncAPI document is valid, and every message of a running server matches it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator
from websockets.asyncio.client import connect

from tests.fixtures.node import installed_packages
from tests.fixtures.server import DEADLINE_S, RunningServer, serving, sse
from tests.fixtures.websocket import receive_any, send

DOCUMENT: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[2] / "docs" / "reference" / "asyncapi.yaml").read_text(encoding="utf-8")
)
MESSAGES = DOCUMENT["components"]["messages"]

BEFORE = """
create table orders (id integer primary key, note text);
select flagent_cdc.watch('orders');
insert into flags (key, description, created_at) values ('zero', '', now());
"""
CHANGES = """
insert into flags (key, description, created_at) values ('one', '', now());
insert into variants (flag_id, key, attachment, created_at)
    select id, 'on', '{"colour": "blue"}', now() from flags where key = 'one';
insert into segments (flag_id, description, rank, rollout_percent, created_at)
    select flag_id, '', 1, 100, now() from variants;
insert into constraints (segment_id, property, operator, value, created_at)
    select id, 'country', 'EQ', '"US"', now() from segments;
insert into distributions (segment_id, variant_id, variant_key, percent, created_at)
    select s.id, v.id, v.key, 100, now() from segments s, variants v;
insert into tags (value, created_at) values ('payment', now());
insert into flags_tags (flag_id, tag_id) select v.flag_id, t.id from variants v, tags t;
update flags set enabled = true;
update flags set enabled = false;
delete from distributions;
delete from segments;
delete from variants;
delete from flags where key = 'one';
insert into orders values (1, 'x');
update orders set note = 'y';
delete from orders;
alter table orders add column total numeric default 1;
truncate orders;
"""
EVENTS = {name.removeprefix("ws_") for name in MESSAGES if name.startswith("ws_") and f"sse_{name[3:]}" in MESSAGES} - {
    "batch",
    "snapshot",
    "resync",
}


def at(reference: str) -> Any:
    """The part of the document that a reference points to."""
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if "$ref" in part else []
        return own + [found for value in part.values() for found in references(value)]
    return [found for value in part for found in references(value)] if isinstance(part, list) else []


def assert_documented(name: str, payload: Any) -> None:
    """The message is documented under that name, without missing or additional members."""
    assert name in MESSAGES, f"{name} is not documented: {payload}"
    schema = {**MESSAGES[name]["payload"], "components": DOCUMENT["components"]}
    errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(payload)]
    assert not errors, f"{name}: {errors}"


def run(url: str, script: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in filter(str.strip, script.split(";\n")):
            connection.execute(statement.encode())


def test_the_document_is_consistent() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    found = references(DOCUMENT)
    assert len(found) > 100
    for reference in found:
        at(reference)
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in ("send", "receive")
        channel = operation["channel"]["$ref"]
        assert all(one["$ref"].startswith(f"{channel}/messages/") for one in operation["messages"])
    for name, schema in DOCUMENT["components"]["schemas"].items():
        Draft202012Validator.check_schema({**schema, "$id": f"urn:{name}"})
    used = {one["$ref"].rpartition("/")[2] for one in DOCUMENT["operations"].values() for one in one["messages"]}
    assert used == set(MESSAGES)


def test_the_official_schema_accepts_it(tmp_path: Path) -> None:
    """AsyncAPI's own schema of the document's version, from the package that its tools use."""
    packages = installed_packages(Path(__file__).parent, tmp_path)
    schema = packages / "node_modules/@asyncapi/specs/schemas" / f"{DOCUMENT['asyncapi']}.json"
    validator = Draft7Validator(json.loads(schema.read_text(encoding="utf-8")))
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(DOCUMENT)] == []
    for broken in ({"asyncapi": "9"}, {"channels": {"stream": {"adress": "/"}}}, {"components": {"messages": 1}}):
        assert not validator.is_valid({**DOCUMENT, **broken}), broken


def test_an_undocumented_message_is_detected() -> None:
    assert_documented("ws_pong", {"type": "pong", "requestId": "1"})
    for name, payload in (
        ("ws_pong", {"type": "pong", "requestId": "1", "more": 1}),
        ("ws_pong", {"type": "pong"}),
        ("ws_ping", {"type": "ping"}),
    ):
        with pytest.raises(AssertionError):
            assert_documented(name, payload)


@pytest.fixture
def watched_url(database_url: str) -> str:
    run(database_url, BEFORE)
    return database_url


async def test_every_websocket_message_is_as_documented(watched_url: str) -> None:
    async with (
        serving(watched_url, websocket_ping_interval_s=0.3) as server,
        connect(server.websocket_url) as socket,
        asyncio.timeout(DEADLINE_S),
    ):
        seen: set[str] = set()

        async def request(**message: Any) -> None:
            assert_documented(f"ask_{message['type']}", message)
            await send(socket, **message)

        async def receive_until(*types: str) -> None:
            while not seen.issuperset(types):
                message = await receive_any(socket)
                assert_documented(f"ws_{message['type']}", message)
                seen.add(message["type"])

        await request(type="subscribe", subscribeAll=True, tables=["orders"], snapshot=True, stamps=True)
        await request(type="ping", requestId="7")
        await request(type="evaluate", flagKey="zero", entityID="u", entityContext={"country": "US"}, enableDebug=True)
        await request(type="evaluate_batch", entities=[{"entityID": "u"}], flagKeys=["zero"])
        await socket.send("{}")
        await receive_until("subscribed", "snapshot", "pong", "evaluation_result", "error", "heartbeat")
        await asyncio.to_thread(run, watched_url, CHANGES)
        await receive_until(*EVENTS)
        await request(type="unsubscribe")
        await request(type="subscribe", subscribeAll=True, lastEventId="1-0@aaaaaa", batchMs=10)
        await receive_until("unsubscribed", "resync")
        await asyncio.to_thread(run, watched_url, "update flags set enabled = true")
        await receive_until("batch")
    assert len(EVENTS) == 13


@pytest.mark.parametrize("envelope", ["false", "true"])
async def test_every_event_of_the_stream_is_as_documented(envelope: str, watched_url: str) -> None:
    async with serving(watched_url) as server, asyncio.timeout(DEADLINE_S):
        await follow(server, watched_url, envelope)
        async with sse(server.stream_url, {"batchMs": "10"}, last_event_id="rubbish") as stream:
            resync = await stream.next()
            assert_documented(f"sse_{resync.type}", resync.data)
            await asyncio.to_thread(run, watched_url, "update flags set enabled = true")
            batch = await stream.next()
            assert_documented(f"sse_{batch.type}", batch.data)
            assert (resync.type, batch.type) == ("resync", "batch")


async def follow(server: RunningServer, url: str, envelope: str) -> None:
    """Read every type of event from a stream of flags and one of rows."""
    seen: set[str] = set()
    async with (
        sse(server.stream_url, {"snapshot": "true", "envelope": envelope}) as flags,
        sse(server.stream_url, {"table": "orders", "envelope": envelope}) as rows,
    ):
        assert_documented("sse_connected", flags.greeting)
        snapshot = await flags.next()
        assert_documented("sse_snapshot", snapshot.data)
        await asyncio.to_thread(run, url, CHANGES)
        for stream, last in ((flags, "flag_deleted"), (rows, "table_truncated")):
            while last not in seen:
                event = await stream.next()
                assert_documented(f"{'ws' if envelope == 'true' else 'sse'}_{event.type}", event.data)
                seen.add(event.type)
    assert seen == EVENTS
