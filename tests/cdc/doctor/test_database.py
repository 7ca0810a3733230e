"""The doctor names each way in which a database was really broken, nothing else, and its remedies fix them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, pool

from cdc.admin.api_keys import create_key
from cdc.admin.installation import migrate
from cdc.admin.watched_tables import WatchOptions, watch
from cdc.core.diagnosis import Limits, check_database
from cdc.core.subscription.grant import Grant
from cdc.database.queries import flagent_tables
from cdc.doctor import read_database, read_keys
from cdc.doctor.database import RUNTIME_TABLES
from cdc.embedded.server import EmbeddedPostgres
from cdc.errors import DatabaseUnavailable
from tests.fixtures.doctor import errors, examine, fix
from tests.fixtures.flags import Writer
from tests.fixtures.postgres import Postgres, embedded, throwaway_directory

Sessions = Callable[..., psycopg.Connection]


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_a_healthy_database_is_silent(database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.static_flag("a", "on")
    assert examine(database_url) == {}


# name, what breaks it, what is found, a word of the sentence
BROKEN = {
    "a dropped trigger": (
        ["drop trigger flagent_cdc_110_capture on segments"],
        {"triggers"},
        "flagent_cdc_110_capture on segments is missing",
    ),
    "a table without triggers": (
        [f"drop trigger flagent_cdc_{n}_capture on tags" for n in (100, 110, 120, 130)],
        {"triggers"},
        "tags has no triggers",
    ),
    "disabled triggers": (
        ["alter table flags disable trigger flagent_cdc_100_capture"],
        {"triggers"},
        "flagent_cdc_100_capture on flags is disabled",
    ),
    "a trigger that does not fire where session_replication_role is replica": (
        ["alter table flags enable trigger flagent_cdc_100_capture"],
        {"triggers"},
        "wrong session_replication_role",
    ),
    "a trigger of the right name that calls another function": (
        [
            "drop trigger flagent_cdc_100_capture on flags",
            "create function pg_temp.idle() returns trigger language plpgsql as 'begin return null; end'",
        ],
        {"triggers"},
        "flagent_cdc_100_capture on flags is missing",
    ),
    "a function that was changed": (
        [
            "create or replace function flagent_cdc.own_group(in_lane integer) returns bigint"
            " language sql stable as 'select 1::bigint'"
        ],
        {"functions"},
        "own_group",
    ),
    "a capture that no longer runs as its owner": (
        ["alter function flagent_cdc.capture() security invoker"],
        {"functions"},
        "capture",
    ),
    "a function that is gone": (["drop function flagent_cdc.detach(text)"], {"functions"}, "missing: detach"),
    "a position trigger that is disabled": (
        ["alter table flagent_cdc.change_log_first disable trigger flagent_cdc_900_assign_position"],
        {"assign_position"},
        "flagent_cdc_900_assign_position on change_log_first",
    ),
    "a position trigger that is missing": (
        ["drop trigger flagent_cdc_910_assign_position on flagent_cdc.deferred_commit"],
        {"assign_position"},
        "flagent_cdc_910_assign_position on deferred_commit",
    ),
    "an audit trigger that is disabled": (
        ["alter table flagent_cdc.api_key disable trigger flagent_cdc_810_audit"],
        {"key_audit"},
        "flagent_cdc_810_audit on api_key",
    ),
    "an audit trigger that is missing": (
        ["drop trigger flagent_cdc_820_audit on flagent_cdc.stream_token_secret"],
        {"key_audit"},
        "flagent_cdc_820_audit on stream_token_secret",
    ),
    "changes that never got a position": (
        [
            "alter table flagent_cdc.change_log_first disable trigger flagent_cdc_900_assign_position",
            "insert into flags (key, description, created_at) values ('unheard', '', now())",
            "alter table flagent_cdc.change_log_first enable always trigger flagent_cdc_900_assign_position",
        ],
        {"unpositioned"},
        "1 committed changes have no position",
    ),
    "triggers left behind": (
        [
            "create table old_flags (like flags)",
            "create trigger flagent_cdc_100_capture after insert on old_flags"
            " for each row execute function flagent_cdc.capture()",
        ],
        {"leftovers"},
        "public.old_flags",
    ),
    "a position sequence that went back": (
        ["select setval('flagent_cdc.commit_position', 1)"],
        {"sequences"},
        "positions would be assigned twice",
    ),
    "positions that exist twice": (
        [
            "alter table flagent_cdc.commit_log drop constraint commit_log_pkey",
            "insert into flagent_cdc.commit_log select * from flagent_cdc.commit_log order by position limit 1",
        ],
        {"positions"},
        "1 positions exist more than once",
    ),
    "a change log that is never vacuumed": (
        ["alter table flagent_cdc.commit_log set (autovacuum_enabled = off)"],
        {"autovacuum"},
        "commit_log",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_reported_and_the_remedy_fixes_it(database_url: str, name: str) -> None:
    statements, checks, words = BROKEN[name]
    with Writer(database_url) as writer:
        for key in ("a", "b", "c"):
            writer.flag(key)
    run(database_url, *statements)
    found = examine(database_url)
    assert found.keys() == checks
    assert words in " ".join(finding.text for finding in found.values())
    for finding in found.values():
        fix(database_url, finding)
    assert examine(database_url) == {}
    with Writer(database_url) as writer:
        writer.flag("written after the fix")


def test_a_database_without_us_is_reported_and_fixed(flagent_url: str) -> None:
    found = examine(flagent_url)
    assert found.keys() == {"installed"}
    fix(flagent_url, found["installed"])
    assert examine(flagent_url) == {}


def test_a_missing_migration_is_reported_and_fixed(database_url: str) -> None:
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(database_url), poolclass=pool.NullPool
    )
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "sql:migrations")
        config.attributes["connection"] = connection
        command.downgrade(config, "-1")
    found = examine(database_url)
    assert "revision" in found
    assert "this program needs" in found["revision"].text
    fix(database_url, found["revision"])
    assert examine(database_url) == {}


def test_a_watched_table_that_is_no_longer_captured_is_reported_and_fixed(database_url: str) -> None:
    run(
        database_url, "create schema analytics", "create table analytics.orders (id integer primary key, total integer)"
    )
    watch(database_url, "analytics.orders", WatchOptions(), print)
    assert examine(database_url) == {}
    run(database_url, "alter table analytics.orders disable trigger flagent_cdc_200_watch")
    found = examine(database_url)
    assert found.keys() == {"watched"}
    assert "the trigger flagent_cdc_200_watch is disabled" in found["watched"].text
    fix(database_url, found["watched"])
    assert examine(database_url) == {}
    run(database_url, "drop table analytics.orders")
    found = examine(database_url)
    assert "the table is gone" in found["watched"].text
    fix(database_url, found["watched"])
    assert examine(database_url) == {}


def test_a_database_installed_by_a_newer_program_is_reported(database_url: str) -> None:
    run(database_url, "update flagent_cdc.alembic_version set version_num = '9999'")
    found = examine(database_url)
    assert found.keys() == {"revision"}
    assert "does not know" in found["revision"].text


def test_a_schema_that_is_not_attached_is_reported_and_fixed(database_url: str) -> None:
    run(database_url, "create schema tenant_1", "set search_path to tenant_1", flagent_tables())
    found = examine(database_url, schemas=["public", "tenant_1"])
    assert found.keys() == {"schema"}
    fix(database_url, found["schema"])
    assert examine(database_url, schemas=["public", "tenant_1"]) == {}


def test_a_schema_whose_tables_have_appeared_is_reported_and_fixed(database_url: str) -> None:
    migrate(database_url, ["tenant_1"])
    found = examine(database_url)
    assert "waits for Flagent's tables" in found["schema"].text
    run(database_url, "create schema tenant_1", "set search_path to tenant_1", flagent_tables())
    found = examine(database_url)
    assert "has its tables now" in found["schema"].text
    fix(database_url, found["schema"])
    assert examine(database_url) == {}


def test_tables_that_are_gone_are_reported(database_url: str) -> None:
    run(database_url, "drop table flags cascade")
    assert "Flagent's tables are gone: flags" in examine(database_url)["schema"].text


def test_a_role_that_may_not_serve_is_reported_and_fixed(role: str, database_url: str) -> None:
    found = examine(database_url, role=role)
    assert found.keys() == {"privileges"}
    assert "usage on schema flagent_cdc" in found["privileges"].text
    fix(database_url, found["privileges"])
    assert examine(database_url, role=role) == {}
    run(database_url, f"revoke select on public.segments from {role}")
    assert "select on public.segments" in examine(database_url, role=role)["privileges"].text


def test_the_checked_rights_are_the_granted_ones(role: str, database_url: str) -> None:
    migrate(database_url, grant_to=role)
    with psycopg.connect(database_url) as connection:
        granted = connection.execute(
            "select table_name from information_schema.role_table_grants"
            " where grantee = %s and table_schema = 'flagent_cdc'",
            (role,),
        ).fetchall()
    assert {name for (name,) in granted} == set(RUNTIME_TABLES)


def test_a_role_that_may_only_serve_can_run_the_doctor_too(role: str, database_url: str) -> None:
    migrate(database_url, grant_to=role)
    as_role = psycopg.conninfo.make_conninfo(database_url, user=role, password="a long password")
    assert examine(as_role) == {}
    assert read_keys(as_role) == ()


def test_keys_are_read_with_their_expiry_and_last_use(database_url: str) -> None:
    for name in ("lasting", "idle", "revoked", "expired", "unreadable"):
        create_key(database_url, name, Grant())
    run(
        database_url,
        "update flagent_cdc.api_key set expires_at = now() + interval '10 days' where name = 'idle'",
        "update flagent_cdc.api_key set revoked_at = now() where name = 'revoked'",
        "update flagent_cdc.api_key set expires_at = now() - interval '1 second' where name = 'expired'",
        "update flagent_cdc.api_key set scopes = '{\"unknown\": 1}' where name = 'unreadable'",
        "update flagent_cdc.api_key_use set last_used_at = now() - interval '100 days' where key_id = 2",
    )
    found = read_keys(database_url)
    assert found is not None
    lasting, idle, unreadable = found
    assert (lasting.expires_days, round(lasting.idle_days), lasting.is_readable) == (None, 0, True)
    assert idle.expires_days == pytest.approx(10, abs=0.1)
    assert idle.idle_days == pytest.approx(100, abs=0.1)
    assert not unreadable.is_readable


def test_a_capture_whose_owner_may_not_write_the_log_is_reported_and_fixed(role: str, database_url: str) -> None:
    run(database_url, f"alter function flagent_cdc.capture() owner to {role}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege), Writer(database_url) as writer:
        writer.flag("refused")
    found = examine(database_url)
    assert found.keys() == {"capture_rights"}
    fix(database_url, found["capture_rights"])
    assert examine(database_url) == {}


def test_rows_hidden_by_row_level_security_are_reported_and_fixed(role: str, database_url: str) -> None:
    migrate(database_url, grant_to=role)
    run(database_url, "alter table flags enable row level security")
    found = examine(database_url, role=role)
    assert found.keys() == {"row_security"}
    assert "public.flags" in found["row_security"].text
    fix(database_url, found["row_security"])
    assert examine(database_url, role=role) == {}


def test_a_role_that_writes_past_the_foreign_keys_is_reported_and_fixed(role: str, database_url: str) -> None:
    run(database_url, f"alter role {role} set session_replication_role = replica")
    found = examine(database_url)
    assert found.keys() == {"session_replication_role"}
    assert f"role {role} (replica)" in found["session_replication_role"].text
    fix(database_url, found["session_replication_role"])
    assert examine(database_url) == {}


@pytest.mark.parametrize("setting", ["idle_session_timeout", "statement_timeout"])
def test_deadlines_of_the_database_matter_behind_a_pool_alone(
    database_url: str, setting: str, request: pytest.FixtureRequest
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"alter database {connection.info.dbname} set {setting} = 5000".encode())
    assert examine(database_url) == {}
    assert examine(request.getfixturevalue("pooled_url")).keys() == {"notifications", setting}


def test_a_transaction_that_is_open_for_long_is_reported_and_fixed(database_url: str, open_session: Sessions) -> None:
    session = open_session(database_url, autocommit=False)
    session.execute("set application_name = 'a forgotten shell'")
    found = examine(database_url, limits=Limits(transaction_s=0.0))
    assert found.keys() == {"transactions"}
    assert f"session {session.info.backend_pid} of " in found["transactions"].text
    assert "a forgotten shell" in found["transactions"].text
    fix(database_url, found["transactions"])
    with pytest.raises(psycopg.OperationalError):
        session.execute("select 1")


def test_a_large_log_and_dead_rows_are_reported(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "insert into flags (key, description, created_at) select 'f' || n, '', now() from generate_series(1, 500) n"
        )
        connection.execute("update flagent_cdc.retention set min_age = '0'")
        connection.execute("select pg_stat_force_next_flush()")
    found = examine(database_url, limits=Limits(log_bytes=8192))
    assert found["log_size"].remedy == "flagent-cdc prune --larger-than 8192"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("delete from flagent_cdc.change_log where id > 1")
        # The counts reach others when the session ends, or when it is asked to hand them over.
        connection.execute("select pg_stat_force_next_flush()")
    found = examine(database_url, limits=Limits(log_bytes=8192, dead_rows=100))
    # The files are as large as before; what they hold is not, so that pruning would change nothing.
    assert found.keys() == {"dead_rows"}
    fix(database_url, found["dead_rows"])
    assert examine(database_url, limits=Limits(dead_rows=100)) == {}


def test_large_change_logs_of_lanes_are_reported_separately(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create table clicks (id integer primary key)")
        connection.execute("select flagent_cdc.watch('clicks', lane => 'clicks', lane_order => 'read')")
        connection.execute("insert into clicks select generate_series(1, 2000)")
    found = examine(database_url, limits=Limits(lane_log_bytes=65_536))
    assert found.keys() == {"lane_log_size"}
    assert found["lane_log_size"].remedy == "flagent-cdc prune --lanes-larger-than 65536"
    assert examine(database_url, limits=Limits(lane_log_bytes=10_000_000, log_bytes=65_536 * 4)) == {}


def test_a_log_that_no_server_prunes_is_reported_and_fixed(database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("a")
    run(database_url, "update flagent_cdc.commit_log set committed_at = committed_at - interval '30 days'")
    # The newest commit always stays, however old.
    limits = Limits(log_age_s=7 * 86_400.0)
    found = examine(database_url, limits=limits)
    assert found.keys() == {"log_age"}
    assert "30.0 days old, but retention is 7 days" in found["log_age"].text
    fix(database_url, found["log_age"])
    assert examine(database_url, limits=limits) == {}


def test_a_transaction_pool_in_between_is_reported(pooled_url: str) -> None:
    found = examine(pooled_url)
    assert found.keys() == {"notifications"}
    assert "PgBouncer" in found["notifications"].text


def test_a_database_whose_encoding_says_nothing_is_read(postgres: Postgres) -> None:
    with postgres.admin() as admin:
        admin.execute("create database doctor_sql_ascii template template0 encoding 'SQL_ASCII' locale 'C'")
    try:
        assert examine(postgres.url_of("doctor_sql_ascii")).keys() == {"installed"}
    finally:
        postgres.drop("doctor_sql_ascii")


def test_a_database_that_does_not_answer_is_an_error_of_ours() -> None:
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        read_database("postgresql://ann:secret@127.0.0.1:1/flags", ["public"])


# -- a separate server -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strained() -> Iterator[EmbeddedPostgres]:
    """A server on which little suffices to fill everything up."""
    options = {"max_connections": "12", "max_prepared_transactions": "3", "max_notify_queue_pages": "64"}
    options["autovacuum_naptime"] = "1h"
    with throwaway_directory() as directory, embedded(directory / "server", 0, **options) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(flagent_tables())
        migrate(server.url)
        yield server


def test_nothing_is_written(strained: EmbeddedPostgres) -> None:
    def next_transaction() -> int:
        with psycopg.connect(strained.url) as connection:
            row = connection.execute("select pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()
        assert row is not None
        return int(row[0])

    before = next_transaction()
    assert examine(strained.url) == {}
    # Who writes is given a number. The one that was given here is the trial notification's, which writes nothing.
    assert next_transaction() == before + 1


def test_a_queue_that_fills_up_is_reported_with_the_session_that_blocks_it(
    strained: EmbeddedPostgres, open_session: Sessions
) -> None:
    deaf = open_session(strained.url)
    deaf.execute("listen something")
    deaf.execute("begin")
    deaf.execute("select 1")
    run(strained.url, "select pg_notify('something', repeat('x', 7900) || n) from generate_series(1, 50) n")
    found = examine(strained.url)
    assert found.keys() == {"queue"}
    assert f"session {deaf.info.backend_pid} of " in found["queue"].text
    fix(strained.url, found["queue"])
    # PostgreSQL lets go of the queue's tail with the next notification.
    run(strained.url, *(f"select pg_notify('something', repeat('x', 7900) || {n})" for n in range(4)))
    assert examine(strained.url) == {}


def test_a_forgotten_prepared_transaction_is_reported_and_fixed(strained: EmbeddedPostgres) -> None:
    run(strained.url, "begin", "create table forgotten ()", "prepare transaction 'it''s forgotten'")
    found = examine(strained.url, limits=Limits(transaction_s=0.0))
    assert found.keys() == {"prepared"}
    assert "it's forgotten" in found["prepared"].text
    fix(strained.url, found["prepared"])
    assert examine(strained.url, limits=Limits(transaction_s=0.0)) == {}


def test_connections_that_run_out_are_reported(strained: EmbeddedPostgres, open_session: Sessions) -> None:
    for _ in range(7):
        open_session(strained.url)
    assert examine(strained.url, limits=Limits(connections_share=0.6)).keys() == {"connections"}


def test_a_server_that_may_lose_its_log_is_reported_and_fixed(open_directory: Path) -> None:
    with embedded(open_directory / "server", autovacuum="off") as server:
        run(server.url, flagent_tables())
        migrate(server.url)
        found = errors(check_database(read_database(server.url, ["public"]), Limits()))
        assert found.keys() == {"durability", "autovacuum"}
        assert "fsync and full_page_writes off" in found["durability"].text
