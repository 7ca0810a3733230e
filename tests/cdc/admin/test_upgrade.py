"""Every way to a version ends in the same database, also the way back, and servers live through all of it."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, pool

from cdc.admin.installation import downgrade, migrate, uninstall
from cdc.core.errors import InvalidInput
from cdc.errors import SchemaMismatch
from tests.cdc.admin.test_installation import CONTENT, ask, do
from tests.fixtures.horizon import wait_for_horizon
from tests.fixtures.server import serving, sse, until

CONFIG = Config()
CONFIG.set_main_option("script_location", "sql:migrations")
REVISIONS = sorted(each.revision for each in ScriptDirectory.from_config(CONFIG).walk_revisions())

COLUMNS = """
select c.oid::regclass::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text,
       pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
  from pg_attribute a
  join pg_class c on c.oid = a.attrelid
  left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
 where c.relnamespace = 'flagent_cdc'::regnamespace and a.attnum > 0 and not a.attisdropped and c.relkind <> 'i'
 order by 1, a.attnum
"""
INDEXES = "select indexdef from pg_indexes where schemaname = 'flagent_cdc' order by 1"
VERSIONS = "select version_num from flagent_cdc.alembic_version"
OBJECTS = "select name, sha256 from flagent_cdc.installed_object order by 1"


def shape(url: str) -> list[list[tuple[object, ...]]]:
    """All that makes two databases the same, apart from what the log holds."""
    return [ask(url, question) for question in (CONTENT, COLUMNS, INDEXES, VERSIONS, OBJECTS)]


def install_tables_of(url: str, revision: str) -> None:
    """What an older version's tables were; its functions are not kept anywhere."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=pool.NullPool)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "sql:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


FIXTURE_0007 = Path(__file__).parents[2] / "sql" / "fixtures" / "revision_0007.sql"


def install_objects_of_0007(url: str) -> None:
    """What that version's migrate did after its revisions."""
    objects = re.split(r"^-- object (\w+)$", FIXTURE_0007.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    with psycopg.connect(url) as connection:
        for name, text in zip(objects[::2], objects[1::2], strict=True):
            connection.execute(text.encode())
            connection.execute(
                "insert into flagent_cdc.installed_object (name, sha256) values (%s, %s)",
                (name, hashlib.sha256(text.encode()).hexdigest()),
            )
        connection.execute("select flagent_cdc.attach('public')")


def capture_one(url: str, key: str) -> tuple[object, ...]:
    do(url, f"insert into flags (key, description, created_at) values ('{key}', '', now())")
    (found,) = ask(
        url,
        "select l.table_name, l.op, l.after ->> 'key' from flagent_cdc.change_log l"
        " join flagent_cdc.commit_log c on c.transaction_group = l.transaction_group order by c.position desc limit 1",
    )
    return found


@pytest.mark.parametrize("revision", REVISIONS)
def test_an_upgrade_from_an_earlier_revision_is_the_same_as_a_new_installation(
    revision: str, flagent_url: str, database_url: str
) -> None:
    install_tables_of(flagent_url, revision)
    migrate(flagent_url)
    assert shape(flagent_url) == shape(database_url)
    assert capture_one(flagent_url, "a") == ("flags", "insert", "a")


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_the_way_back_ends_where_that_revision_began(revision: str, flagent_url: str, database_url: str) -> None:
    said: list[str] = []
    assert downgrade(database_url, revision, report=said.append) is True
    assert f"from revision {REVISIONS[-1]} to {revision}" in said[0]
    install_tables_of(flagent_url, revision)
    assert shape(database_url) == shape(flagent_url)


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_the_way_back_and_forth_is_a_new_installation_with_the_old_log(revision: str, database_url: str) -> None:
    before = shape(database_url)
    capture_one(database_url, "a")
    commits = ask(database_url, "select position, xid::text from flagent_cdc.commit_log order by 1")
    downgrade(database_url, revision)
    # Nothing captures now, and nothing is in a writer's way.
    do(database_url, "update flags set enabled = true")
    migrate(database_url)
    assert shape(database_url) == before
    assert (
        ask(database_url, "select position, xid::text from flagent_cdc.commit_log order by 1")[: len(commits)]
        == commits
    )
    assert capture_one(database_url, "b") == ("flags", "insert", "b")


WATCHES = (
    "select flagent_cdc.watch('plain')",
    "select flagent_cdc.watch('own', lane => 'own')",
    "select flagent_cdc.watch('free', lane => 'free', lane_order => 'read')",
)


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_on_the_way_back_no_writer_of_a_watched_table_is_hurt_and_it_can_be_watched_anew(
    revision: str, database_url: str
) -> None:
    tables = ("plain", "own", "free")
    do(database_url, "; ".join(f"create table {table} (id integer primary key)" for table in tables))
    do(database_url, "; ".join(WATCHES))
    do(database_url, "; ".join(f"insert into {table} values (1)" for table in tables))
    downgrade(database_url, revision)
    do(
        database_url,
        "; ".join(f"insert into {table} values (2); update {table} set id = 3 where id = 2" for table in tables),
    )
    migrate(database_url)
    do(database_url, "; ".join(WATCHES))
    do(database_url, "; ".join(f"delete from {table} where id = 3" for table in tables))
    logged = ask(
        database_url,
        "select table_name from flagent_cdc.change_log where op = 'delete'"
        " union all select table_name from flagent_cdc.lane_change_log where op = 'delete'"
        " union all select table_name from flagent_cdc.read_order_log where op = 'delete'",
    )
    assert sorted(logged) == [("free",), ("own",), ("plain",)]
    assert ask(database_url, "select problems from flagent_cdc.watched()") == [([],)] * 3


# Tables in every kind of lane, with every kind of option; of a partitioned one the trigger has another name.
TABLES_0007 = """
create table plain (id integer primary key, note text);
create table chosen (id integer primary key, total numeric, email text, hidden text);
create table days (id integer primary key) partition by range (id);
create table days_1 partition of days for values from (0) to (1000);
create table own (id integer primary key, note text);
create table free (id integer primary key, note text);
select flagent_cdc.watch('plain');
select flagent_cdc.watch(
    'chosen', exclude => '{hidden}', mask => '{email}', predicate => $$total > 10 and email <> E'a\\\\b,"(''é'$$
);
select flagent_cdc.watch('days', operations => '{insert,truncate}');
select flagent_cdc.watch('own', stream => 'own');
select flagent_cdc.watch('free', stream => 'free', mode => 'horizon');
"""

LOGS_0007 = {
    "flags": "select c.position, c.xid::text, c.changes, json_agg(g order by g.id)::text"
    " from flagent_cdc.commit_log c left join (select batch, id, schema_name, table_name, op, key, before, after"
    " from flagent_cdc.change_log) g using (batch) group by 1, 2, 3 order by 1",
    "own": "select c.position, c.xid::text, c.changes, json_agg(g order by g.id)::text"
    " from flagent_cdc.stream_commit_log c left join (select batch, id, schema_name, table_name, op, key, before, after"
    " from flagent_cdc.stream_change_log) g using (batch) where c.stream = 1 group by 1, 2, 3 order by 1",
    "free": "select l.xid, l.id, l.table_name, l.op, l.key::text, l.before::text, l.after::text"
    " from flagent_cdc.horizon_log l where l.stream = 2 order by 1, 2",
    "lanes": "select s.id, s.name, s.channel, s.pruned_to from flagent_cdc.stream s order by 1",
    "retention": "select r.pruned_to, r.min_age from flagent_cdc.retention r",
}

NEW_NAMES = {
    "stream_commit_log": "lane_commit_log",
    "stream_change_log": "lane_change_log",
    "horizon_log": "read_order_log",
    "stream": "lane",
    "batch": "transaction_group",
}


def held(url: str, *, is_old: bool) -> dict[str, list[tuple[object, ...]]]:
    """All that the log holds, its changes as text."""
    found: dict[str, list[tuple[object, ...]]] = {}
    for name, question in LOGS_0007.items():
        asked = question if is_old else re.sub(r"\b[a-z_]+\b", lambda word: NEW_NAMES.get(word[0], word[0]), question)
        rows = ask(url, asked)
        found[name] = [tuple(str(each).replace('"transaction_group":', '"batch":') for each in row) for row in rows]
    return found


def write_everywhere(session: psycopg.Connection, number: int) -> None:
    """One commit that is in every lane, and one more in that of the flags."""
    with session.transaction():
        session.execute(
            "insert into flags (key, description, created_at) values (%s, '', now())", (f"everywhere-{number}",)
        )
        session.execute("insert into plain values (%s, 'a')", (number,))
        session.execute("insert into chosen values (%s, %s, 'a@x', 'secret')", (number, number * 10))
        session.execute("insert into days values (%s)", (number,))
        session.execute("insert into own values (%s, 'a')", (number,))
        session.execute("insert into free values (%s, 'a')", (number,))
    session.execute("update plain set note = 'b' where id = %s", (number,))


def captured(url: str, number: int) -> set[tuple[object, ...]]:
    """The tables whose row of that number is in the log, with the images that were logged."""
    return set(
        ask(
            url,
            f"""
            select g.table_name, g.op, g.after::text
              from flagent_cdc.change_log g join flagent_cdc.commit_log c using (transaction_group)
             where g.after ->> 'id' = '{number}' and g.table_name <> 'flags'
             union all
            select g.table_name, g.op, g.after::text
              from flagent_cdc.lane_change_log g join flagent_cdc.lane_commit_log c using (transaction_group)
             where g.after ->> 'id' = '{number}'
             union all
            select l.table_name, l.op, l.after::text
              from flagent_cdc.read_order_log l
             where l.after ->> 'id' = '{number}'
            """,
        )
    )


def everywhere(number: int) -> set[tuple[object, ...]]:
    """What `write_everywhere` leaves in the log."""
    return {
        ("plain", "insert", f'{{"id":{number},"note":"a"}}'),
        ("plain", "update", f'{{"id":{number},"note":"b"}}'),
        ("chosen", "insert", f'{{ "id" : {number}, "total" : {number * 10}, "email" : null }}'),
        ("days", "insert", f'{{"id":{number}}}'),
        ("own", "insert", f'{{"id":{number},"note":"a"}}'),
        ("free", "insert", f'{{"id":{number},"note":"a"}}'),
    }


@pytest.fixture
def url_0007(flagent_url: str) -> str:
    """A database as revision 0007 left it, with commits in every kind of lane; older ones are pruned."""
    install_tables_of(flagent_url, "0007")
    install_objects_of_0007(flagent_url)
    do(flagent_url, TABLES_0007)
    with psycopg.connect(flagent_url, autocommit=True) as session:
        for number in range(2, 8):
            write_everywhere(session, number)
        # Leaves a request for a position behind, in each lane; without meaning when its transaction has ended.
        with session.transaction():
            session.execute("update flags set enabled = true where key = 'everywhere-7'")
            session.execute("update own set note = 'deferred' where id = 7")
            session.execute("set constraints all immediate")
        for requests in ("seal_request", "stream_seal_request"):
            assert session.execute(f"select count(*) from flagent_cdc.{requests}".encode()).fetchone() == (1,)
        session.execute("update flagent_cdc.retention set min_age = '0'")
        session.execute("select flagent_cdc.prune(null, 20, 10)")
        session.execute("select flagent_cdc.prune_stream(1, null, 2, 10)")
        wait_for_horizon(flagent_url, "horizon_log")
        session.execute("select flagent_cdc.prune_stream(2, null, 2, 10)")
        session.execute("update flagent_cdc.retention set min_age = '42 minutes'")
    before = held(flagent_url, is_old=True)
    assert [name for name, rows in before.items() if not rows] == []
    assert int(str(before["retention"][0][0])) > 0
    assert all(int(str(pruned_to)) > 0 for *_, pruned_to in before["lanes"])
    return flagent_url


def test_an_upgrade_from_0007_keeps_every_log_and_captures_on(url_0007: str, database_url: str) -> None:
    before = held(url_0007, is_old=True)
    with psycopg.connect(url_0007, autocommit=True) as session:
        write_everywhere(session, 9)
        before = held(url_0007, is_old=True)
        migrate(url_0007)
        # Attaching Flagent's tables anew has logged their rows once more.
        kept = held(url_0007, is_old=False)
        *kept["flags"], attached = kept["flags"]
        assert kept == before
        assert '"op":"truncate"' in str(attached[3])
        # Also a session that has called the old functions.
        write_everywhere(session, 10)
    do(url_0007, "truncate days_1, days")
    assert captured(url_0007, 9) == everywhere(9)
    assert captured(url_0007, 10) == everywhere(10)
    after = held(url_0007, is_old=False)
    for lane in ("flags", "own", "free"):
        assert after[lane][: len(before[lane])] == before[lane]
    assert [int(str(row[0])) for row in after["own"]][-1] == int(str(before["own"][-1][0])) + 1
    assert ask(url_0007, "select problems from flagent_cdc.watched()") == [([],)] * 5
    assert ask(url_0007, "select flagent_cdc.watch('own', lane => 'own')") == [("unchanged",)]
    # Nothing of the old names is left.
    ours = (
        "select p.oid::regprocedure::text from pg_proc p where p.pronamespace = 'flagent_cdc'::regnamespace order by 1",
        "select t.tgrelid::regclass::text, t.tgname from pg_trigger t join pg_class c on c.oid = t.tgrelid"
        " where c.relnamespace = 'flagent_cdc'::regnamespace and not t.tgisinternal order by 1, 2",
        OBJECTS,
        VERSIONS,
    )
    for question in ours:
        assert ask(url_0007, question) == ask(database_url, question)


def test_a_restored_table_keeps_the_options_of_its_own_trigger(url_0007: str) -> None:
    """Its id is that of another table here: with that one's options a masked column would be published."""
    do(
        url_0007,
        r"""
        create table invoices (id integer primary key, iban text);
        select flagent_cdc.watch('invoices', mask => '{iban}', predicate => $$iban <> '\000 \\000'$$);
        do $do$
        declare
            restored text[] := (select w.options from flagent_cdc.watched_table w where w.table_name = 'invoices');
        begin
            delete from flagent_cdc.watched_table w where w.table_name = 'invoices';
            restored[1] := '1';
            perform flagent_cdc.put_watch_triggers('invoices'::regclass, '{insert,update,delete,truncate}', restored);
        end
        $do$;
        """,
    )
    migrate(url_0007)
    do(url_0007, "insert into invoices values (1, 'secret')")
    assert ask(
        url_0007,
        "select l.after ->> 'id', l.after ->> 'iban' from flagent_cdc.change_log l where table_name = 'invoices'",
    ) == [("1", None)]


def test_the_way_back_to_0007_keeps_every_log_and_its_version_captures_on(url_0007: str) -> None:
    migrate(url_0007)
    with psycopg.connect(url_0007, autocommit=True) as session:
        write_everywhere(session, 9)
    before = held(url_0007, is_old=False)
    downgrade(url_0007, "0007")
    assert held(url_0007, is_old=True) == before
    install_objects_of_0007(url_0007)
    do(url_0007, "select flagent_cdc.watch('own', stream => 'own')")
    do(url_0007, "insert into own values (10, 'old')")
    assert len(held(url_0007, is_old=True)["own"]) == len(before["own"]) + 1
    # And forth: also the tables that were not watched anew in between.
    migrate(url_0007)
    with psycopg.connect(url_0007, autocommit=True) as session:
        write_everywhere(session, 11)
    assert captured(url_0007, 11) == everywhere(11)
    after = held(url_0007, is_old=False)
    for lane in ("own", "free"):
        assert after[lane][: len(before[lane])] == before[lane]
    assert ask(url_0007, "select problems from flagent_cdc.watched()") == [([],)] * 5


@contextmanager
def writing(url: str, failures: list[BaseException], numbers: list[int]) -> Iterator[None]:
    """Four writers that write everywhere, each in sessions of its own, until the end."""
    is_over = threading.Event()

    def write(first: int) -> None:
        number = first
        try:
            with psycopg.connect(url, autocommit=True) as session:
                while not is_over.is_set():
                    write_everywhere(session, number)
                    numbers.append(number)
                    number += 4
        except psycopg.Error as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(first,)) for first in range(100, 104)]
    for writer in writers:
        writer.start()
    try:
        yield
    finally:
        is_over.set()
        for writer in writers:
            writer.join(timeout=60)


def test_no_writer_fails_during_the_upgrade_and_each_commit_is_captured_once(url_0007: str) -> None:
    do(url_0007, "create table days_2 partition of days for values from (1000) to (1000000)")
    failures: list[BaseException] = []
    numbers: list[int] = []
    with writing(url_0007, failures, numbers):
        with psycopg.connect(url_0007) as holder:
            # Captured by the old functions, and committed while the upgrade waits.
            holder.execute("insert into own values (50, 'open')")
            upgrade = threading.Thread(target=migrate, args=(url_0007,))
            upgrade.start()
            upgrade.join(timeout=0.5)
            assert upgrade.is_alive()
            holder.commit()
        upgrade.join(timeout=60)
        assert not upgrade.is_alive()
        done = len(numbers)
        while len(numbers) < done + 8 and not failures:
            threading.Event().wait(0.01)
    assert failures == []
    assert ask(url_0007, "select version_num from flagent_cdc.alembic_version") == [(REVISIONS[-1],)]
    logged = {
        "plain": "change_log where table_name = 'plain' and op = 'insert'",
        "chosen": "change_log where table_name = 'chosen' and op = 'insert'",
        "own": "lane_change_log where op = 'insert'",
        "free": "read_order_log where op = 'insert'",
    }
    for table, log in logged.items():
        rows = ask(url_0007, f"select (after ->> 'id')::integer from flagent_cdc.{log} order by 1")
        assert [number for (number,) in rows if isinstance(number, int) and number >= 100] == sorted(numbers), table
    assert (50,) in ask(url_0007, "select (after ->> 'id')::integer from flagent_cdc.lane_change_log")


def test_where_it_is_already_nothing_is_done(database_url: str) -> None:
    before = shape(database_url)
    said: list[str] = []
    assert downgrade(database_url, REVISIONS[-1], report=said.append) is False
    assert said == [f"schema flagent_cdc: already at revision {REVISIONS[-1]}"]
    assert shape(database_url) == before


@pytest.mark.parametrize("revision", ["9999", "base", "-1", ""])
def test_a_revision_that_is_no_earlier_one_is_refused(revision: str, database_url: str) -> None:
    before = shape(database_url)
    with pytest.raises(InvalidInput, match=rf"can be downgraded to {REVISIONS[-2]}, .*, not to '{revision}'"):
        downgrade(database_url, revision)
    assert shape(database_url) == before


def test_there_is_no_way_back_from_what_is_not_there_or_not_known(flagent_url: str, database_url: str) -> None:
    with pytest.raises(SchemaMismatch, match="not installed"):
        downgrade(flagent_url, "0001")
    do(database_url, "update flagent_cdc.alembic_version set version_num = '9999'")
    with pytest.raises(SchemaMismatch, match="newer flagent-cdc"):
        downgrade(database_url, "0001")


def test_after_the_way_back_a_migrate_is_asked_for_before_it_can_be_uninstalled(database_url: str) -> None:
    downgrade(database_url, REVISIONS[0])
    with pytest.raises(SchemaMismatch, match=r"downgraded to revision 0001 .* run flagent-cdc migrate first"):
        uninstall(database_url)
    migrate(database_url)
    assert uninstall(database_url) is True
    assert ask(database_url, "select from pg_namespace where nspname = 'flagent_cdc'") == []


async def test_a_server_lives_through_the_way_back_and_forth(database_url: str) -> None:
    async with serving(database_url, listener_probe_interval_s=0.2) as server, sse(server.stream_url) as stream:
        do(database_url, "insert into flags (key, description, enabled, created_at) values ('a', '', false, now())")
        assert (await stream.next()).type == "flag_created"
        downgrade(database_url, REVISIONS[-2])
        # What nobody captures is found by the migrate that attaches anew.
        do(database_url, "update flags set enabled = true")
        migrate(database_url)
        assert [(await stream.next()).type for _ in range(2)] == ["flag_updated", "flag_enabled"]
        do(database_url, "delete from flags")
        assert (await stream.next()).type == "flag_deleted"
        await until(lambda: server.pipeline.is_ready, "readiness")
