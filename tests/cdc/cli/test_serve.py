"""`serve`, `demo` and `tail` as processes, with a database of their own: what a first try looks like."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from cdc.cli import main


class Program:
    """A running command whose standard output is read line by line; the test's time limit is the deadline."""

    def __init__(self, *arguments: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FLAGENT_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cdc", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []

    def line_with(self, words: str) -> str:
        """The next line that holds these words."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if words in line:
                return line.strip()
        raise AssertionError(f"ended without {words!r}: {''.join(self.said)}{self.process.communicate()[1]}")

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        self.process.communicate(timeout=30)
        return self.process.returncode


@contextmanager
def running(*arguments: str) -> Iterator[Program]:
    program = Program(*arguments)
    with program.process:
        try:
            yield program
        finally:
            if program.process.poll() is None:
                # SIGTERM, so that an embedded PostgreSQL is stopped too.
                program.end(signal.SIGTERM)


def ready(program: Program) -> tuple[str, str]:
    """Where a server listens and how to connect to its database, as its banner tells."""
    base = program.line_with(" is ready at ").rpartition(" ")[2]
    database = shlex.split(program.line_with("connect "))[-1]
    return base, database


def is_accepting(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


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


def test_what_the_banner_says_works(open_directory: Path) -> None:
    with running("serve", "--port", "0", "--data-dir", str(open_directory / "data")) as server:
        base, database = ready(server)
        change = shlex.split(server.line_with("change "))[-1]
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
        _, said = second.process.communicate(timeout=60)
        assert second.process.returncode == 2
        assert re.fullmatch(r"flagent-cdc: the data directory .* is in use by process \d+; .*\n", said)


def test_a_port_in_use_is_refused_before_anything_starts(open_directory: Path) -> None:
    with running("serve", "--port", "0", "--data-dir", str(open_directory / "data")) as first:
        port = ready(first)[0].rpartition(":")[2]
        second = Program("serve", "--port", port, "--data-dir", str(open_directory / "other"))
        _, said = second.process.communicate(timeout=60)
        assert second.process.returncode == 2
        assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in said
        assert not (open_directory / "other").exists()


def test_the_demo_changes_flags_and_leaves_nothing_behind() -> None:
    with running("demo", "--port", "0", "--interval", "20ms") as demo:
        base, database = ready(demo)
        directory = Path(demo.said[2].rpartition(" ")[2].strip())
        assert directory.is_dir()
        assert "32 flags were created" in demo.line_with("writer")
        with running("tail", base, "--count", "5") as tail:
            assert tail.process.wait(timeout=30) == 0
        assert demo.end(signal.SIGINT) == 0
    assert not directory.exists()
    assert not is_accepting(database)


def test_the_demo_on_a_given_database_installs_itself_there(flagent_url: str) -> None:
    with running("demo", "--port", "0", "--interval", "20ms", "--database-url", flagent_url) as demo:
        demo.line_with(" is ready at ")
        assert "32 flags were created" in demo.line_with("writer")
        demo.line_with("writer")
        assert demo.end(signal.SIGTERM) == 0
        assert "psql" not in "".join(demo.said)


def test_the_demo_needs_flagents_tables(empty_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--port", "0", "--database-url", empty_url], {}) == 2
    assert "schema 'public' has none of Flagent's tables yet" in capsys.readouterr().err


def test_migrate_and_uninstall_say_what_they_do(flagent_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--database-url", flagent_url, "--schema", "public", "--schema", "tenant_1"], {}) == 0
    told = capsys.readouterr().out
    assert "schema public: attached" in told
    assert "schema tenant_1: Flagent's tables do not exist yet" in told
    assert main(["migrate"], {"FLAGENT_CDC_DATABASE_URL": flagent_url}) == 0
    assert "schema public: already attached" in capsys.readouterr().out
    assert main(["migrate", "--database-url", flagent_url, "--grant-to", "nobody_here"], {}) == 2
    assert "there is no role 'nobody_here'" in capsys.readouterr().err
    assert main(["uninstall", "--database-url", flagent_url], {}) == 0
    assert "schema flagent_cdc: removed" in capsys.readouterr().out
