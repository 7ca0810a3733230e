"""Every reader delivers a value of every built-in type at its extremes, to the last digit, and the next change."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx
import pytest

from cdc.core.text.exact_json import members, on_one_line
from tests.fixtures.flags import Writer
from tests.fixtures.nats import NatsServer, active, relaying
from tests.fixtures.server import DEADLINE_S, RunningServer, serving
from tests.values.extremes import EXTREMES, LEFT_OUT, POISON
from tests.values.reading import items, pages, reading

pytestmark = pytest.mark.timeout(120)

# As few events in memory as possible: what comes before is replayed from the change log.
QUICK: dict[str, Any] = {"listener_probe_interval_s": 0.5, "pipeline_ring_events": 8}


class Value(NamedTuple):
    """A row of the table for its type; `text` is what PostgreSQL's `to_json` makes of the value."""

    table: str
    id: int
    text: str


@dataclass
class Stored:
    """A database with a watched table for each type, and the values that were written to them."""

    writer: Writer
    tables: list[str]
    values: list[Value]

    def write(self) -> None:
        """Write every value in a transaction of its own, and change it in another; then what must come after them."""
        for type, expressions in cases():
            for id, expression in enumerate(expressions):
                table = f"extremes.{type}"
                self.writer.run(f"insert into {table} select {id}, ({expression})::{type}")
                self.writer.run(f"update {table} set other = 'x' where id = {id}")
                (text,) = found(self.writer, f"select to_json(v)::text from {table} where id = {id}")
                self.values.append(Value(table, id, text))
        self.writer.run("insert into extremes.last values (1)")
        self.writer.flag("last")


def found(writer: Writer, query: str) -> list[str]:
    """The first column of a query."""
    return [str(row[0]) for row in writer.connection.execute(query.encode()).fetchall()]


def cases() -> Iterator[tuple[str, tuple[str, ...]]]:
    for type in sorted({*EXTREMES, *POISON}):
        yield type, (*EXTREMES.get(type, ()), *POISON.get(type, ()))


@pytest.fixture
def stored(database_url: str) -> Iterator[Stored]:
    with Writer(database_url) as writer:
        writer.run("create schema extremes", "create table extremes.last (id integer primary key)")
        tables = ["extremes.last"]
        for type, _ in cases():
            table = f"extremes.{type}"
            writer.run(f"create table {table} (id integer primary key, v {type}, other text)")
            tables.append(table)
        for table in tables:
            writer.run(f"select flagent_cdc.watch('{table}')")
        yield Stored(writer, tables, [])


def test_no_built_in_type_is_missing(database_url: str) -> None:
    with Writer(database_url) as writer:
        names = found(
            writer,
            "select typname::text from pg_type where typnamespace = 'pg_catalog'::regnamespace"
            " and typtype in ('b', 'r', 'm') and typcategory <> 'A' and typname !~ '^(_|pg_toast|information)'",
        )
    assert set(names) - EXTREMES.keys() - POISON.keys() - LEFT_OUT.keys() == set()


# -- readers -------------------------------------------------------------------------------------------------------


def check(stored: Stored, events: list[dict[str, str]], *, lines: bool) -> None:
    """`events` are members as text: an insert and an update of each value, and the last row after all of them."""
    *rows, last = [event for event in events if event["table"].startswith('"extremes.')]
    assert last["table"] == '"extremes.last"'
    assert len(rows) == len(stored.values) * 2
    for value, insert, update in zip(stored.values, rows[::2], rows[1::2], strict=True):
        text = on_one_line(value.text) if lines else value.text
        for event, before, after in ((insert, None, text), (update, text, text)):
            assert event["table"] == f'"{value.table}"'
            assert "unreadable" not in event, event
            for name, expected in (("before", before), ("after", after)):
                assert (None if event[name] == "null" else members(event[name])["v"]) == expected, value
        assert (insert["changed"], update["changed"]) == ("[]", '["other"]')


async def feed(http: httpx.AsyncClient, format: str) -> list[dict[str, str]]:
    """The changes of the feed as events."""
    found = []
    async for text in pages(http, format):
        change = members(text)
        if format == "cloudevents":
            change = members(change["data"])
        if format == "debezium":
            change = members(change["value"])
            source = members(change["source"])
            is_update = change["op"] == '"u"'
            change |= {
                "table": f'"{source["schema"][1:-1]}.{source["table"][1:-1]}"',
                "changed": '["other"]' if is_update else "[]",
            }
        found.append(change)
    return found


async def rows(http: httpx.AsyncClient, table: str, format: str) -> dict[int, str]:
    """The values of a table's rows by id."""
    response = await http.get(f"/api/v1/tables/{table}/rows", params={"format": format})
    _, *lines, end = response.text.removesuffix("\n").split("\n")
    assert members(end)["rows"] == str(len(lines))
    texts = [members(line) for line in lines]
    found = [members(members(text["value"])["after"] if format == "debezium" else text["row"]) for text in texts]
    return {int(row["id"]): row["v"] for row in found}


# -- the test ------------------------------------------------------------------------------------------------------


async def test_every_reader_delivers_each_value_and_the_change_after_it(
    stored: Stored, database_url: str, nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    selected = [("envelope", "true"), *(("table", table) for table in stored.tables)]
    async with (
        serving(database_url, **QUICK) as direct,
        relaying(database_url, nats_server.url) as relay,
        httpx.AsyncClient(base_url=direct.url, timeout=DEADLINE_S) as here,
    ):
        await active(relay)
        async with (
            serving(None, nats_source=nats_server.url, **QUICK) as node,
            httpx.AsyncClient(base_url=node.url, timeout=DEADLINE_S) as there,
            reading("direct", direct, selected) as at_direct,
            reading("node", node, selected) as at_node,
            reading("flags", direct, {}) as flags_at_direct,
            reading("flags at the node", node, {}) as flags_at_node,
        ):
            begin = str(direct.pipeline.hub.catalog.here)
            await asyncio.to_thread(stored.write)
            async with reading("replayed", direct, selected, last_event_id=begin) as replayed:
                for stream in (at_direct, at_node, replayed):
                    await stream.reaches("row_inserted", '"table":"extremes.last"')
                    assert {kind for kind, _ in stream.events} == {"row_inserted", "row_updated"}
                    check(stored, [members(data) for _, data in stream.events], lines=True)
            for stream in (flags_at_direct, flags_at_node):
                await stream.reaches("flag_created")
                assert len(stream.events) == 1
            for format in ("json", "cloudevents", "debezium"):
                for http in (here, there):
                    changes = await feed(http, format)
                    check(stored, [change for change in changes if "extremes." in change["table"]], lines=False)
            for table in stored.tables[1:]:
                expected = {value.id: on_one_line(value.text) for value in stored.values if value.table == table}
                assert await rows(here, table, "json") == expected
                assert await rows(here, table, "debezium") == expected
                assert await streamed_rows(direct, table) == expected
            assert [server.pipeline.freshness().fresh for server in (direct, node)] == [True, True]
            assert relay.relay.is_active
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def streamed_rows(server: RunningServer, table: str) -> dict[int, str]:
    """The values of a table's rows by id, as a stream sends them."""
    async with reading("rows", server, {"table": table, "snapshot": "true"}) as stream:
        await stream.reaches("rows_end")
    sent = [item for kind, data in stream.events if kind == "rows" for item in items(members(data)["rows"])]
    found = [members(members(item)["row"]) for item in sent]
    return {int(row["id"]): row["v"] for row in found}
