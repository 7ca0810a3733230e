"""Strong locks without a queue behind them: short tries, and pauses in which nobody waits for us.

A lock request that waits makes every later writer of the table wait behind it. So whoever needs a strong lock asks for
it in a transaction of its own with a short `lock_timeout`, and tries again.
"""

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
from psycopg.rows import TupleRow

from ..errors import LockNotAvailable

__all__ = ["Connection", "Report", "connect", "retry_on_lock", "set_lock_timeout"]

logger = logging.getLogger(__name__)

LOCK_TIMEOUT_MS = 100
"""How long one try may wait for a table, and so how long it may hold up a writer."""

T = TypeVar("T")
Report = Callable[[str], None]
Connection = psycopg.Connection[TupleRow]


def connect(conninfo: str) -> Connection:
    """A session in autocommit that sees what was committed before it got its locks."""
    connection = psycopg.connect(conninfo, autocommit=True, fallback_application_name="flagent-cdc")
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    connection.read_only = False
    return connection


def set_lock_timeout(connection: Connection) -> None:
    connection.execute(f"set local lock_timeout = {LOCK_TIMEOUT_MS}")


def retry_on_lock(work: Callable[[], T], what: str, report: Report, deadline_s: float) -> T:
    """Call `work` until it gets its locks; raises `LockNotAvailable` after `deadline_s`."""
    give_up_at = time.monotonic() + deadline_s
    pause_s, told = 0.05, False
    while True:
        try:
            return work()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            if time.monotonic() >= give_up_at:
                raise LockNotAvailable(
                    f"{what}: locked by other sessions for {deadline_s:g} s; try again when they are done",
                    sqlstate=error.sqlstate,
                ) from error
            if not told:
                report(f"{what}: in use by another session; trying again until it is free")
                told = True
            # jitter: several processes start together in a deploy and should not meet again at each try
            time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - not for secrecy
            pause_s = min(pause_s * 1.5, 1.0)
