"""Flags whose own texts hold what Python's json cannot read: each is delivered, and no other flag notices."""

import asyncio
import json
import logging

import httpx
import pytest

from tests.fixtures.flags import Writer
from tests.fixtures.nats import NatsServer, active, relaying
from tests.fixtures.server import DEADLINE_S, serving
from tests.values.reading import reading

pytestmark = pytest.mark.timeout(60)

DIGITS = "9" * 5001
NESTED = "[" * 5000 + "]" * 5000

TEXTS = {
    "digits": f'{{"a":{DIGITS}}}',
    "beyond a double": '{"a":1e999}',
    "nested": f'{{"a":{NESTED}}}',
    "NUL": r'{"a":"\u0000"}',
    "half a pair": r'{"a":"\ud83d"}',
    "twice": '{"a":1,"a":2}',
    "a number": DIGITS,
    "only brackets": NESTED,
    "NaN": '{"a":NaN,"b":Infinity}',
    "line ends": '\r\n{"a":\n1}\u2028',
}

PATHS = ("/api/v1/export/eval_cache/json", "/api/v1/flags/flag-0/history", "/api/v1/changes")

OPERATORS = ("EQ", "GT", "LTE", "IN", "EREG", "CONTAINS")


async def test_a_flag_with_such_texts_is_delivered_and_no_other_flag_notices(
    database_url: str, nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    with Writer(database_url) as writer:
        writer.run("alter table flags add column weight numeric")
        async with serving(database_url) as direct, relaying(database_url, nats_server.url) as relay:
            await active(relay)
            async with (
                serving(None, nats_source=nats_server.url) as node,
                reading("direct", direct, {}) as at_direct,
                reading("node", node, {}) as at_node,
            ):
                await asyncio.to_thread(write, writer)
                for stream in (at_direct, at_node):
                    await stream.reaches("flag_created", '"key":"last"')
                    assert "resync" not in {kind for kind, _ in stream.events}
                    created = [json.loads(data) for kind, data in stream.events if kind == "flag_created"]
                    assert [flag["description"] for flag in created] == [*TEXTS.values(), ""]
                assert relay.relay.is_active
                for server in (direct, node):
                    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as http:
                        flags = (await http.get("/api/v1/flags")).json()
                        assert len(flags) == len(TEXTS) + 1
                        for path in PATHS:
                            answer = await http.get(path)
                            assert answer.status_code == 200, (path, answer.text)
                        for number, text in enumerate(TEXTS.values()):
                            for value in (text, 1.5, DIGITS):
                                body = {"flagKey": f"flag-{number}", "entityID": "e", "entityContext": {"p": value}}
                                answer = await http.post("/api/v1/evaluation", json=body)
                                assert answer.status_code == 200, answer.text
                assert [server.pipeline.freshness().fresh for server in (direct, node)] == [True, True]
            async with serving(database_url) as again, httpx.AsyncClient(base_url=again.url) as http:
                assert len((await http.get("/api/v1/flags")).json()) == len(TEXTS) + 1
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def write(writer: Writer) -> None:
    for number, text in enumerate(TEXTS.values()):
        flag = writer.flag(f"flag-{number}", enabled=True, description=text)
        segment = writer.segment(flag)
        variant = writer.variant(flag, "on")
        writer.share(segment, variant)
        for operator in OPERATORS:
            writer.constraint(segment, "p", operator, text)
        update = writer.connection.execute
        update("update variants set attachment = %s where id = %s", (text, variant))
        update("update flags set depends_on = %s, weight = 10::numeric ^ 5000 where id = %s", (text, flag))
    writer.flag("last")
