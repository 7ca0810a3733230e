"""Text of databases that are not in UTF-8, and bytes that no encoding explains."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psycopg
import pytest

from cdc.admin.installation import migrate
from cdc.core.text.exact_json import members
from cdc.database.queries import flagent_tables
from tests.fixtures.flags import Writer
from tests.fixtures.nats import NatsServer, active, relaying
from tests.fixtures.postgres import Postgres
from tests.fixtures.server import DEADLINE_S, serving
from tests.values.reading import pages, reading

pytestmark = pytest.mark.timeout(60)


@contextmanager
def database_in(postgres: Postgres, encoding: str) -> Iterator[str]:
    """A database with Flagent's tables, in this encoding."""
    name = f"in_{encoding.lower()}"
    with postgres.admin() as admin:
        admin.execute(f"create database {name} encoding '{encoding}' template template0 locale 'C'".encode())
    url = postgres.url_of(name)
    try:
        with psycopg.connect(url, autocommit=True) as session:
            session.execute(flagent_tables())
        migrate(url)
        yield url
    finally:
        postgres.drop(name)


async def test_text_arrives_whatever_encoding_the_database_or_the_role_asks_for(postgres: Postgres) -> None:
    with database_in(postgres, "LATIN1") as url, Writer(url) as writer:
        writer.run("set client_encoding = 'UTF8'", "create table n (id integer primary key, name text)")
        writer.run("select flagent_cdc.watch('n')", "alter role current_user set client_encoding = 'LATIN1'")
        try:
            async with (
                serving(url) as server,
                httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as http,
                reading("rows", server, {"table": "n", "envelope": "true"}) as rows,
                reading("flags", server, {}) as flags,
            ):
                writer.run("insert into n values (1, 'Grüße')")
                writer.run("insert into n values (2, 'ü' || repeat('x', 9000))")
                writer.flag("a", description="Grüße")
                await flags.reaches("flag_created", '"description":"Grüße"')
                await rows.reaches("row_inserted", "üxxx")
                assert '"name":"Grüße"' in rows.events[0][1]
                assert [text for text in [c async for c in pages(http, "json", table="n")] if "Grüße" in text]
        finally:
            writer.run("alter role current_user reset client_encoding")


async def test_bytes_that_are_not_utf8_mark_their_row_alone(postgres: Postgres, nats_server: NatsServer) -> None:
    latin1 = "convert_from('\\xfc', 'SQL_ASCII')"
    with database_in(postgres, "SQL_ASCII") as url, Writer(url) as writer:
        writer.run("create table n (id integer primary key, name text)", "select flagent_cdc.watch('n')")
        async with serving(url) as direct, relaying(url, nats_server.url) as relay:
            await active(relay)
            async with (
                serving(None, nats_source=nats_server.url) as node,
                reading("direct", direct, {"table": "n", "envelope": "true"}) as at_direct,
                reading("node", node, {"table": "n", "envelope": "true"}) as at_node,
                reading("flags", node, {}) as flags,
            ):
                writer.run(f"insert into n values (1, {latin1})")
                writer.run(f"insert into n values (2, {latin1} || repeat('x', 9000))")
                writer.run("insert into n values (3, 'Grüße')")
                writer.run(
                    f"insert into flags (key, description, created_at) values ('a', 'x' || {latin1}, now())",
                )
                for stream in (at_direct, at_node):
                    await stream.reaches("row_inserted", '"name":"Grüße"')
                    found = [json.loads(data) for _, data in stream.events]
                    assert [event["key"] for event in found] == [{"id": 1}, {"id": 2}, {"id": 3}]
                    assert [event.get("unreadable") for event in found] == ["not_utf8", "not_utf8", None]
                await flags.reaches("flag_created", '"description":"x\\udcfc"')
                for server in (direct, node):
                    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as http:
                        for format in ("json", "cloudevents", "debezium"):
                            changes = [text async for text in pages(http, format, table="n")]
                            assert ['"unreadable":"not_utf8"' in text for text in changes] == [True, True, False]
                async with httpx.AsyncClient(base_url=direct.url, timeout=DEADLINE_S) as http:
                    for format in ("json", "debezium"):
                        rows = await http.get("/api/v1/tables/n/rows", params={"format": format})
                        _, *lines, _ = rows.text.splitlines()
                        assert ['"unreadable":"not_utf8"' in line for line in lines] == [True, True, False]
                        assert [members(line)["key"] for line in lines] == ['{"id" : 1}', '{"id" : 2}', '{"id" : 3}']
                async with reading("rows", direct, {"table": "n", "snapshot": "true"}) as sent:
                    await sent.reaches("rows_end")
                (piece,) = [json.loads(data)["rows"] for kind, data in sent.events if kind == "rows"]
                assert [row.get("unreadable") for row in piece] == ["not_utf8", "not_utf8", None]
