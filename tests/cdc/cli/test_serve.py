"""`serve` and `tail` as processes, with an embedded database: what a first try looks like."""

import re
import shlex
import signal
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.fixtures.program import Program, flagent_cdc, is_accepting, ready, running


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly_and_a_second_start_finds_the_data(open_directory: Path, how: signal.Signals) -> None:
    arguments = ("serve", "--port", "0", "--data-dir", str(open_directory / "data"))
    with running(*arguments) as server:
        _, database = ready(server)
        with psycopg.connect(database) as connection:
            connection.execute("insert into flags (key, description, created_at) values ('kept', '', now())")
        assert server.end(how) == 0
    assert not is_accepting(database)
    with running(*arguments) as server:
        base, database = ready(server)
        with running("tail", base, "--snapshot") as tail:
            assert tail.line_with("kept").split() == ["snapshot", "kept", "disabled"]


def test_the_commands_of_the_banner_work(open_directory: Path) -> None:
    with running("serve", "--port", "0", "--data-dir", str(open_directory / "data")) as server:
        base, database = ready(server)
        change = shlex.split(next(line for line in server.output if " change " in line))[-1]
        with running("tail", base, "--count", "3") as tail:
            tail.line_with("connected to")
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute(change.encode())
                connection.execute(change.encode())
            assert re.search(r" flag_created +hello +enabled \(\d+ ms\)$", tail.line_with("hello"))
            assert re.search(r" flag_updated +hello +enabled true → false \(\d+ ms\)$", tail.line_with("hello"))
            assert re.search(r" flag_disabled +hello +enabled true → false \(\d+ ms\)$", tail.line_with("hello"))
            assert tail.process.wait(timeout=30) == 0


def test_a_second_server_on_the_same_data_is_refused(open_directory: Path) -> None:
    arguments = ("serve", "--port", "0", "--data-dir", str(open_directory / "data"))
    with running(*arguments) as first:
        ready(first)
        second = Program(*arguments)
        _, error = second.process.communicate(timeout=60)
        assert second.process.returncode == 2
        assert re.fullmatch(r"flagent-cdc: the data directory .* is in use by process \d+; .*\n", error)


def test_a_port_in_use_is_refused_before_anything_starts(open_directory: Path) -> None:
    with running("serve", "--port", "0", "--data-dir", str(open_directory / "data")) as first:
        port = ready(first)[0].rpartition(":")[2]
        second = Program("serve", "--port", port, "--data-dir", str(open_directory / "other"))
        _, error = second.process.communicate(timeout=60)
        assert second.process.returncode == 2
        assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in error
        assert not (open_directory / "other").exists()


def test_a_database_that_cannot_be_used_is_named_in_one_sentence(database_url: str) -> None:
    wrong = make_conninfo(database_url, password="not the password")
    done = flagent_cdc("serve", "--port", "0", "--no-wait", "--database-url", wrong)
    assert done.returncode == 2
    assert re.fullmatch(r"flagent-cdc: \S+ says: password authentication failed .*\n", done.stderr)
    assert "not the password" not in done.stderr
    nowhere = "postgresql://flagent@127.0.0.1:1/flagent"
    assert flagent_cdc("serve", "--port", "0", "--no-wait", "--database-url", nowhere).returncode == 2
    with running("serve", "--port", "0", "--database-url", nowhere) as server:
        assert server.process.stderr is not None
        said = next(line for line in server.process.stderr if line.startswith("flagent-cdc: "))
        assert re.fullmatch(r"flagent-cdc: \S+ cannot be reached: .*; waiting until the database can be .*\n", said)
