"""One relay of several is active: the one whose session holds an advisory lock in PostgreSQL.

The session gives signs of life. PostgreSQL ends one that gives none, also where it is the network that swallows them
and both ends look well; its holder gives up sooner than that. So there are never two for long, and what two could do to
the stream is prevented there: each message names the sequence number that it expects to follow.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from ..database.connection import answering_within, connect, shutdown_socket
from ..database.database_url import redact
from ..database.queries import query
from ..errors import DatabaseUnavailable

__all__ = ["Leadership", "leadership"]

logger = logging.getLogger(__name__)

_SILENCE = "2500ms"
_SIGN_S = 0.5
_GIVE_UP_S = 1.5


class Leadership:
    """`keep` returns never, and raises `DatabaseUnavailable` when the place is lost."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], target: str) -> None:
        self._connection = connection
        self._target = target

    async def keep(self) -> None:
        while True:
            await asyncio.sleep(_SIGN_S)
            with answering_within(self._connection, _GIVE_UP_S, self._target):
                await self._connection.execute(query("still_lead"))

    def give_up(self) -> None:
        shutdown_socket(self._connection)


@asynccontextmanager
async def leadership(url: str, stream: str) -> AsyncIterator[Leadership]:
    """Stand by until the place of this stream's active relay is free, and hold it until the end of the block."""
    target = redact(url)
    connection = await connect(url, name="relay")
    try:
        key = int.from_bytes(hashlib.sha256(f"flagent-cdc relay {stream}".encode()).digest()[:8], signed=True)
        with answering_within(connection, _GIVE_UP_S, target):
            await connection.execute(query("begin_candidacy"), {"silence": _SILENCE})
        is_told = False
        while True:
            with answering_within(connection, _GIVE_UP_S, target):
                row = await (await connection.execute(query("lead"), {"key": key})).fetchone()
            if row is None:
                raise DatabaseUnavailable(f"{target} did not say who leads")
            if row[0]:
                break
            if not is_told:
                logger.info("Standing by", extra={"action": "relay_standby", "stream": stream})
                is_told = True
            await asyncio.sleep(_SIGN_S)
        logger.info("Active", extra={"action": "relay_active", "stream": stream})
        yield Leadership(connection, target)
    finally:
        # Cut, not closed: the driver would first say goodbye to a server that may be silent.
        shutdown_socket(connection)
        await asyncio.shield(connection.close())
