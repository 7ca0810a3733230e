"""Installing twice, upgrading, and leaving no trace."""

import subprocess
import sys

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg.conninfo import make_conninfo

from cdc.admin import installation as install
from cdc.admin.installation import attach_pending, downgrade, migrate, uninstall
from cdc.errors import DatabaseRefused, DatabaseUnavailable, InvalidDatabaseUrl, SchemaMismatch, SchemaMissing
from tests.fixtures.postgres import Postgres

# Everything a database holds outside of the system's own schemas: each object's description and rights.
CONTENT = """
select 'relation', n.nspname, c.relname, c.relkind::text,
       coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's'::"char" else 'r'::"char" end, c.relowner))::text,
       array_to_string(c.reloptions, ',')
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
union all
select 'trigger', t.tgrelid::regclass::text, t.tgname, pg_get_triggerdef(t.oid), t.tgenabled::text, null
  from pg_trigger t where not t.tgisinternal
union all
select 'constraint', c.conrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid), null, null
  from pg_constraint c join pg_namespace n on n.oid = c.connamespace where n.nspname !~ '^(pg_|information_schema)'
union all
select 'function', n.nspname, p.proname, pg_get_functiondef(p.oid), p.proacl::text, null
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname !~ '^(pg_|information_schema)'
union all
select 'schema', n.nspname, null, null, coalesce(n.nspacl, acldefault('n', n.nspowner))::text, null
  from pg_namespace n where n.nspname !~ '^pg_'
union all
select 'type', n.nspname, t.typname, null, null, null
  from pg_type t join pg_namespace n on n.oid = t.typnamespace where n.nspname !~ '^(pg_|information_schema)'
union all
select 'description', d.classoid::regclass::text, d.objoid::text, d.description, null, null
  from pg_description d where d.objoid >= 16384
union all
select 'setting', d.setrole::text, array_to_string(d.setconfig, ','), null, null, null
  from pg_db_role_setting d join pg_database b on b.oid = d.setdatabase where b.datname = current_database()
order by 1, 2, 3, 4
"""

# The transaction that last wrote each row of the catalog that is ours: a second run must not touch any.
TOUCHED = """
select 'class', c.oid::text, c.xmin::text from pg_class c where c.relnamespace = 'flagent_cdc'::regnamespace
union all select 'proc', p.oid::text, p.xmin::text from pg_proc p where p.pronamespace = 'flagent_cdc'::regnamespace
union all select 'trigger', t.oid::text, t.xmin::text from pg_trigger t where t.tgname ~ '^flagent_cdc'
union all select 'row', a.schema_name, a.xmin::text from flagent_cdc.attachment a
union all select 'row', o.name, o.xmin::text from flagent_cdc.installed_object o
union all select 'row', v.version_num, v.xmin::text from flagent_cdc.alembic_version v
union all select 'log', position::text, null from flagent_cdc.commit_log
order by 1, 2
"""


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def do(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def test_uninstall_leaves_no_trace(flagent_url: str) -> None:
    before = ask(flagent_url, CONTENT)
    do(flagent_url, "create role cdc_visitor")
    try:
        migrate(flagent_url, grant_to="cdc_visitor")
        assert ask(flagent_url, CONTENT) != before
        assert uninstall(flagent_url) is True
        assert ask(flagent_url, CONTENT) == before
        assert uninstall(flagent_url) is False
    finally:
        do(flagent_url, "drop role cdc_visitor")


def test_nothing_is_put_into_the_schema_of_flagent(flagent_url: str) -> None:
    outside = f"select * from ({CONTENT}) as c (kind, place) where place !~ 'flagent_cdc' and kind <> 'trigger'"
    before = ask(flagent_url, outside)
    migrate(flagent_url)
    assert ask(flagent_url, outside) == before


def test_an_empty_schema_stays_empty_for_flyway(empty_url: str) -> None:
    migrate(empty_url)
    assert ask(empty_url, "select relname from pg_class where relnamespace = 'public'::regnamespace") == []
    assert ask(empty_url, "select proname from pg_proc where pronamespace = 'public'::regnamespace") == []


def test_a_second_run_changes_nothing(database_url: str) -> None:
    before = ask(database_url, TOUCHED)
    reports: list[str] = []
    installation = migrate(database_url, report=reports.append)
    assert installation == install.Installation(attached=("public",), pending=(), changed=False)
    assert ask(database_url, TOUCHED) == before
    assert reports == ["schema public: already attached"]


def test_the_newest_revision_is_that_of_alembic() -> None:
    config = Config()
    config.set_main_option("script_location", "sql:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == install.newest_revision()


def test_where_nothing_is_to_be_installed_alembic_is_not_imported(database_url: str) -> None:
    program = (
        "import sys; from cdc.admin.installation import migrate;"
        f" migrate({database_url!r}); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"


def test_a_changed_object_is_created_again_and_no_other(database_url: str) -> None:
    do(
        database_url,
        "create or replace function flagent_cdc.log_identity() returns text language sql as $$ select 'old' $$",
    )
    do(database_url, "update flagent_cdc.installed_object set sha256 = 'old' where name = '400_log_identity'")
    reports: list[str] = []
    assert migrate(database_url, report=reports.append).changed is True
    assert "schema flagent_cdc: 1 functions and triggers created" in reports
    assert ask(database_url, "select flagent_cdc.log_identity()") != [("old",)]


def test_a_role_that_ran_servers_before_there_were_keys_may_read_them_after_the_upgrade(flagent_url: str) -> None:
    do(flagent_url, "create role cdc_elder")
    try:
        migrate(flagent_url, grant_to="cdc_elder")
        downgrade(flagent_url, "0001")
        migrate(flagent_url)
        for table in ("api_key", "stream_token_secret", "watched_table", "retention", "lane", "read_order_log"):
            question = f"select has_table_privilege('cdc_elder', 'flagent_cdc.{table}', 'select')"
            assert ask(flagent_url, question) == [(True,)]
        uninstall(flagent_url)
    finally:
        do(flagent_url, "drop role cdc_elder")


def test_an_installation_by_a_newer_program_is_refused_and_left_alone(database_url: str) -> None:
    do(database_url, "update flagent_cdc.alembic_version set version_num = '9999'")
    before = ask(database_url, TOUCHED)
    with pytest.raises(SchemaMismatch, match="newer flagent-cdc"):
        migrate(database_url)
    assert ask(database_url, TOUCHED) == before


def test_an_old_server_is_refused(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "OLDEST_SERVER", 99)
    with pytest.raises(SchemaMismatch, match="too old: flagent-cdc needs version 99"):
        migrate(database_url)


def test_an_unreachable_server_is_named_without_the_password(postgres: Postgres) -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        migrate("postgresql://ann:geheim@127.0.0.1:1/flags")
    assert str(caught.value).startswith("postgresql://ann@127.0.0.1:1/flags cannot be reached: ")
    assert "geheim" not in str(caught.value)


def test_a_wrong_password_and_an_unknown_database_are_errors_without_secrets(postgres: Postgres) -> None:
    for wrong in ({"password": "geheim"}, {"dbname": "no_such_database"}):
        with pytest.raises(DatabaseRefused) as caught:
            migrate(make_conninfo(postgres.url, **wrong))
        assert "geheim" not in str(caught.value)


def test_a_role_without_rights_is_an_error(database_url: str) -> None:
    do(database_url, "create role cdc_plain login password 'p'")
    try:
        with pytest.raises(DatabaseRefused, match="permission denied"):
            migrate(make_conninfo(database_url, user="cdc_plain", password="p"))
    finally:
        do(database_url, "drop role cdc_plain")


def test_attaching_without_an_installation_is_an_error(empty_url: str) -> None:
    with pytest.raises(SchemaMissing):
        attach_pending(empty_url)


def test_a_malformed_url_is_an_error() -> None:
    with pytest.raises(InvalidDatabaseUrl):
        migrate("mysql://localhost/flags")
