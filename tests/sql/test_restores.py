"""Roles that are gone, restores of a part: every command works, or gives one sentence and a way
on; nothing is lost."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from cdc.admin.watched_tables import WatchOptions, list_watched, watch
from cdc.cli import main
from tests.fixtures.client_programs import client_program
from tests.fixtures.doctor import examine
from tests.fixtures.flags import Writer
from tests.fixtures.postgres import Postgres

pytestmark = pytest.mark.timeout(120)


def run(capsys: pytest.CaptureFixture[str], url: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command."""
    code = main([*arguments, "--database-url", url], {})
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def is_sentence(text: str) -> bool:
    return text.count("\n") == 1 and text.startswith("flagent-cdc: ") and "Traceback" not in text


@pytest.fixture
def role(postgres: Postgres) -> Iterator[str]:
    name = f"hostile_{uuid.uuid4().hex[:8]}"
    with postgres.admin() as admin:
        admin.execute(f"create role {name} login password 'hostile'".encode())
        yield name
        # The databases in which it has rights are dropped already.
        admin.execute(f"drop role if exists {name}, {name}_new".encode())


# -- roles -----------------------------------------------------------------------------------------------------


def test_a_role_that_was_dropped_stops_nothing(
    role: str, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, database_url, "migrate", "--grant-to", role)[0] == 0
    with Writer(database_url) as writer:
        writer.run(f"drop owned by {role}", f"drop role {role}", "drop trigger flagent_cdc_100_capture on flags")
    assert run(capsys, database_url, "migrate")[0] == 0
    assert run(capsys, database_url, "migrate", "--repair")[0] == 0
    assert examine(database_url) == {}
    assert run(capsys, database_url, "uninstall")[0] == 0


def test_a_role_that_was_renamed_keeps_its_rights(
    role: str, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    new = f"{role}_new"
    assert run(capsys, database_url, "migrate", "--grant-to", role)[0] == 0
    with Writer(database_url) as writer:
        writer.run(f"alter role {role} rename to {new}", "drop trigger flagent_cdc_100_capture on flags")
    assert run(capsys, database_url, "migrate", "--repair")[0] == 0
    assert examine(database_url, role=new) == {}
    assert run(capsys, database_url, "migrate", "--grant-to", new)[0] == 0
    with Writer(database_url) as writer:
        writer.run(f"drop owned by {new}")
    assert run(capsys, database_url, "uninstall")[0] == 0


def test_an_unknown_role_is_one_sentence(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = run(capsys, database_url, "migrate", "--grant-to", "nobody_there")
    assert code == 2
    assert is_sentence(error)
    assert "create it first" in error


# -- restores --------------------------------------------------------------------------------------------------


def called(name: str, url: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """The result of one of PostgreSQL's client programs."""
    known = conninfo_to_dict(url)
    variables = {
        "PGHOST": known["host"], "PGPORT": known["port"], "PGUSER": known["user"], "PGDATABASE": known["dbname"],
        "PGPASSWORD": known.get("password", ""),
    }  # fmt: skip
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    command: list[str | Path] = [client_program(name, url), *arguments]
    return subprocess.run(command, env=environment, input=text, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def source(database_url: str) -> str:
    """A database with flags, a watched table and a log."""
    with Writer(database_url) as writer:
        writer.run("create table orders (id integer primary key, total integer)")
        watch(database_url, "orders", WatchOptions())
        writer.static_flag("a", "on", "off")
        writer.run("insert into orders values (1, 10)")
    return database_url


def content(url: str) -> tuple[list[Any], list[Any]]:
    with psycopg.connect(url) as connection:
        return (
            connection.execute("select key from flags order by 1").fetchall(),
            connection.execute("select * from orders order by 1").fetchall(),
        )


@pytest.mark.parametrize("with_log", [False, True], ids=["without the log", "with the log"])
def test_a_restore_of_the_data_alone_leaves_a_capture_that_migrate_mends(
    source: str, with_log: bool, postgres: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with postgres.database("flagent") as target:
        with Writer(target) as writer:
            writer.run("create table orders (id integer primary key, total integer)")
        assert run(capsys, target, "migrate")[0] == 0
        watch(target, "orders", WatchOptions())
        dump = str(tmp_path / "dump")
        excluded = () if with_log else ("--exclude-schema=flagent_cdc",)
        made = called("pg_dump", source, "-Fc", "--data-only", "-f", dump, *excluded)
        assert made.returncode == 0, made.stderr
        restored = called("pg_restore", target, "--data-only", "--disable-triggers", "-d",
                          str(conninfo_to_dict(target)["dbname"]), dump)  # fmt: skip
        assert with_log or restored.returncode == 0, restored.stderr
        code, _, error = run(capsys, target, "migrate")
        assert code == 0, error
        watch(target, "orders", WatchOptions())
        assert content(target) == content(source)
        found = examine(target)
        for finding in found.values():
            assert run(capsys, target, "migrate", "--repair")[0] == 0, finding
        assert examine(target) == {}
        assert [each["problems"] for each in list_watched(target)] == [[]]
        with Writer(target) as writer:
            writer.run("select setval('flags_id_seq', 100)")
            before = writer.connection.execute("select max(position) from flagent_cdc.commit_log").fetchone()
            writer.flag("b")
            after = writer.connection.execute("select max(position) from flagent_cdc.commit_log").fetchone()
            assert before is not None
            assert after is not None
            assert after[0] > before[0]


def test_a_plain_dump_without_some_roles_goes_on_after_migrate(
    role: str, source: str, postgres: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, source, "migrate", "--grant-to", role)[0] == 0
    dump = called("pg_dump", source)
    assert dump.returncode == 0, dump.stderr
    with postgres.admin() as admin:
        with Writer(source) as writer:
            writer.run(f"drop owned by {role}")
        admin.execute(f"drop role {role}".encode())
    with postgres.database("empty") as target:
        # As psql does it: statement by statement, and on after an error.
        process = called("psql", target, "-X", "-q", text=dump.stdout)
        assert f'role "{role}" does not exist' in process.stderr
        code, _, error = run(capsys, target, "migrate")
        assert code == 0, error
        assert content(target) == content(source)
        assert examine(target) == {}
        with Writer(target) as writer:
            writer.run("insert into orders values (2, 20)")
        assert run(capsys, target, "watch", "--list")[0] == 0
        assert run(capsys, target, "uninstall")[0] == 0
