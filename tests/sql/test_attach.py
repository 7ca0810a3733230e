"""Attaching, detaching, and what it does to those who write meanwhile."""

import threading
from collections.abc import Callable

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdc.admin.installation import attach_pending, migrate, uninstall
from cdc.database.queries import flagent_tables
from cdc.errors import InvalidInput, LockNotAvailable
from tests.fixtures.log import ChangeLog, add_flag, toggle
from tests.fixtures.postgres import Postgres

OpenSession = Callable[..., psycopg.Connection]


def test_attaching_logs_the_present_content_in_one_commit(flagent_url: str, open_session: OpenSession) -> None:
    session = open_session(flagent_url)
    add_flag(session, "a")
    add_flag(session, "b")
    migrate(flagent_url)
    rows = session.execute(
        "select l.table_name, l.op, l.after ->> 'key'"
        " from flagent_cdc.change_log l join flagent_cdc.commit_log c using (transaction_group)"
        " where c.position = 1 order by l.id"
    ).fetchall()
    assert rows[:3] == [("flags", "truncate", None), ("flags", "insert", "a"), ("flags", "insert", "b")]
    assert [table for table, op, _ in rows if op == "truncate"] == [
        "flags", "segments", "variants", "constraints", "distributions", "tags", "flags_tags",
    ]  # fmt: skip


def test_attaching_again_writes_and_locks_nothing(database_url: str, open_session: OpenSession, log: ChangeLog) -> None:
    blocker = open_session(database_url, autocommit=False)
    blocker.execute("lock table flags in access exclusive mode")
    assert migrate(database_url, deadline_s=5).changed is False
    assert attach_pending(database_url, deadline_s=5) == ()
    blocker.rollback()
    assert log.commits() == []


def test_tables_that_come_later_are_attached_when_they_are_there(empty_url: str, open_session: OpenSession) -> None:
    said: list[str] = []
    installed = migrate(empty_url, report=said.append)
    assert (installed.attached, installed.pending) == ((), ("public",))
    assert any("do not exist yet" in line for line in said)
    assert attach_pending(empty_url) == ()
    session = open_session(empty_url)
    session.execute(flagent_tables())
    add_flag(session, "before")
    assert attach_pending(empty_url) == ("public",)
    log = ChangeLog(empty_url)
    toggle(session, "before")
    assert log.changes() == [("flags", "update")]
    log.close()


def test_tables_created_anew_are_attached_again(database_url: str, writer: psycopg.Connection, log: ChangeLog) -> None:
    writer.execute("drop table flags, segments, variants, constraints, distributions, tags, flags_tags cascade")
    writer.execute("drop table flag_snapshots, flag_entity_types")
    assert attach_pending(database_url) == ()
    writer.execute(flagent_tables())
    assert attach_pending(database_url) == ("public",)
    add_flag(writer, "a")
    assert log.commits()[-1].logged() == [("flags", "insert")]


def test_a_trigger_that_was_tampered_with_is_put_right(
    database_url: str, writer: psycopg.Connection, log: ChangeLog
) -> None:
    writer.execute("alter table flags disable trigger flagent_cdc_110_capture")
    writer.execute("alter table segments enable trigger flagent_cdc_130_capture")
    writer.execute("drop trigger flagent_cdc_100_capture on tags")
    assert attach_pending(database_url) == ("public",)
    add_flag(writer, "a")
    toggle(writer, "a")
    assert log.changes()[-2:] == [("flags", "insert"), ("flags", "update")]


def test_attaching_gives_way_to_a_session_that_holds_a_table(flagent_url: str, open_session: OpenSession) -> None:
    holder, flagent = open_session(flagent_url, autocommit=False), open_session(flagent_url)
    toggle(holder, "a")
    holder.execute("update segments set rank = 1")
    said: list[str] = []
    with pytest.raises(LockNotAvailable, match="schema public: locked by other sessions"):
        migrate(flagent_url, report=said.append, deadline_s=0.5)
    assert any("trying again" in line for line in said)

    attached = threading.Event()

    def install() -> None:
        migrate(flagent_url, report=said.append)
        attached.set()

    installing = threading.Thread(target=install)
    installing.start()
    flagent.execute("set lock_timeout = '2s'")  # a writer queued behind a waiting installer would wait for the holder
    for number in range(20):
        add_flag(flagent, f"k{number}")
    assert not attached.is_set()
    holder.commit()
    installing.join(timeout=30)
    assert attached.is_set()


def test_several_processes_may_migrate_at_once(flagent_url: str, open_session: OpenSession) -> None:
    failures: list[BaseException] = []

    def install() -> None:
        try:
            migrate(flagent_url, report=lambda _: None)
        except BaseException as error:
            failures.append(error)

    installers = [threading.Thread(target=install) for _ in range(5)]
    for installer in installers:
        installer.start()
    for installer in installers:
        installer.join()
    assert failures == []
    session = open_session(flagent_url)
    assert session.execute("select count(*) from flagent_cdc.installation").fetchone() == (1,)
    assert session.execute("select count(*) from flagent_cdc.commit_log").fetchone() == (1,)
    assert session.execute("select count(*) from pg_trigger where tgname like 'flagent_cdc%'").fetchone() == (35,)


def test_a_detached_schema_is_no_longer_logged(database_url: str, writer: psycopg.Connection, log: ChangeLog) -> None:
    writer.execute("select flagent_cdc.detach('public')")
    add_flag(writer, "a")
    assert log.commits() == []
    assert migrate(database_url).attached == ("public",)
    assert ("flags", "insert") in log.changes()


def test_attach_refuses_a_snapshot_that_is_older_than_its_locks(database_url: str, open_session: OpenSession) -> None:
    session = open_session(database_url)
    with pytest.raises(psycopg.errors.ActiveSqlTransaction, match="READ COMMITTED"):
        session.execute("begin isolation level repeatable read; select flagent_cdc.attach('public')")


@pytest.fixture
def roles(postgres: Postgres) -> list[str]:
    """Two login roles, with quotes in their names; dropped with all they own."""
    return ["cdc runtime", 'cdc "reader"']


def test_a_runtime_role_can_read_what_the_server_needs_and_write_nothing(
    database_url: str, writer: psycopg.Connection, log: ChangeLog, roles: list[str]
) -> None:
    role = psycopg.sql.Identifier(roles[1])
    writer.execute(psycopg.sql.SQL("create role {} login password 'p'").format(role))
    try:
        migrate(database_url, grant_to=roles[1])
        writer.execute("create schema tenant_7; set search_path = tenant_7")
        writer.execute(flagent_tables())
        migrate(database_url, ["public", "tenant_7"])
        add_flag(writer, "a")
        with psycopg.connect(make_conninfo(database_url, user=roles[1], password="p"), autocommit=True) as session:
            session.execute(f"listen {log.channel}")
            owner = writer.execute("select flagent_cdc.log_identity()").fetchone()
            assert session.execute("select flagent_cdc.log_identity()").fetchone() == owner
            for table in (
                "installation",
                "attachment",
                "change_log",
                "commit_log",
                "alembic_version",
                "api_key",
                "stream_token_secret",
                "retention",
            ):
                session.execute(f"select * from flagent_cdc.{table}".encode())
            for table in ("flags", "segments", "variants", "constraints", "distributions", "tags", "flags_tags"):
                session.execute(f"select * from public.{table}".encode())
                session.execute(f"select * from tenant_7.{table}".encode())
            for forbidden in (
                "insert into flagent_cdc.commit_log select * from flagent_cdc.commit_log",
                "delete from flagent_cdc.change_log",
                "update flagent_cdc.api_key set revoked_at = null",
                "insert into flagent_cdc.api_key (name, prefix, hash) values ('x', 'x', sha256('x'))",
                "select nextval('flagent_cdc.commit_position')",
                "select flagent_cdc.attach('public')",
                "update public.flags set enabled = true",
                "select * from public.flag_snapshots",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    session.execute(forbidden.encode())
        uninstall(database_url)
        # Nothing is left of the grants: the role can be dropped at once.
        writer.execute(psycopg.sql.SQL("drop role {}").format(role))
    finally:
        if writer.execute("select from pg_roles where rolname = %s", (roles[1],)).fetchone():
            writer.execute(psycopg.sql.SQL("drop owned by {}").format(role))
            writer.execute(psycopg.sql.SQL("drop role {}").format(role))


def test_nothing_of_ours_is_open_to_everybody_and_what_runs_as_its_owner_has_a_pinned_path(
    writer: psycopg.Connection,
) -> None:
    functions = writer.execute(
        "select p.oid::regprocedure::text, has_function_privilege('public', p.oid, 'execute'), p.prosecdef, p.proconfig"
        "  from pg_proc p where p.pronamespace = 'flagent_cdc'::regnamespace"
    ).fetchall()
    assert len(functions) > 30
    assert [name for name, is_open, _, _ in functions if is_open] == []
    as_owner = {name: config or [] for name, _, is_definer, config in functions if is_definer}
    assert as_owner.keys() >= {
        "flagent_cdc.capture()",
        "flagent_cdc.assign_position()",
        "flagent_cdc.prune(interval,bigint,integer)",
    }
    assert [name for name, config in as_owner.items() if "search_path=pg_catalog, pg_temp" not in config] == []
    relations = writer.execute(
        "select c.oid::regclass::text from pg_class c"
        " where c.relnamespace = 'flagent_cdc'::regnamespace and case c.relkind"
        " when 'S' then has_sequence_privilege('public', c.oid, 'usage, select, update')"
        " when 'r' then has_table_privilege('public', c.oid, 'select, insert, update, delete, truncate') end"
    ).fetchall()
    assert relations == []
    assert writer.execute("select has_schema_privilege('public', 'flagent_cdc', 'usage, create')").fetchone() == (
        False,
    )


def test_granting_to_an_unknown_role_says_so(database_url: str) -> None:
    with pytest.raises(InvalidInput, match="no role 'nobody here'"):
        migrate(database_url, grant_to="nobody here")


def test_the_log_identity_is_stable_and_differs_between_databases(postgres: Postgres) -> None:
    identities = []
    for _ in range(2):
        with postgres.database("migrated") as url, psycopg.connect(url) as session:
            first = session.execute("select flagent_cdc.log_identity()").fetchone()
            assert first == session.execute("select flagent_cdc.log_identity()").fetchone()
            assert first is not None
            assert len(first[0]) == 6
            assert set(first[0]) <= set("abcdefghijklmnopqrstuvwxyz234567")
            identities.append(first[0])
    assert len(set(identities)) == 2
