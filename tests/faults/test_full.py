"""Writers and subscribers when the notification queue or the disk of the change log is full."""

import asyncio
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdc.admin.installation import migrate
from cdc.cli.torture.port import lasting_port
from cdc.database.queries import flagent_tables
from cdc.embedded.programs import Programs
from cdc.embedded.server import EmbeddedPostgres
from cdc.postgres.pruner import Pruner, Retention, keep_at_least
from tests.fixtures.flags import Writer
from tests.fixtures.postgres import BIN_VARIABLE, embedded
from tests.fixtures.server import serving, sse, until

pytestmark = pytest.mark.timeout(90)

QUICK: dict[str, Any] = {"listener_probe_interval_s": 0.5, "listener_poll_interval_s": 0.1, "sse_keep_alive_s": 0.3}


def usage(url: str) -> float:
    with psycopg.connect(url) as connection:
        row = connection.execute("select pg_notification_queue_usage()").fetchone()
    assert row is not None
    return float(row[0])


def fill_queue(url: str) -> None:
    """Send notifications until PostgreSQL rejects them."""
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(10_000):
            try:
                connection.execute("select pg_notify('other', repeat('x', 7900)) from generate_series(1, 20)")
            except psycopg.errors.ProgramLimitExceeded:
                return
    raise AssertionError("the queue cannot be filled")


@pytest.fixture
def small_queue(open_directory: Path) -> Iterator[EmbeddedPostgres]:
    """A server whose notification queue holds half a megabyte, with Flagent's tables, migrated."""
    with embedded(open_directory / "server", lasting_port(), max_notify_queue_pages="64") as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(flagent_tables())
        migrate(server.url)
        yield server


@pytest.mark.skipif(BIN_VARIABLE in os.environ, reason="the queue's size is a setting since PostgreSQL 17")
async def test_a_full_notification_queue_fails_no_writer_and_hides_no_commit(small_queue: EmbeddedPostgres) -> None:
    url = small_queue.url
    async with serving(url, **QUICK) as server, sse(server.stream_url) as stream:
        with Writer(url) as writer, psycopg.connect(url, autocommit=True) as sleeper:
            writer.flag("before")
            assert (await stream.next()).data["key"] == "before"
            # A session that listens and then stays in a transaction keeps all notifications in the queue.
            sleeper.execute("listen other")
            sleeper.execute("begin; select 1")
            await asyncio.to_thread(fill_queue, url)
            assert usage(url) > 0.95
            for number in range(5):
                writer.flag(f"full{number}")
                assert (await stream.next()).data["key"] == f"full{number}"
            sleeper.execute("commit")
            await until(lambda: usage(url) < 0.1, "an empty queue")
            writer.flag("after")
            assert (await stream.next()).data["key"] == "after"
            await until(lambda: server.pipeline.is_ready, "readiness")
            assert server.pipeline.listener.mode == "listening"


@pytest.fixture
def small_disk(tmp_path_factory: pytest.TempPathFactory, open_directory: Path) -> Iterator[Path]:
    """A file system of 24 MB that the server's account can write to."""
    directory = open_directory / "disk"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", directory], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this account may not mount a small file system")
    try:
        Programs.locate().own(directory)
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def vacuum(writer: Writer) -> None:
    writer.connection.execute("vacuum flagent_cdc.change_log, flagent_cdc.change_log_first, flagent_cdc.commit_log")


async def test_a_full_disk_of_the_change_log_rolls_writers_back_until_it_is_pruned(
    own_postgres: EmbeddedPostgres, small_disk: Path
) -> None:
    """A change that cannot be logged is rolled back: the writer gets PostgreSQL's error, disk full (53100)."""
    url = own_postgres.url
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"create tablespace small location '{small_disk}'".encode())
        for table in ("change_log", "change_log_first", "commit_log"):
            admin.execute(f"alter table flagent_cdc.{table} set tablespace small".encode())
    keep_at_least(url, 0.0)
    async with serving(url, **QUICK) as server, sse(server.stream_url) as stream:
        with Writer(url) as writer:
            flag = writer.flag("a")
            assert (await stream.next()).data["key"] == "a"
            # As autovacuum does from time to time; on a completely full disk, even vacuum fails.
            vacuum(writer)
            written = ""
            while True:
                text = secrets.token_hex(100_000)  # noise, which cannot be compressed
                try:
                    writer.connection.execute("update flags set description = %s where id = %s", (text, flag))
                except psycopg.errors.DiskFull:
                    break
                written = text
                assert (await stream.next()).data["description"] == text
            row = writer.connection.execute("select description from flags where id = %s", (flag,)).fetchone()
            assert row == (written,), "half of the transaction is there"
            # Readers, the server included, are not affected.
            assert server.pipeline.is_ready
            pruned = await Pruner(url, Retention(0.001, None)).prune()
            assert pruned.commits > 10
            vacuum(writer)
            for number in range(10):
                writer.connection.execute(
                    "update flags set description = %s where id = %s", (f"{number}" + secrets.token_hex(100_000), flag)
                )
                assert (await stream.next()).data["description"].startswith(str(number))
