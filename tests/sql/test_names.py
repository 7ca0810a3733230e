"""No SQL of ours depends on a user's names: a table with any names, in any lane, is captured, read and served.

The names are those of our SQL, and such as need quotes. The fold of the feed, the stream and the rows are the table,
and every surface has one name for it.
"""

import json
import random
import string
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import httpx
import psycopg
import pytest
from psycopg import sql

from cdc.admin.watched_tables import WatchOptions, watch
from cdc.core.log.table_name import qualified
from tests.fixtures.server import RunningServer, SseEvent, SseReader, serving, sse, until

pytestmark = pytest.mark.timeout(120)

# Names of ours, aliases and variables in our SQL, and what needs quotes.
COLUMNS = [
    "t", "told_row", "flagent_cdc_row", "flagent_cdc_image", "q", "r", "c", "i", "k", "n", "old", "new", "key", "row",
    "image", "before_row", "number", "options", "ctid_", "before", "after", "op", "table", "select", "a.b", 'x"y',
    "it's", "Größe", "日本", "UPPER", " ", "%s", "%I", "$1", "{}", "\\", "null", "old_rows", "new_rows", "record",
    "flagent_cdc", "in_row", "row_image", "value", "schema_name",
]  # fmt: skip
TABLES = [
    "b.c",
    'quo"te',
    "Orders",
    "größe",
    "日本",
    "t",
    "flagent_cdc_row",
    "change_log",
    "old_rows",
    "%s",
    "it's",
    "a.b.c",
]
SCHEMAS = ["public", "a", "a.b", 'a"b', "Schema", "ünï"]

LANES = [
    WatchOptions(),
    WatchOptions(lane="own", order="commit"),
    WatchOptions(lane="read", order="read"),
]


def names(chance: random.Random) -> tuple[str, str, list[str]]:
    """A schema, a table and at least two columns; some are any characters."""

    def any_name() -> str:
        return "".join(chance.choices(string.printable[:95] + "äß日\u200b", k=chance.randint(1, 12)))

    columns = chance.sample(COLUMNS, chance.randint(2, 8))
    if chance.random() < 0.4:
        columns = list(dict.fromkeys([*columns, any_name()]))
    table = any_name() if chance.random() < 0.3 else chance.choice(TABLES)
    return chance.choice(SCHEMAS), table, columns


@asynccontextmanager
async def loaded_stream(server: RunningServer, table: str) -> AsyncIterator[SseReader]:
    """A stream of one table, as soon as its lane was read."""
    await server.pipelines.learn_of([table])
    await until(lambda: all(each.is_loaded for each in server.pipelines.pipelines.values()), "the lanes' reading")
    async with sse(server.stream_url, {"table": table, "envelope": "true"}) as stream:
        yield stream


@pytest.mark.parametrize("seed", range(12))
async def test_any_names_are_as_good_as_others(database_url: str, seed: int) -> None:
    chance = random.Random(seed)
    schema, table, columns = names(chance)
    is_parted = chance.random() < 0.5
    options = LANES[seed % 3]
    if chance.random() < 0.5:
        options = WatchOptions(lane=options.lane, order=options.order, mask=columns[-1:], predicate="true")
    name = qualified(schema, table)
    relation = sql.Identifier(schema, table)
    key = sql.Identifier(columns[0])
    with psycopg.connect(database_url, autocommit=True) as connection:

        def run(statement: str, *parts: sql.Composable, parameters: list[object] | None = None) -> None:
            connection.execute(sql.SQL(statement).format(*parts), parameters)

        run("create schema if not exists {}", sql.Identifier(schema))
        definitions = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(each)) for each in columns)
        run("create table {} ({}, primary key ({}))" + (" partition by hash ({})" if is_parted else ""),
            relation, definitions, key, key)  # fmt: skip
        if is_parted:
            for number in (0, 1):
                part = sql.Identifier(schema, f"{table[:50]}.{number}\"'")
                run("create table {} partition of {} for values with (modulus 2, remainder {})", part, relation,
                    sql.Literal(number))  # fmt: skip
        watch(database_url, relation.as_string(connection), options)

        def insert(number: int) -> None:
            run("insert into {} values ({})", relation, sql.SQL(", ").join(sql.Literal(f"v{number}") for _ in columns))

        async with (
            serving(database_url, listener_poll_interval_s=0.1) as server,
            httpx.AsyncClient(base_url=server.url, timeout=20) as client,
            loaded_stream(server, name) as stream,
        ):
            for number in range(4):
                insert(number)
            run("update {} set {} = 'changed' where {} = 'v1'", relation, sql.Identifier(columns[1]), key)
            run("delete from {} where {} = 'v2'", relation, key)
            wanted = ["row_inserted"] * 4 + ["row_updated", "row_deleted"]
            found: list[SseEvent] = []
            while len(found) < len(wanted):
                event = await stream.next()
                if event.type.startswith("row_"):
                    found.append(event)
            assert [event.type for event in found] == wanted
            assert {event.data["table"] for event in found} == {name}
            streamed: dict[str, object] = {}
            for event in found:
                streamed.pop(json.dumps(event.data["key"]), None)
                if event.data["after"] is not None:
                    streamed[json.dumps(event.data["key"])] = event.data["after"]

            tables = (await client.get("/api/v1/tables")).json()["tables"]
            assert [each for each in tables if each["table"] == table and each["schema"] == schema], tables
            response = await client.get(f"/api/v1/tables/{quote(name, safe='')}/rows")
            assert response.status_code == 200, response.text
            lines = [json.loads(line) for line in response.text.splitlines()]
            rows = {json.dumps(line["key"]): line["row"] for line in lines if "row" in line}
            assert rows == streamed

            async def fold() -> dict[str, object]:
                feed = (await client.get("/api/v1/changes", params={"table": name})).raise_for_status().json()
                folded: dict[str, object] = {}
                for change in feed["changes"]:
                    assert change["table"] == name
                    folded.pop(json.dumps(change["key"]), None)
                    if change["op"] == "truncate":
                        folded = {}
                    elif change["after"] is not None:
                        folded[json.dumps(change["key"])] = change["after"]
                return folded

            assert await fold() == rows
            masked = set(options.mask)
            present = connection.execute(
                sql.SQL("select to_jsonb(flagent) from {} flagent").format(relation)
            ).fetchall()
            by_key = sorted(json.dumps({n: None if n in masked else v for n, v in row.items()}, sort_keys=True)
                             for (row,) in present)  # fmt: skip
            assert sorted(json.dumps(row, sort_keys=True) for row in rows.values()) == by_key

            # Only a part, then all of it.
            if is_parted:
                run("truncate {}", sql.Identifier(schema, f"{table[:50]}.0\"'"))
                rest = connection.execute(sql.SQL("select count(*) from {}").format(relation)).fetchone()

                async def is_truncated() -> bool:
                    return rest is not None and len(await fold()) == rest[0]

                await until(is_truncated, "the truncation of a partition")
            run("truncate {}", relation)

            async def is_empty() -> bool:
                return await fold() == {}

            await until(is_empty, "the truncation")


async def test_names_that_differ_by_their_quotes_are_two_tables(database_url: str) -> None:
    tables = [("a", "b.c"), ("a.b", "c"), ("a", 'b"."c')]
    with psycopg.connect(database_url, autocommit=True) as connection:
        for number, (schema, table) in enumerate(tables):
            relation = sql.Identifier(schema, table)
            connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
            connection.execute(sql.SQL("create table {} (id integer primary key)").format(relation))
            watch(database_url, relation.as_string(connection), WatchOptions())
            connection.execute(sql.SQL("insert into {} values ({})").format(relation, sql.Literal(number)))
    async with serving(database_url) as server, httpx.AsyncClient(base_url=server.url, timeout=20) as client:
        for number, (schema, table) in enumerate(tables):
            name = qualified(schema, table)
            feed = (await client.get("/api/v1/changes", params={"table": name})).raise_for_status().json()
            assert [change["after"] for change in feed["changes"]] == [{"id": number}]
            rows = (await client.get(f"/api/v1/tables/{quote(name, safe='')}/rows")).raise_for_status().text
            assert json.loads(rows.splitlines()[1])["row"] == {"id": number}
        names = [each["table"] for each in (await client.get("/api/v1/tables")).json()["tables"]]
        assert set(names) >= {table for _, table in tables}, names
