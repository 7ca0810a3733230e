"""The embedded server: first start, later starts, crashes, and two owners."""

import os
import socket
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import psycopg
import pytest

from cdc.embedded.server import EmbeddedPostgres, _reason, default_data_dir
from cdc.errors import DataDirectoryInUse, EmbeddedPostgresError
from tests.fixtures.postgres import embedded


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


def test_a_server_that_outlived_its_owner_is_reused(data_dir: Path) -> None:
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
            assert connection.execute("select 1").fetchone() == (1,)  # the earlier session is still open
            assert count_rows(server) == 1
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=5)


@pytest.mark.parametrize("pid", [os.getpid(), 1, 2**22 - 1], ids=["this process", "init", "no process"])
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
    with pytest.raises(EmbeddedPostgresError, match="has data of PostgreSQL 9, but this program"):
        embedded(data_dir).start()


def test_stopping_twice_or_before_the_start_does_nothing(data_dir: Path) -> None:
    server = embedded(data_dir)
    server.stop()
    server.start()
    server.stop()
    server.stop()


def test_a_directory_that_cannot_be_created_is_an_error(open_directory: Path) -> None:
    (open_directory / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match="cannot create the data directory"):
        embedded(open_directory / "file" / "data").start()


def test_the_default_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data_dir({}) == Path("/var/lib/flagent-cdc/postgres")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_data_dir({"XDG_DATA_HOME": "/data"}) == Path("/data/flagent-cdc/postgres")
    assert default_data_dir({}) == Path.home() / ".local/share/flagent-cdc/postgres"


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("LOG:  starting\nFATAL:  no space left\nLOG:  shut down\n", "no space left"),
        ("one\ntwo\n\n", "two"),
        ("\n", "no error output"),
    ],
)
def test_the_reason_of_a_failed_start_is_its_fatal_line_or_its_last_one(output: str, reason: str) -> None:
    assert _reason(output) == reason
