"""One relay of several is active: the one whose session holds an advisory lock in PostgreSQL.

The session sends a query every half second. PostgreSQL ends a session that sends none, also where the network drops
them and both ends look alive; the relay gives up sooner than that. So two relays are never active for long, and what
two could do is prevented in JetStream: each message names the sequence number that it expects to follow.
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
    """Held while `keep` runs, which never returns and raises `DatabaseUnavailable` when the leadership is lost."""

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
    """Stand by until no other relay of this JetStream stream is active, and lead until the end of the block."""
    target = redact(url)
    connection = await connect(url, name="relay")
    try:
        key = int.from_bytes(hashlib.sha256(f"flagent-cdc relay {stream}".encode()).digest()[:8], signed=True)
        with answering_within(connection, _GIVE_UP_S, target):
            await connection.execute(query("begin_candidacy"), {"silence": _SILENCE})
        is_logged = False
        while True:
            with answering_within(connection, _GIVE_UP_S, target):
                row = await (await connection.execute(query("lead"), {"key": key})).fetchone()
            if row is None:
                raise DatabaseUnavailable(f"{target} gave no answer to the election")
            if row[0]:
                break
            if not is_logged:
                logger.info("Standing by", extra={"action": "relay_standby", "stream": stream})
                is_logged = True
            await asyncio.sleep(_SIGN_S)
        logger.info("Active", extra={"action": "relay_active", "stream": stream})
        yield Leadership(connection, target)
    finally:
        # Shut down, not only closed: the driver would first send a message to a server that may be silent.
        shutdown_socket(connection)
        await asyncio.shield(connection.close())
