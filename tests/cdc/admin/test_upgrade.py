"""Every way to a version ends in the same database, also the way back, and servers live through all of it."""

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
