"""A strong lock is asked for in short attempts, so that no writer waits behind it for long."""

from collections.abc import Callable

import psycopg
import pytest

from cdc.database.lock_retry import LOCK_TIMEOUT_MS, connect, retry_on_lock, set_lock_timeout
from cdc.errors import LockNotAvailable


def refusing(times: int, error: type[psycopg.Error]) -> Callable[[], int]:
    attempts = 0

    def work() -> int:
        nonlocal attempts
        attempts += 1
        if attempts <= times:
            raise error("locked")
        return attempts

    return work


@pytest.mark.parametrize("error", [psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected])
def test_it_tries_until_the_lock_is_free_and_reports_once(error: type[psycopg.Error]) -> None:
    said: list[str] = []
    assert retry_on_lock(refusing(3, error), "table flags", said.append, 30) == 4
    assert said == ["table flags: in use by another session; trying again until it is free"]


def test_after_the_deadline_it_gives_up() -> None:
    with pytest.raises(LockNotAvailable, match="table flags: locked by other sessions for 0 s") as caught:
        retry_on_lock(refusing(99, psycopg.errors.LockNotAvailable), "table flags", lambda _: None, 0)
    assert isinstance(caught.value.__cause__, psycopg.errors.LockNotAvailable)


def test_other_errors_are_not_retried() -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        retry_on_lock(refusing(1, psycopg.errors.UndefinedTable), "table flags", lambda _: None, 30)


def test_a_session_sees_what_was_committed_before_its_locks_and_waits_briefly(database_url: str) -> None:
    with connect(database_url) as connection:
        assert connection.autocommit
        with connection.transaction():
            set_lock_timeout(connection)
            row = connection.execute("show lock_timeout").fetchone()
            assert row == (f"{LOCK_TIMEOUT_MS}ms",)
            row = connection.execute("show transaction_isolation").fetchone()
            assert row == ("read committed",)
        row = connection.execute("show lock_timeout").fetchone()
        assert row == ("0",)
