"""Strong table locks without a queue of writers behind them: short attempts, with pauses in between.

A lock request that waits makes every later writer of the table wait behind it. So a strong lock is requested in a
transaction of its own with a short `lock_timeout`, and the attempt is repeated.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
from psycopg.rows import TupleRow

from ..errors import DatabaseRefused, LockNotAvailable
from .connection import LIVENESS
from .database_url import redact
from .queries import query
from .session_settings import CLIENT_ENCODING, session_statements, transaction_statements

__all__ = [
    "Connection",
    "Report",
    "changing",
    "connect",
    "require_primary",
    "retry_on_lock",
    "set_lock_timeout",
    "set_own_settings",
]

logger = logging.getLogger(__name__)

LOCK_TIMEOUT_MS = 100
"""How long one attempt may wait for a table, and so how long it may delay a writer."""

T = TypeVar("T")
Report = Callable[[str], None]
Connection = psycopg.Connection[TupleRow]


def connect(conninfo: str) -> Connection:
    """A session in autocommit that sees what was committed before it got its locks, and whose death is noticed."""
    connection = psycopg.connect(
        conninfo,
        autocommit=True,
        fallback_application_name="flagent-cdc",
        client_encoding=CLIENT_ENCODING,
        # Behind a pooler the next attempt may be on a server that has not seen the prepared statement.
        prepare_threshold=None,
        **LIVENESS,
    )
    for statement, parameters in session_statements(connection):
        connection.execute(statement, parameters)
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    connection.read_only = False
    return connection


@contextmanager
def changing(connection: Connection) -> Iterator[None]:
    """One transaction that may write, whatever the defaults are."""
    with connection.transaction():
        set_own_settings(connection)
        yield


def set_own_settings(connection: Connection) -> None:
    """For the current transaction, which may run in a session of a pool."""
    for statement, parameters in transaction_statements(connection):
        connection.execute(statement, parameters)


def require_primary(connection: Connection, conninfo: str) -> None:
    """Raises `DatabaseRefused` for a standby, where nothing can be changed."""
    if (row := connection.execute(query("is_standby")).fetchone()) is not None and row[0]:
        raise DatabaseRefused(f"{redact(conninfo)} is a standby, where nothing can be changed; name the primary")


def set_lock_timeout(connection: Connection) -> None:
    """For the current transaction."""
    connection.execute(f"set local lock_timeout = {LOCK_TIMEOUT_MS}")


def retry_on_lock(work: Callable[[], T], what: str, report: Report, deadline_s: float) -> T:
    """Call `work` until it gets its locks; raises `LockNotAvailable` after `deadline_s`."""
    give_up_at = time.monotonic() + deadline_s
    pause_s, is_reported = 0.05, False
    while True:
        try:
            return work()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            if time.monotonic() >= give_up_at:
                raise LockNotAvailable(
                    f"{what}: locked by other sessions for {deadline_s:g} s; try again when they have finished",
                    sqlstate=error.sqlstate,
                ) from error
            if not is_reported:
                report(f"{what}: in use by another session; trying again until it is free")
                is_reported = True
            # jitter: several processes start together in a deploy and should not collide at each attempt
            time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - not for secrecy
            pause_s = min(pause_s * 1.5, 1.0)
