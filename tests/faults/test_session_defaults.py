"""Every command and the server work, and give the same images, whatever the database or the role sets for new
sessions."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql

from cdc.cli import main
from cdc.core.diagnosis import Finding
from cdc.database.queries import flagent_tables
from tests.fixtures.doctor import examine
from tests.fixtures.pgbouncer import Pool
from tests.fixtures.postgres import Postgres
from tests.fixtures.server import RunningServer, SseReader, serving, sse, until

pytestmark = pytest.mark.timeout(120)

QUICK: dict[str, Any] = {"listener_probe_interval_s": 0.5, "listener_poll_interval_s": 0.1, "sse_keep_alive_s": 0.3}

TEXT = "Grüße \\ \\n 'quoted' – ½ 日本"

HOSTILE: dict[str, dict[str, str]] = {
    "encoding": {"client_encoding": "LATIN1"},
    "German dates": {"DateStyle": "German, DMY", "IntervalStyle": "sql_standard", "TimeZone": "Asia/Kathmandu"},
    "SQL dates": {"DateStyle": "SQL, DMY", "IntervalStyle": "iso_8601", "TimeZone": "America/St_Johns"},
    "Postgres dates": {"DateStyle": "Postgres, MDY", "IntervalStyle": "postgres_verbose", "TimeZone": "Etc/GMT+12"},
    "text forms": {
        "standard_conforming_strings": "off",
        "backslash_quote": "off",
        "bytea_output": "escape",
        "extra_float_digits": "-15",
        "quote_all_identifiers": "on",
        "array_nulls": "off",
        "transform_null_equals": "on",
        "xmlbinary": "hex",
    },
    # Long enough for the first statements of a session behind a pool, which run before ours can be set.
    "deadlines": {
        "statement_timeout": "500ms",
        "lock_timeout": "1ms",
        "idle_in_transaction_session_timeout": "500ms",
        "idle_session_timeout": "100ms",
        "transaction_timeout": "500ms",
    },
    "read only": {
        "default_transaction_read_only": "on",
        "default_transaction_isolation": "serializable",
        "default_transaction_deferrable": "on",
    },
    "search path": {
        "search_path": "hostile, pg_catalog",
        "check_function_bodies": "off",
        "row_security": "off",
        "default_tablespace": "",
        "default_with_oids": "off",
    },
    "plans": {
        "plan_cache_mode": "force_generic_plan",
        "enable_seqscan": "off",
        "enable_nestloop": "off",
        "enable_sort": "off",
        "jit_above_cost": "0",
        "work_mem": "64kB",
        "plpgsql.variable_conflict": "use_variable",
        "plpgsql.extra_errors": "all",
        "plpgsql.check_asserts": "off",
    },
    "storage": {
        "default_toast_compression": "pglz",
        "default_table_access_method": "heap",
        "synchronous_commit": "off",
        "client_min_messages": "debug5",
        "temp_buffers": "800kB",
        "createrole_self_grant": "set, inherit",
    },
}
# What a hostile schema offers before pg_catalog: functions, operators and types of its own under PostgreSQL's names.
SHADOWS = """
create schema hostile;
create function hostile.now() returns timestamptz language sql as 'select ''epoch''::timestamptz';
create function hostile.format(text, variadic text[]) returns text language sql as 'select ''hostile''';
create function hostile.to_json(anyelement) returns json language sql as 'select ''"hostile"''::json';
create function hostile.lower(text) returns text language sql as 'select ''hostile''';
create function hostile.set_config(text, text, boolean) returns text language sql as 'select ''hostile''';
create function hostile.current_setting(text, boolean) returns text language sql as 'select ''hostile''';
create function hostile.max(bigint) returns bigint language sql as 'select 7::bigint';
create function hostile.concat(variadic text[]) returns text language sql as 'select ''hostile''';
create function hostile.to_regclass(text) returns regclass language sql as 'select null::regclass';
create function hostile.to_regnamespace(text) returns regnamespace language sql as 'select null::regnamespace';
create function hostile.pg_notify(text, text) returns void language sql as '';
create function hostile.equal(text, text) returns boolean language sql as 'select true';
create operator hostile.= (leftarg = text, rightarg = text, function = hostile.equal);
create view hostile.pg_class as select * from pg_catalog.pg_class where false;
create view hostile.pg_trigger as select * from pg_catalog.pg_trigger where false;
create view hostile.pg_proc as select * from pg_catalog.pg_proc where false;
create view hostile.pg_namespace as select * from pg_catalog.pg_namespace where false;
create view hostile.pg_roles as select * from pg_catalog.pg_roles where false;
"""

ORDERS = """
create table orders (
    id integer primary key, text text, at timestamptz, day date, span interval, bytes bytea, number double precision,
    amount numeric, list integer[], document json
)
"""

ORDER = (
    "insert into public.orders values (%s, %s, '2026-02-03 04:05:06.789+00', '2026-02-03',"
    " make_interval(days => 1, hours => 2), decode('00ff5c', 'hex'), 0.1::float8 + 0.2::float8, 1.10, array[1, null],"
    " '{\"a\" : 1}')"
)

# As `ORDER` is published, whoever asks and whoever has written it.
IMAGE = {
    "text": TEXT,
    "at": "2026-02-03T04:05:06.789+00:00",
    "day": "2026-02-03",
    "span": "1 day 02:00:00",
    "bytes": "\\x00ff5c",
    "number": 0.30000000000000004,
    "list": [1, None],
}


def known_settings(url: str, wanted: dict[str, str]) -> dict[str, str]:
    """Those that this server has."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("do 'begin end'")  # loads its settings
        names = {name for (name,) in connection.execute("select lower(name) from pg_settings").fetchall()}
    return {name: value for name, value in wanted.items() if name.lower() in names}


@contextmanager
def hostile(postgres: Postgres, url: str, of: str, wanted: dict[str, str]) -> Iterator[str]:
    """Give the database, or its role in this database, these settings; the URL for its sessions."""
    settings = known_settings(url, wanted)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SHADOWS.encode())
        connection.execute(ORDERS.encode())
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    target = sql.SQL("database {}").format(sql.Identifier(str(name)))
    if of == "role":
        target = sql.SQL("role current_user in database {}").format(sql.Identifier(str(name)))
    with postgres.admin() as admin:
        for setting, value in settings.items():
            parameter = sql.SQL(".").join(map(sql.Identifier, setting.split(".")))
            values = sql.SQL(", ").join(map(sql.Literal, value.split(", ")))
            admin.execute(sql.SQL("alter {} set {} = {}").format(target, parameter, values))
    yield url


async def command(*arguments: str, url: str, code: int = 0) -> None:
    assert await asyncio.to_thread(main, [*arguments, "--database-url", url], {}) == code


def calm(url: str) -> psycopg.Connection[Any]:
    """A writer that can write: it overrides what would end it, and nothing that may change an image."""
    connection = psycopg.connect(url, autocommit=True, client_encoding="UTF8")
    for name in ("statement_timeout", "lock_timeout", "idle_session_timeout", "idle_in_transaction_session_timeout"):
        connection.execute("select pg_catalog.set_config(%s, '0', false)", (name,))
    if connection.info.server_version >= 170000:
        connection.execute("set transaction_timeout = 0")
    connection.execute("set session characteristics as transaction isolation level read committed, read write")
    connection.execute("set search_path = public")
    return connection


async def everything(server: RunningServer) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """The flags, the feed and the rows that a server answers."""
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
        flags = (await client.get("/api/v1/flags")).raise_for_status().json()
        feed = (await client.get("/api/v1/changes", params={"table": "orders"})).raise_for_status().json()
        text = (await client.get("/api/v1/tables/public.orders/rows")).raise_for_status().text
    lines = [json.loads(line) for line in text.splitlines()]
    return flags, feed["changes"], [line["row"] for line in lines if "row" in line]


async def next_of(stream: SseReader, type: str) -> Any:
    """The data of the next event of that type."""
    while (event := await stream.next()).type != type:
        assert event.type != "resync", event
    return event.data


async def exercise(url: str, writer_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    await command("migrate", url=url)
    await command("watch", "public.orders", url=url)
    await command("watch", "--list", url=url)
    await command("keys", "create", "one", url=url)
    await command("keys", "list", url=url)
    await command("keys", "revoke", "1", url=url)
    with calm(writer_url) as writer:
        async with serving(url, **QUICK) as server, sse(server.stream_url, {"envelope": "true"}) as stream:
            for number in (1, 2):
                writer.execute(
                    "insert into flags (key, description, created_at) values (%s, %s, now())", (f"f{number}", TEXT)
                )
                event = await next_of(stream, "flag_created")
                assert event["flag"]["description"] == TEXT
            async with sse(server.stream_url, {"table": "orders", "envelope": "true"}) as rows_stream:
                writer.execute(ORDER, (1, TEXT))
                row = (await next_of(rows_stream, "row_inserted"))["after"]
                assert {name: row[name] for name in IMAGE} == IMAGE
            before = await everything(server)
            # Longer than each hostile deadline: nothing of ours ends idle sessions.
            await until(lambda: server.pipeline.freshness().fresh, "freshness")
        async with serving(url, **QUICK) as server:
            after = await everything(server)
            assert after[1:] == before[1:]
            assert server.pipeline.listener.reconnects == 0
        (change,) = before[1]
        assert {name: change["after"][name] for name in IMAGE} == IMAGE
        assert before[2] == [change["after"]]
    assert {name: finding for name, finding in examine(url).items() if not is_about_defaults(finding)} == {}
    await command("prune", "--older-than", "1ms", "--keep-at-least", "1ms", url=url)
    await command("unwatch", "public.orders", url=url)
    await command("uninstall", url=url)
    with calm(writer_url) as writer:
        assert writer.execute("select pg_catalog.to_regnamespace('flagent_cdc')").fetchone() == (None,)
    capsys.readouterr()


def is_about_defaults(finding: Finding) -> bool:
    """The doctor may advise against settings with which the server works."""
    return finding.check in ("notifications", "idle_session_timeout", "statement_timeout")


@pytest.mark.parametrize("of", ["database", "role"])
@pytest.mark.parametrize("settings", HOSTILE.values(), ids=HOSTILE.keys())
async def test_no_default_of_a_session_matters(
    postgres: Postgres, flagent_url: str, of: str, settings: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with hostile(postgres, flagent_url, of, settings) as url:
        await exercise(url, url, capsys)


@pytest.mark.parametrize("encoding", ["LATIN1", "LATIN2", "KOI8R", "EUC_JP"])
async def test_a_database_in_another_encoding_is_served_in_utf_8(
    postgres: Postgres, encoding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = {"LATIN1": "Grüße µ", "LATIN2": "Žluťoučký kůň", "KOI8R": "Привет", "EUC_JP": "日本"}[encoding]
    with database_in(postgres, encoding) as url:
        with calm(url) as writer:
            writer.execute(flagent_tables())
        await command("migrate", url=url)
        async with serving(url, **QUICK) as server, sse(server.stream_url, {"envelope": "true"}) as stream:
            with calm(url) as writer:
                writer.execute("insert into flags (key, description, created_at) values ('a', %s, now())", (text,))
            assert (await next_of(stream, "flag_created"))["flag"]["description"] == text
        async with serving(url, **QUICK) as server, httpx.AsyncClient(base_url=server.url) as client:
            (flag,) = (await client.get("/api/v1/flags")).json()
            assert flag["description"] == text
        assert examine(url) == {}
        await command("uninstall", url=url)
    capsys.readouterr()


@contextmanager
def database_in(postgres: Postgres, encoding: str) -> Iterator[str]:
    name = f"hostile_{uuid.uuid4().hex[:12]}"
    with postgres.admin() as admin:
        admin.execute(
            sql.SQL("create database {} template template0 encoding {} locale 'C'").format(
                sql.Identifier(name), sql.Literal(encoding)
            )
        )
    try:
        yield postgres.url_of(name)
    finally:
        postgres.drop(name)


# What no session of a pool can change for itself: it ends while it is idle, and names are found by its own path.
NOT_OURS = {"idle_session_timeout", "search_path"}


@pytest.mark.parametrize("settings", HOSTILE.values(), ids=HOSTILE.keys())
async def test_nor_does_it_behind_a_pool_of_transactions(
    postgres: Postgres, flagent_url: str, settings: dict[str, str], pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = {name: value for name, value in settings.items() if name not in NOT_OURS}
    with hostile(postgres, flagent_url, "database", ours) as url, pool(url) as pooled:
        await exercise(pooled, url, capsys)
