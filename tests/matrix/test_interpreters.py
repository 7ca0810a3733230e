"""Finding the interpreters of a machine: a program on the PATH counts only if it runs the version that it names."""

import sys
from pathlib import Path

import pytest

from tests.matrix.interpreters import interpreter

VERSION = "{}.{}".format(*sys.version_info)


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no interpreter yet: its PATH is `bin`, its pyenv `pyenv`."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return tmp_path


def test_a_program_on_the_path_is_used(machine: Path) -> None:
    assert interpreter(VERSION) is None
    mine = program(machine / f"bin/python{VERSION}", f'exec {sys.executable} "$@"')
    assert interpreter(VERSION) == mine


def test_where_pyenv_has_not_selected_the_version_its_own_program_is_used(machine: Path) -> None:
    program(machine / f"bin/python{VERSION}", "exit 127")
    mine = program(machine / f"pyenv/versions/{VERSION}.1/bin/python{VERSION}", f'exec {sys.executable} "$@"')
    assert interpreter(VERSION) == mine


def test_a_program_of_another_version_is_not_used(machine: Path) -> None:
    program(machine / "bin/python3.2", f'exec {sys.executable} "$@"')
    assert interpreter("3.2") is None
