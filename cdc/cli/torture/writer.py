"""Writers that leave a mark in every flag they change, and record the outcome of each transaction."""

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import IsolationLevel, errors
from psycopg.sql import Identifier

from cdc.cli.torture.poison import write_poison
from cdc.cli.torture.verdict import Outcome, Write
from cdc.cli.torture.watched_rows import write_rows
from cdc.database.queries import query

__all__ = ["Marks", "Writer"]

KEYS = tuple(f"torture-{number}" for number in range(16))

# Errors that a writer gets without any triggers too: conflicts between writers, and a database that is down.
_EXPECTED = (
    psycopg.OperationalError,
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.QueryCanceled,
    errors.ForeignKeyViolation,
)


def _is_expected(error: psycopg.Error) -> bool:
    if isinstance(error, psycopg.InternalError):
        # Of the driver: a pool has added an error of its own to that of a terminated session.
        return error.sqlstate is None
    return isinstance(error, _EXPECTED)


class Marks:
    """Unique numbers for transactions, and the record of their outcomes, shared by all writers."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.writes: list[Write] = []

    def next(self) -> int:
        with self._lock:
            return next(self._numbers)

    def record(self, write: Write) -> None:
        with self._lock:
            self.writes.append(write)

    def committed(self) -> int:
        with self._lock:
            return sum(write.outcome is Outcome.COMMITTED for write in self.writes)


class Writer(threading.Thread):
    """Writes in one session after the other until `stop`, also through a pool that gives each transaction another.

    `backend_pid` is the session's process while a transaction is open, else 0. `failure` is an error that no writer
    should get.
    """

    def __init__(self, url: str, schema: str, seed: str, marks: Marks, *, pause_s: float = 0.02) -> None:
        super().__init__(name=f"writer {seed}", daemon=True)
        self._url = url
        self._schema = schema
        self._rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._marks = marks
        self._pause_s = pause_s
        self._must_stop = threading.Event()
        self._search_path = ""
        self.failure = ""
        self.backend_pid = 0

    def stop(self) -> None:
        self._must_stop.set()

    def run(self) -> None:
        try:
            while not self._must_stop.is_set():
                try:
                    self._write_in_session()
                except psycopg.Error as error:
                    if not _is_expected(error):
                        raise
                self._must_stop.wait(0.05)
        except Exception as error:
            self.failure = f"{self.name}: {type(error).__name__}: {error}"

    def _write_in_session(self) -> None:
        with self._session() as connection:
            while not self._must_stop.is_set():
                self._transact(connection)
                self._must_stop.wait(self._rng.uniform(0, 2 * self._pause_s))

    @contextlib.contextmanager
    def _session(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(
            self._url, connect_timeout=5, application_name="flagent-cdc torture", prepare_threshold=None
        ) as connection:
            self._search_path = Identifier(self._schema).as_string(connection)
            yield connection

    def _transact(self, connection: psycopg.Connection[Any]) -> None:
        """Run one transaction and record its outcome; raises only if the session can no longer be used."""
        rng = self._rng
        mark, undone = self._marks.next(), self._marks.next()
        keys = tuple(sorted(rng.sample(KEYS, rng.choice([1, 1, 1, 2, 3, 8]))))
        has_undone = rng.random() < 0.15
        ending = rng.choices(["commit", "rollback"], [12, 1])[0]
        connection.isolation_level = rng.choice(
            [IsolationLevel.READ_COMMITTED, IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE]
        )
        began, outcome = time.monotonic(), Outcome.ABORTED
        try:
            begun = connection.execute(query("torture_begin"), {"search_path": self._search_path}).fetchall()
            self.backend_pid = begun[0][0]
            for key in keys:
                connection.execute(
                    query("torture_write"), {"key": key, "mark": str(mark), "enabled": rng.random() < 0.5}
                )
            write_rows(connection, rng, mark)
            if rng.random() < 0.1:
                write_poison(connection, rng, mark)
            if has_undone:
                connection.execute("savepoint s")
                connection.execute(query("torture_write"), {"key": keys[-1], "mark": str(undone), "enabled": True})
                write_rows(connection, rng, undone)
                connection.execute("rollback to s")
            if ending == "rollback":
                connection.rollback()
            else:
                # Until the database answers, the outcome is unknown.
                outcome = Outcome.UNKNOWN
                connection.commit()
                outcome = Outcome.COMMITTED
        except psycopg.Error as error:
            if not _is_expected(error):
                raise
            if error.sqlstate is not None and not error.sqlstate.startswith(("08", "57P")):
                # The database reported a conflict, so it rolled back. A session that is terminated, or that a pool has
                # lost, may have committed.
                outcome = Outcome.ABORTED
            if connection.closed or connection.broken or isinstance(error, psycopg.InternalError):
                raise
            connection.rollback()
        finally:
            self.backend_pid = 0
            ended = time.monotonic()
            self._marks.record(Write(mark, keys, outcome, began, ended))
            if has_undone:
                self._marks.record(Write(undone, keys[-1:], Outcome.ABORTED, began, ended))
