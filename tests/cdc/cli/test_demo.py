"""`flagent-cdc demo` as a process: an embedded database, or a given one, with flags that change."""

import signal
from pathlib import Path

import pytest

from cdc.cli import main
from tests.fixtures.program import is_accepting, ready, running


def test_the_demo_changes_flags_and_leaves_nothing_behind() -> None:
    with running("demo", "--port", "0", "--interval", "20ms") as demo:
        base, database = ready(demo)
        directory = Path(demo.output[2].rpartition(" ")[2].strip())
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
        assert "psql" not in "".join(demo.output)


def test_the_demo_needs_flagents_tables(empty_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--port", "0", "--database-url", empty_url], {}) == 2
    assert "schema 'public' has none of Flagent's tables yet" in capsys.readouterr().err
