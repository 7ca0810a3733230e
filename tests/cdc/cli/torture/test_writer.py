"""The writer: unique marks, and a record of outcomes that agrees with the tables."""

import threading
import time
from typing import Any

import psycopg
import pytest

from cdc.cli.torture.verdict import Outcome, Write
from cdc.cli.torture.writer import KEYS, Marks, Writer
from cdc.database.queries import query
from tests.fixtures.pgbouncer import Pool


@pytest.fixture
def scene_url(flagent_url: str) -> str:
    """A database with all tables that writers write; nothing is captured."""
    with psycopg.connect(flagent_url) as connection:
        connection.execute(query("torture_tables"))
        connection.execute(query("torture_poison_table"))
    return flagent_url


def test_marks_are_unique_across_threads() -> None:
    marks, found = Marks(), list[int]()
    threads = [threading.Thread(target=lambda: found.extend(marks.next() for _ in range(500))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 2001))


def test_committed_transactions_are_counted() -> None:
    marks = Marks()
    for outcome in Outcome:
        marks.record(Write(marks.next(), ("a",), outcome, 0.0, 1.0))
    assert marks.committed() == 1


def run_for(writer: Writer, marks: Marks, commits: int) -> None:
    """Run a writer until this many transactions were committed."""
    deadline = time.monotonic() + 20
    writer.start()
    while marks.committed() < commits:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    writer.stop()
    writer.join()


def test_each_flag_has_the_mark_of_its_last_committed_write(scene_url: str) -> None:
    marks = Marks()
    writer = Writer(scene_url, "public", "seed/1", marks, pause_s=0)
    run_for(writer, marks, 40)
    assert writer.failure == ""
    assert writer.backend_pid == 0
    assert {write.outcome for write in marks.writes} == {Outcome.COMMITTED, Outcome.ABORTED}
    expected = {key: write.mark for write in marks.writes if write.outcome is Outcome.COMMITTED for key in write.keys}
    with psycopg.connect(scene_url) as connection:
        found = connection.execute("select key, description from flags where deleted_at is null").fetchall()
    assert {key: int(mark) for key, mark in found} == expected
    assert expected.keys() <= set(KEYS)


def terminate_sessions(
    admin: psycopg.Connection[Any], writer: Writer, marks: Marks, count: int, deadline_s: float
) -> None:
    """Terminate this many sessions of a writer that writes, and wait until it commits again."""
    deadline = time.monotonic() + deadline_s
    terminated: set[int] = set()
    while len(terminated) < count:
        assert time.monotonic() < deadline
        if (pid := writer.backend_pid) and pid not in terminated and marks.committed() > 5 * len(terminated):
            admin.execute("select pg_terminate_backend(%s)", [pid])
            terminated.add(pid)
        time.sleep(0.001)
    committed = marks.committed()
    while marks.committed() < committed + 5:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_terminated_session_is_replaced_and_its_outcome_is_recorded(scene_url: str) -> None:
    marks = Marks()
    writer = Writer(scene_url, "public", "seed/2", marks, pause_s=0)
    writer.start()
    with psycopg.connect(scene_url, autocommit=True) as admin:
        terminate_sessions(admin, writer, marks, 3, deadline_s=20)
    writer.stop()
    writer.join()
    assert writer.failure == ""
    seen = [write.mark for write in marks.writes]
    assert len(seen) == len(set(seen))


def test_a_pool_may_give_each_transaction_another_session(scene_url: str, pool: Pool) -> None:
    marks = Marks()
    with pool(scene_url) as pooled_url:
        writers = [Writer(pooled_url, "public", f"seed/{number}", marks, pause_s=0) for number in range(4, 7)]
        for writer in writers:
            writer.start()
        # A statement is prepared when it is executed for the sixth time in a session.
        deadline = time.monotonic() + 60
        while marks.committed() < 60:
            assert time.monotonic() < deadline
            assert not any(writer.failure for writer in writers)
            time.sleep(0.01)
        for writer in writers:
            writer.stop()
        for writer in writers:
            writer.join()
    assert [writer.failure for writer in writers] == ["", "", ""]


def test_a_session_that_is_terminated_behind_a_pool_is_replaced(scene_url: str, pool: Pool) -> None:
    marks = Marks()
    with pool(scene_url) as pooled_url, psycopg.connect(scene_url, autocommit=True) as admin:
        writer = Writer(pooled_url, "public", "seed/7", marks, pause_s=0)
        writer.start()
        terminate_sessions(admin, writer, marks, 5, deadline_s=60)
        writer.stop()
        writer.join()
    assert writer.failure == ""


def test_an_error_that_no_writer_should_get_is_its_failure(scene_url: str) -> None:
    marks = Marks()
    with psycopg.connect(scene_url, autocommit=True) as connection:
        connection.execute("alter table flags add constraint refuse check (key <> 'torture-0' and key = '')")
    writer = Writer(scene_url, "public", "seed/3", marks, pause_s=0)
    writer.start()
    writer.join(20)
    assert writer.failure.startswith("writer seed/3: CheckViolation: ")
