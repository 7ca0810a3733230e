"""Rows that are too large for a stream: delivered as such where they are, and nobody else waits for them."""

import asyncio
import json
import logging
from typing import Any

import httpx
import pytest

from cdc.core.log.row_text import MAX_DELIVERED
from cdc.core.text.exact_json import members
from tests.fixtures.flags import Writer
from tests.fixtures.nats import NatsServer, active, relaying
from tests.fixtures.server import serving
from tests.values.reading import pages, reading

pytestmark = pytest.mark.timeout(120)

SIZE = 4 * MAX_DELIVERED

# What one turn of the loop may take, on which a server, a relay, a node and their clients run, beside other tests.
LONGEST_TURN_S = 1.0


class Pulse:
    """Measures the longest time for which the loop did not turn."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            before = clock()
            await asyncio.sleep(0.005)
            self.longest_s = max(self.longest_s, clock() - before)


async def test_a_large_row_is_marked_on_streams_and_whole_in_the_feed(
    database_url: str, nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    with Writer(database_url) as writer:
        writer.run("create table docs (id integer primary key, body text)", "select flagent_cdc.watch('docs')")
        async with (
            serving(database_url) as direct,
            relaying(database_url, nats_server.url) as relay,
        ):
            await active(relay)
            async with (
                serving(None, nats_source=nats_server.url) as node,
                reading("direct", direct, {"table": "docs", "envelope": "true"}) as at_direct,
                reading("node", node, {"table": "docs", "envelope": "true"}) as at_node,
                reading("flags", node, {}) as flags,
                httpx.AsyncClient(timeout=None) as http,
            ):
                pulse = Pulse()
                beating = asyncio.create_task(pulse.run())
                await asyncio.to_thread(writer.run, f"insert into docs values (1, repeat('x', {SIZE}))")
                await asyncio.to_thread(writer.run, "insert into docs values (2, 'small')")
                await asyncio.to_thread(writer.flag, "last")
                for stream in (at_direct, at_node):
                    await stream.reaches("row_inserted", '"body":"small"')
                    first: dict[str, Any] = json.loads(stream.events[0][1])
                    assert (first["key"], first["before"], first["after"]) == ({"id": 1}, None, None)
                    assert first["unreadable"] == "too_large"
                    assert len(stream.events) == 2
                await flags.reaches("flag_created")
                assert len(flags.events) == 1
                for server in (direct, node):
                    async with httpx.AsyncClient(base_url=server.url, timeout=None) as feed:
                        changes = [change async for change in pages(feed, "json", table="docs")]
                    # In a thread, as the servers are on this loop.
                    assert await asyncio.to_thread(sizes, changes) == [SIZE + 2, 7]
                rows = await http.get(f"{direct.url}/api/v1/tables/docs/rows")
                assert [len(line) > SIZE for line in rows.text.splitlines()] == [False, True, False, False]
                async with reading("rows", direct, {"table": "docs", "snapshot": "true"}) as sent:
                    await sent.reaches("rows_end")
                found = [item for kind, data in sent.events if kind == "rows" for item in json.loads(data)["rows"]]
                assert found == [
                    {"key": {"id": 1}, "row": None, "unreadable": "too_large"},
                    {"key": {"id": 2}, "row": {"id": 2, "body": "small"}},
                ]
                beating.cancel()
                assert pulse.longest_s < LONGEST_TURN_S
                status = (await http.get(f"{direct.url}/api/v1/status")).json()
                metrics = (await http.get(f"{direct.url}/metrics")).text
    (entry,) = status["unreadable"]
    assert (entry["table"], entry["reason"], entry["count"]) == ("public.docs", "too_large", 1)
    assert 'flagent_cdc_unreadable_rows_total{lane="flags",reason="too_large",worker="0"} 1.0' in metrics
    logged = [record for record in caplog.records if getattr(record, "action", "") == "row_unreadable"]
    assert {(record.table, record.reason) for record in logged} == {("public.docs", "too_large")}  # type: ignore[attr-defined]
    assert [record for record in caplog.records if record.levelno > logging.WARNING] == []


def sizes(changes: list[str]) -> list[int]:
    return [len(members(members(change)["after"])["body"]) for change in changes]


async def test_many_rows_just_below_the_limit_come_in_pieces(database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.run("create table docs (id integer primary key, body text)", "select flagent_cdc.watch('docs')")
        writer.run(f"insert into docs select n, repeat('x', {MAX_DELIVERED - 1000}) from generate_series(1, 5) n")
        selected = {"table": "docs", "snapshot": "true"}
        async with serving(database_url) as server, reading("rows", server, selected) as sent:
            await sent.reaches("rows_end")
    pieces = [json.loads(data)["rows"] for kind, data in sent.events if kind == "rows"]
    assert [len(piece) for piece in pieces] == [1] * 5
    assert all(len(row["row"]["body"]) == MAX_DELIVERED - 1000 for (row,) in pieces)
