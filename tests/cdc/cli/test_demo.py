"""`flagent-cdc demo` as a process: an embedded database, or a given one, with flags that change."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psycopg
import pytest

from cdc.cli import main
from tests.fixtures.program import Program, is_accepting, ready, running


def test_the_demo_changes_flags_and_leaves_nothing_behind() -> None:
    with running("demo", "--port", "0", "--interval", "20ms") as demo:
        base, database = ready(demo)
        directory = Path(next(line for line in demo.output if " database " in line).rpartition(" ")[2].strip())
        assert directory.is_dir()
        assert "32 flags were created" in demo.line_with("created")
        demo.line_with("writer  ")
        with running("tail", base, "--count", "5") as tail:
            assert tail.process.wait(timeout=30) == 0
        assert demo.end(signal.SIGINT) == 0
    assert not directory.exists()
    assert not is_accepting(database)


def test_the_banner_begins_with_the_page_and_has_no_log_lines() -> None:
    with running("demo", "--port", "0", "--interval", "20ms") as demo:
        base = ready(demo)[0]
        demo.line_with("writer  ")
        assert [line.split()[0] for line in demo.output if line.startswith("  ")][:3] == ["page", "change", "watch"]
        assert "psql" not in next(line for line in demo.output if " change " in line)
        answer = httpx.put(f"{base}/api/v1/demo/flags/ops.read_only", json={"enabled": True})
        assert answer.json() == {"key": "ops.read_only", "enabled": True}
        assert 'data-switch="on"' in httpx.get(f"{base}/").text
        demo.process.send_signal(signal.SIGTERM)
        output, errors = demo.process.communicate(timeout=30)
    # The limit of open files of this machine may be worth a warning; nothing else is.
    assert " INFO " not in output + errors


def test_the_demo_never_touches_the_database_of_the_environment(flagent_url: str, open_directory: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FLAGENT_")},
        "FLAGENT_CDC_DATABASE_URL": flagent_url,
        "FLAGENT_CDC_DATA_DIR": str(open_directory / "kept"),
    }
    command = [sys.executable, "-m", "cdc", "demo", "--port", "0", "--interval", "20ms"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert any("writer  " in line for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=30)[1]
    assert "the demo ignores FLAGENT_CDC_DATABASE_URL and uses a database of its own" in errors
    assert "the demo ignores FLAGENT_CDC_DATA_DIR" in errors
    assert flagent_url not in errors
    assert not (open_directory / "kept").exists()
    with psycopg.connect(flagent_url) as connection:
        assert connection.execute("select count(*) from flags").fetchone() == (0,)
        assert connection.execute("select to_regnamespace('flagent_cdc')").fetchone() == (None,)


def test_the_demo_on_a_given_database_installs_itself_there(flagent_url: str) -> None:
    arguments = ("demo", "--port", "0", "--interval", "20ms", "--database-url", flagent_url, "--yes")
    with running(*arguments) as demo:
        base = demo.line_with(" is ready at ").rpartition(" ")[2]
        assert "32 flags were created" in demo.line_with("created")
        demo.line_with("writer  ")
        # Only the demo's own database can be switched from the page.
        assert httpx.put(f"{base}/api/v1/demo/flags/ops.read_only", json={"enabled": True}).status_code == 404
        assert demo.end(signal.SIGTERM) == 0
        assert "psql" not in "".join(demo.output)


def test_a_given_database_is_written_only_after_a_yes(
    flagent_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["demo", "--port", "0", "--database-url", flagent_url]
    program = Program(*arguments)
    _, error = program.process.communicate(timeout=60)
    assert program.process.returncode == 2
    assert "the demo writes 32 example flags into postgresql://" in error
    assert error.endswith("; pass --yes to allow that\n")
    master, terminal = pty.openpty()
    with os.fdopen(terminal) as stdin, os.fdopen(master, "w") as typed:
        monkeypatch.setattr("sys.stdin", stdin)
        typed.write("no\n")
        typed.flush()
        assert main(arguments, {}) == 2
    captured = capsys.readouterr()
    assert captured.out == "Continue? [y/N] "
    assert captured.err.endswith("flagent-cdc: nothing was written\n")
    with psycopg.connect(flagent_url) as connection:
        assert connection.execute("select to_regnamespace('flagent_cdc')").fetchone() == (None,)


def test_the_demo_needs_flagents_tables(empty_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--port", "0", "--database-url", empty_url, "--yes"], {}) == 2
    assert "schema 'public' has none of Flagent's tables yet" in capsys.readouterr().err
