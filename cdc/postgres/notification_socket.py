"""The connection that listens: its socket is watched by the event loop, and it does nothing else.

psycopg's `notifies()` holds the connection's lock and wakes a generator for each notification. Reading the socket in a
callback of the loop instead gives all notifications that arrived together in one call.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Self

import psycopg
from psycopg.sql import SQL, Identifier

from ..database.connection import answering_within, connect, shutdown_socket
from ..database.database_url import redact
from ..database.driver_errors import driver_errors
from ..errors import DatabaseError

__all__ = ["NotificationSocket"]

_LISTEN_S = 10.0


class NotificationSocket:
    """One connection with one LISTEN. `lost` fails as soon as the connection breaks, or with what `fail` is given."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], target: str) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._target = target
        # The descriptor that the loop watches. The driver closes it as soon as the connection breaks, and from then on
        # the same number may be another connection's.
        self._watched: int | None = None

    @classmethod
    async def connect(cls, url: str) -> Self:
        """Raises `DatabaseError`."""
        return cls(await connect(url, name="listener"), redact(url))

    async def listen(self, channel: str, receive: Callable[[list[str]], None]) -> None:
        """Call `receive` with the payloads that arrived together on the channel, from now on."""
        with answering_within(self._connection, _LISTEN_S, self._target):
            await self._connection.execute(SQL("listen {}").format(Identifier(channel)))
            # So that the statement on show in pg_stat_activity no longer names the channel.
            await self._connection.execute("select 1")
        self._watched = self._connection.fileno()
        asyncio.get_running_loop().add_reader(self._watched, self._on_readable, channel, receive)

    def fail(self, error: Exception) -> None:
        """Make `lost` fail with this error, where nothing has yet."""
        if not self.lost.done():
            self.lost.set_exception(error)

    def shutdown(self) -> None:
        """Make every call that waits for an answer fail now."""
        shutdown_socket(self._connection)

    async def close(self) -> None:
        self._unwatch()
        if self.lost.done():
            # Retrieved, so that asyncio does not complain: often the reader met the same break first and raised.
            self.lost.exception()
        await asyncio.shield(self._connection.close())

    def _on_readable(self, channel: str, receive: Callable[[list[str]], None]) -> None:
        pgconn = self._connection.pgconn
        payloads: list[str] = []
        try:
            with driver_errors(self._target):
                pgconn.consume_input()
                while (notify := pgconn.notifies()) is not None:
                    if notify.relname.decode() == channel:
                        payloads.append(notify.extra.decode("utf-8", "surrogateescape"))
        except DatabaseError as error:
            # At once, before anything looks at `lost`: a closed socket stays readable, and its number is free again.
            self._unwatch()
            self.fail(error)
            return
        receive(payloads)

    def _unwatch(self) -> None:
        if self._watched is not None:
            asyncio.get_running_loop().remove_reader(self._watched)
            self._watched = None
