"""Connections to PostgreSQL whose death is noticed, also where the network or the server goes silent."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader

from ..errors import DatabaseSilent, DatabaseUnavailable
from .database_url import redact
from .driver_errors import driver_errors
from .session_settings import CLIENT_ENCODING, session_statements, transaction_statements

__all__ = ["LIVENESS", "answering_within", "connect", "set_own_settings", "shutdown_socket"]

# Seconds after which the kernel gives up a connection whose other end does not answer.
_SILENCE_S = 10

_CONNECT_S = 5

LIVENESS: dict[str, Any] = {
    "connect_timeout": _CONNECT_S,
    "keepalives": 1,
    "keepalives_idle": _SILENCE_S,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": _SILENCE_S * 1000,
}
"""Parameters of libpq by which the end of a connection, and of a server, is noticed."""


async def connect(url: str, *, name: str) -> psycopg.AsyncConnection[Any]:
    """A connection in autocommit, with TCP keepalives and, where the system has it, a user timeout.

    `name` is shown in `pg_stat_activity`. Raises `DatabaseError` or `InvalidDatabaseUrl`.
    """
    with driver_errors(redact(url)):
        connection = await psycopg.AsyncConnection.connect(
            url,
            autocommit=True,
            # Whatever database, role or environment ask for: texts are decoded as UTF-8.
            client_encoding=CLIENT_ENCODING,
            # Behind a pooler the next transaction may be on a server that has not seen the prepared statement.
            prepare_threshold=None,
            application_name=f"flagent-cdc {name}",
            **LIVENESS,
        )
    try:
        with answering_within(connection, _CONNECT_S, redact(url)):
            for statement, parameters in session_statements(connection):
                await connection.execute(statement, parameters)
            if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
                # Such a database stores any bytes, and fails a query whose result is not UTF-8 where that is asked for.
                await connection.execute("set client_encoding = 'SQL_ASCII'")
                for type in ("text", "varchar", "name"):
                    connection.adapters.register_loader(type, _AnyBytes)
    except BaseException:
        await asyncio.shield(connection.close())
        raise
    return connection


async def set_own_settings(connection: psycopg.AsyncConnection[Any]) -> None:
    """For the current transaction, which may run in a session of a pool."""
    for statement, parameters in transaction_statements(connection):
        await connection.execute(statement, parameters)


class _AnyBytes(Loader):
    """Reads text as UTF-8, where bytes that are not are escaped."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode("utf-8", "surrogateescape")


def shutdown_socket(connection: psycopg.AsyncConnection[Any] | None) -> None:
    """Shut the socket down below the driver: every call that waits on the connection fails at once.

    Cancelling the waiting task instead would make the driver ask the same silent server to cancel, and wait for that.
    """
    if connection is None or connection.closed:
        return
    with suppress(OSError), socket.socket(fileno=os.dup(connection.pgconn.socket)) as twin:
        twin.shutdown(socket.SHUT_RDWR)


@contextmanager
def answering_within(connection: psycopg.AsyncConnection[Any], timeout_s: float, target: str) -> Iterator[None]:
    """For `with` around use of the driver: its errors become ours, and `DatabaseSilent` where no answer comes in
    time."""
    is_late = False

    def give_up() -> None:
        nonlocal is_late
        is_late = True
        shutdown_socket(connection)

    timer = asyncio.get_running_loop().call_later(timeout_s, give_up)
    try:
        with driver_errors(target):
            yield
    except DatabaseUnavailable as error:
        if is_late:
            raise DatabaseSilent(f"{target} did not answer within {timeout_s:g} s") from error
        raise
    finally:
        timer.cancel()
