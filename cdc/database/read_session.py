"""One connection that reads: opened when first needed, and again after it broke; every wait is bounded.

The kernel does not notice a silent proxy, which accepts what it is sent. So answers have deadlines too: a short one for
what takes a moment. A read of many rows begins with it and gets more, up to the long one, after it has missed it.
"""

import asyncio
import select
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import IsolationLevel
from psycopg.types.json import set_json_loads

from ..core.deadline import Deadline
from ..errors import DatabaseSilent
from .connection import answering_within, connect, shutdown_socket
from .database_url import redact

__all__ = ["ReadSession"]

_ANSWER_S = 10.0
_LONGEST_READ_S = 120.0

# What may wait to be read between two questions: notices, and behind a pooler notifications.
_MOST_MESSAGES = 8


class ReadSession:
    """Serves one caller at a time; the others wait for their turn. `loads` reads JSON columns.

    Transactions are REPEATABLE READ and READ ONLY. Errors of the driver become ours, and the next use connects anew.
    """

    def __init__(self, url: str, loads: Callable[[bytes | str], Any] | None = None) -> None:
        self.target = redact(url)
        self._url = url
        self._loads = loads
        self._lock = asyncio.Lock()
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._read_deadline = Deadline(least_s=_ANSWER_S, most_s=_LONGEST_READ_S)

    @asynccontextmanager
    async def use(self, timeout_s: float = _ANSWER_S) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """The connection, for questions that are answered within `timeout_s` together."""
        async with self._lock:
            if self._connection is not None and not _is_alive(self._connection):
                # The server was restarted, or ended the session; the question has not been sent yet.
                await self._connection.close()
                self._connection = None
            if self._connection is None:
                self._connection = await self._open()
            try:
                with answering_within(self._connection, timeout_s, self.target):
                    yield self._connection
            except BaseException:
                # After an error or a cancellation in mid-query the state of the session is unknown.
                broken, self._connection = self._connection, None
                if broken is not None:
                    await asyncio.shield(broken.close())
                raise

    @asynccontextmanager
    async def read(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """As `use`, for what may read many rows."""
        clock = asyncio.get_running_loop().time
        try:
            async with self.use(self._read_deadline.seconds) as connection:
                began = clock()
                yield connection
                self._read_deadline.meet(clock() - began)
        except DatabaseSilent:
            self._read_deadline.miss()
            raise

    async def scalar(self, statement: Any) -> Any:
        """The one value that a query without parameters gives; None where it gives no row."""
        async with self.use() as connection:
            row = await (await connection.execute(statement)).fetchone()
            return None if row is None else row[0]

    def shutdown_socket(self) -> None:
        """Make every call that waits for an answer fail now."""
        shutdown_socket(self._connection)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _open(self) -> psycopg.AsyncConnection[Any]:
        connection = await connect(self._url, name="reader")
        if self._loads is not None:
            set_json_loads(self._loads, connection)
        # Matters to what asks several questions in one transaction; all else is one statement each.
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        # Behind a pooler the listener's notifications may come here; the driver would keep them for ever.
        connection.add_notify_handler(_ignore)
        return connection


def _is_alive(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Whether the server has not closed a connection that waits for no answer: what it sends last, and the end of the
    connection, are there to be read."""
    if connection.closed:
        return False
    waiting = select.poll()
    waiting.register(connection.pgconn.socket, select.POLLIN)
    try:
        for _ in range(_MOST_MESSAGES):
            if not waiting.poll(0):
                return True
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return False
    return False


def _ignore(_: psycopg.Notify) -> None:
    """Notifications are the listener's."""
