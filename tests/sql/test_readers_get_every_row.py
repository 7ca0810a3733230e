"""Rows that a capture is known to get wrong, each by its own test; test_truth looks for more (promise P1)."""

import json
from collections.abc import Callable, Iterator

import psycopg
import pytest

from cdc.admin.installation import migrate, uninstall
from cdc.core.log.table_name import qualified
from tests.fixtures.log import add_flag
from tests.fixtures.postgres import Postgres
from tests.sql.programs.session import Session
from tests.sql.programs.truth import Truth

OpenSession = Callable[..., psycopg.Connection]

LANES = [("flags", "commit"), ("at_commit", "commit"), ("when_read", "read")]


@pytest.fixture
def truth(database_url: str) -> Iterator[Truth]:
    """Call `begin` after the tables are watched, `findings` at the end."""
    with Truth(database_url) as truth:
        yield truth


def watch(writer: psycopg.Connection, table: str, lane: tuple[str, str]) -> None:
    writer.execute("select flagent_cdc.watch(%s, lane => %s, lane_order => %s)", (table, *lane))


# The order of changes that triggers of the application make.


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("name", ["a_bump", "flagent_cdc_205_bump", "zz_bump"])
@pytest.mark.parametrize("level", ["row", "statement"])
@pytest.mark.parametrize("depth", [1, 3])
def test_a_trigger_that_updates_its_own_rows_has_the_last_word(
    writer: psycopg.Connection, truth: Truth, lane: tuple[str, str], name: str, level: str, depth: int
) -> None:
    writer.execute("create schema shop; create table shop.orders (id int primary key, total int, version int)")
    condition = " where id = new.id" if level == "row" else ""
    writer.execute(
        "create function shop.bump() returns trigger language plpgsql as $$ begin"
        f" if pg_trigger_depth() <= {depth} then update shop.orders set version = version + 1{condition}; end if;"
        f" return null; end $$; create trigger {name} after insert or update on shop.orders"
        f" for each {level} execute function shop.bump()".encode()
    )
    watch(writer, "shop.orders", lane)
    truth.begin()
    writer.execute("insert into shop.orders values (1, 10, 0), (2, 20, 0)")
    writer.execute("update shop.orders set total = total + 1")
    with writer.transaction():
        writer.execute("update shop.orders set id = id + 10 where id = 2")
        writer.execute("update shop.orders set total = 0 where id = 12")
    assert truth.findings() == []


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("isolation", ["read committed", "serializable"])
@pytest.mark.parametrize("options", ["include => '{id,total}'", "exclude => '{version}'"])
def test_a_row_that_triggers_change_out_of_sight_and_delete_is_gone(
    writer: psycopg.Connection, truth: Truth, lane: tuple[str, str], isolation: str, options: str
) -> None:
    """The trigger of the first row changes the second one, which another trigger then deletes, before ours have run."""
    writer.execute(
        "create schema shop; create table shop.orders (id int primary key, total int, version int);"
        "create function shop.remove() returns trigger language plpgsql as $$ begin"
        " delete from shop.orders where id = new.id; return null; end $$;"
        "create function shop.bump() returns trigger language plpgsql as $$ begin"
        " update shop.orders set version = version + 1 where id <> new.id; return null; end $$;"
        "create trigger a_remove after update on shop.orders for each row when (new.version > 1)"
        " execute function shop.remove();"
        "create trigger z_bump after insert or update of total on shop.orders for each row"
        " when (new.version = 0) execute function shop.bump()"
    )
    writer.execute(f"select flagent_cdc.watch('shop.orders', lane => %s, lane_order => %s, {options})".encode(), lane)
    truth.begin()
    writer.execute(f"set default_transaction_isolation = '{isolation}'")
    writer.execute("insert into shop.orders values (1, 10, 0), (2, 20, 1), (3, 30, 0)")
    assert writer.execute("select id from shop.orders order by id").fetchall() == [(1,), (3,)]
    with writer.transaction():
        writer.execute("insert into shop.orders values (4, 40, 1)")
        writer.execute("update shop.orders set total = total + 1, version = 0 where id = 1")
    assert truth.findings() == []


@pytest.mark.parametrize("name", ["a_guard", "flagent_cdc_105_guard", "z_guard"])
@pytest.mark.parametrize("flags", [1, 5])
def test_a_flag_that_a_guard_turns_off_is_off(writer: psycopg.Connection, truth: Truth, name: str, flags: int) -> None:
    writer.execute(
        "create function guard() returns trigger language plpgsql as $$ begin"
        " if pg_trigger_depth() = 1 and new.notes like '%risky%' then"
        " update flags set enabled = false where id = new.id; end if; return null; end $$;"
        f"create trigger {name} after insert or update on flags for each row execute function guard()".encode()
    )
    truth.begin()
    for number in range(flags):
        add_flag(writer, f"k{number}")
    writer.execute("update flags set enabled = true")
    writer.execute("update flags set notes = 'risky'")
    assert truth.findings() == []


@pytest.mark.parametrize("lane", LANES)
def test_a_row_that_a_trigger_inserts_again_is_there(
    writer: psycopg.Connection, truth: Truth, lane: tuple[str, str]
) -> None:
    writer.execute(
        "create schema shop; create table shop.t (id int primary key, n int);"
        "create function shop.again() returns trigger language plpgsql as $$ begin"
        " if old.n < 3 then insert into shop.t values (old.id, old.n + 1); end if; return null; end $$;"
        "create trigger a_again after delete on shop.t for each row execute function shop.again()"
    )
    watch(writer, "shop.t", lane)
    truth.begin()
    writer.execute("insert into shop.t values (1, 0), (2, 3), (3, 1)")
    writer.execute("delete from shop.t")
    writer.execute("delete from shop.t where id = 1")
    assert truth.findings() == []


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("name", ["a_next", "zz_next"])
@pytest.mark.parametrize("isolation", ["read committed", "serializable"])
@pytest.mark.parametrize("key", ["id int primary key", "id int, region text default 'x', primary key (region, id)"])
def test_a_key_that_a_change_has_freed_is_that_of_the_row_that_a_trigger_gave_it(
    writer: psycopg.Connection, truth: Truth, lane: tuple[str, str], name: str, isolation: str, key: str
) -> None:
    """Freed by a deletion or by a change of the key; taken by an insertion or by a change of the key."""
    writer.execute(
        f"create schema shop; create table shop.t ({key}, n int, how text);"
        "create function shop.next() returns trigger language plpgsql as $$ begin"
        " if old.how = 'insert' then insert into shop.t (id, n) values (old.id, 100 + old.n);"
        " elsif old.how = 'update' then update shop.t set id = old.id, n = n + 1 where id = 1000 + old.id;"
        " elsif old.how = 'twice' then insert into shop.t (id, n, how) values (old.id, 1, 'again');"
        "  update shop.t set id = old.id + 2000 where id = old.id and how = 'again';"
        "  insert into shop.t (id, n) values (old.id, 2);"
        " end if; return null; end $$;"
        f"create trigger {name} after delete or update of id on shop.t for each row"
        " when (old.how is not null) execute function shop.next()".encode()
    )
    watch(writer, "shop.t", lane)
    truth.begin()
    writer.execute(f"set default_transaction_isolation = '{isolation}'")
    writer.execute(
        "insert into shop.t (id, n, how) select i, i, (array['insert', 'update', 'twice'])[1 + i % 3]"
        " from generate_series(1, 24) i"
    )
    writer.execute("insert into shop.t (id, n) select 1000 + i, i from generate_series(1, 24) i")
    writer.execute("update shop.t set id = id + 3000 where id <= 6")
    writer.execute("delete from shop.t where id between 7 and 12")
    with writer.transaction():
        writer.execute("update shop.t set n = n + 1 where id between 13 and 24")
        writer.execute("update shop.t set id = id + 3000, n = n + 1 where id between 13 and 18")
        writer.execute("delete from shop.t where id between 19 and 24")
        writer.execute("update shop.t set n = n + 1 where id between 13 and 18")
    assert truth.findings() == []


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("event", ["delete", "insert", "delete or insert"])
def test_a_row_that_moves_between_partitions_is_there(
    writer: psycopg.Connection, truth: Truth, lane: tuple[str, str], event: str
) -> None:
    """Deleted from one and inserted into the other: two changes of a row that a trigger may change between them."""
    writer.execute(
        "create schema shop; create table shop.t (id int, region text, n int) partition by list (region);"
        "create table shop.north partition of shop.t for values in ('n');"
        "create table shop.south partition of shop.t for values in ('s');"
        "create unique index on shop.t (id, region);"
        "create function shop.touch() returns trigger language plpgsql as $$ begin"
        " if pg_trigger_depth() = 1 then update shop.t set n = n + 1 where id = coalesce(new.id, old.id); end if;"
        " return null; end $$;"
        f"create trigger a_touch after {event} on shop.t for each row execute function shop.touch()".encode()
    )
    writer.execute("select flagent_cdc.watch('shop.t', key => '{id}', lane => %s, lane_order => %s)", lane)
    truth.begin()
    writer.execute("insert into shop.t select i, 'n', 0 from generate_series(1, 3) i")
    writer.execute("update shop.t set region = 's'")
    writer.execute("update shop.t set region = 'n' where id = 2")
    assert truth.findings() == []


# One image of a row, for all writers.


@pytest.mark.parametrize("lane", LANES)
def test_a_row_has_one_key_and_one_image_whatever_the_writers_settings_are(
    writer: psycopg.Connection, truth: Truth, lane: tuple[str, str]
) -> None:
    writer.execute(
        "create schema iot; create table iot.reading (device int, at timestamptz, v float8, primary key (device, at));"
        "create table iot.blob (k bytea primary key, during tstzrange, every interval, price money, at timestamptz[])"
    )
    watch(writer, "iot.reading", lane)
    watch(writer, "iot.blob", lane)
    truth.begin()
    writer.execute("set timezone = 'Europe/Berlin'; insert into iot.reading values (1, '2026-01-01 00:00Z', 1)")
    writer.execute("set timezone = 'UTC'; update iot.reading set v = 0.1::float8 + 0.2")
    writer.execute("set extra_float_digits = 0; update iot.reading set v = 0.3; reset extra_float_digits")
    writer.execute("set timezone = 'America/New_York'; update iot.reading set v = 2")
    writer.execute("set bytea_output = escape; set datestyle = 'SQL, DMY'; set intervalstyle = iso_8601")
    writer.execute(
        r"insert into iot.blob values ('\x00ff', '[2026-01-02 00:00Z,)', '1 day 2 hours', 1.5, '{2026-01-02 00:00Z}')"
    )
    writer.execute("reset all; update iot.blob set price = 2")
    assert truth.findings() == []
    (key,) = {change.key for change in truth.changes() if change.table == "reading"}
    assert key is not None
    assert json.loads(key) == {"device": 1, "at": "2026-01-01T00:00:00+00:00"}


@pytest.mark.parametrize("lane", LANES)
def test_a_virtual_column_has_one_value_for_all_readers(
    writer: psycopg.Connection, truth: Truth, lane: tuple[str, str]
) -> None:
    if writer.info.server_version < 180_000:
        pytest.skip("virtual generated columns exist since PostgreSQL 18")
    writer.execute(
        "create schema shop; create table shop.o (id int primary key, net int, gross int generated always as (net * 2))"
    )
    watch(writer, "shop.o", lane)
    truth.begin()
    writer.execute("insert into shop.o (id, net) values (1, 100)")
    writer.execute("update shop.o set net = 7")
    first, last = truth.changes()
    assert [row for _, row in truth.rows("o")] == [last.after]
    assert last.before == first.after
    assert first.after is not None
    assert json.loads(first.after).get("gross", 200) == 200


# Triggers that were switched off and on.


@pytest.mark.parametrize("lane", LANES)
def test_each_change_is_there_once_after_all_triggers_were_enabled(
    writer: psycopg.Connection, truth: Truth, lane: tuple[str, str]
) -> None:
    writer.execute("create schema shop; create table shop.t (id int primary key, n int)")
    watch(writer, "shop.t", lane)
    for table in ("flags", "shop.t"):
        writer.execute(f"alter table {table} disable trigger all; alter table {table} enable trigger all".encode())
    truth.begin()
    add_flag(writer, "a")
    writer.execute("update flags set notes = 'once'")
    writer.execute("update flags set notes = notes || n from generate_series(1, 3) n")
    writer.execute("delete from flags")
    writer.execute("insert into shop.t values (1, 1), (2, 2)")
    writer.execute("update shop.t set n = 5")
    writer.execute("truncate shop.t")
    assert truth.findings() == []
    assert len([change for change in truth.changes() if change.table == "flags"]) == 4


# Names and encodings.


def test_a_dot_in_a_name_makes_no_two_tables_one(writer: psycopg.Connection, truth: Truth) -> None:
    writer.execute(
        'create schema "a.b"; create schema a; create table "a.b".c (id int primary key);'
        'create table a."b.c" (id int primary key)'
    )
    writer.execute("""select flagent_cdc.watch('"a.b".c'), flagent_cdc.watch('a."b.c"')""")
    truth.begin()
    writer.execute('insert into "a.b".c values (1)')
    writer.execute('insert into a."b.c" values (2)')
    assert truth.findings() == []
    assert [(change.schema, change.table) for change in truth.changes()] == [("a.b", "c"), ("a", "b.c")]
    for schema, table in (("a.b", "c"), ("a", "b.c")):
        found = truth.changes([qualified(schema, table)])
        assert [(change.schema, change.table) for change in found] == [(schema, table)]


HOSTILE = {
    "formats": {
        "datestyle": "German", "intervalstyle": "iso_8601", "timezone": "America/St_Johns", "bytea_output": "escape",
        "extra_float_digits": "-15", "lc_monetary": "C", "lc_numeric": "C", "xmlbinary": "hex", "xmloption": "document",
        "quote_all_identifiers": "on",
    },
    "strings": {
        "standard_conforming_strings": "off", "backslash_quote": "off", "array_nulls": "off",
        "transform_null_equals": "on",
    },
    "encoding": {"client_encoding": "LATIN1"},
    "transactions": {
        "default_transaction_isolation": "serializable", "default_transaction_deferrable": "on",
        "statement_timeout": "30s", "idle_in_transaction_session_timeout": "30s", "transaction_timeout": "30s",
        "lock_timeout": "10s", "synchronous_commit": "off",
    },
    "plans and names": {
        "search_path": "nowhere", "enable_seqscan": "off", "enable_nestloop": "off", "plan_cache_mode":
        "force_generic_plan", "check_function_bodies": "off", "row_security": "off", "jit": "off",
        "default_table_access_method": "heap", "default_toast_compression": "pglz", "cursor_tuple_fraction": "1",
        "default_with_oids": "off",
    },
}  # fmt: skip


@pytest.mark.parametrize("settings", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("owner", ["database", "role"])
def test_no_settings_of_the_database_or_the_role_change_what_readers_get(
    postgres: Postgres, settings: dict[str, str], owner: str
) -> None:
    with postgres.database("flagent") as url, psycopg.connect(url, autocommit=True) as admin:
        known = {name for (name,) in admin.execute("select lower(name) from pg_settings")}
        database, role = psycopg.sql.Identifier(admin.info.dbname), psycopg.sql.Identifier(admin.info.user)
        alter = psycopg.sql.SQL("alter database {}").format(database)
        if owner == "role":
            alter = psycopg.sql.SQL("alter role {} in database {}").format(role, database)
        for name, value in settings.items():
            if name in known:
                admin.execute(alter + psycopg.sql.SQL(" set {} = {}").format(psycopg.sql.Identifier(name), value))
        migrate(url)
        writer = Session(url)
        for statement in (
            "set client_encoding = utf8",
            "set default_transaction_isolation = 'read committed'",
            "create schema shop",
            "create table shop.t (id int primary key, at timestamptz, e interval, b bytea, f float8, m money, n text)",
            "create table shop.k (at timestamptz primary key)",
            "select flagent_cdc.watch('shop.t', lane => 'r', lane_order => 'read'), flagent_cdc.watch('shop.k')",
        ):
            assert not writer.run(statement).is_error, statement
        with Truth(url) as truth:
            truth.begin()
            for statement in (
                "reset default_transaction_isolation",
                "insert into public.flags (key, description, created_at) values ('a', 'Grüße', '2026-01-02 03:04')",
                "update public.flags set description = 'snow ☃'",
                "insert into shop.t values (1, '2026-02-03 04:05+00', '1 day', decode('00ff', 'hex'), 0.3, 1, 'ü☃')",
                "insert into shop.k values ('2026-02-03 04:05+00')",
                "update shop.t set n = 'ß'; update shop.k set at = '2026-02-03 04:06+00'",
            ):
                assert not writer.run(statement).is_error, statement
            assert truth.findings() == []
        writer.close()
        uninstall(url)
        assert admin.execute("select from pg_namespace where nspname = 'flagent_cdc'").fetchone() is None
