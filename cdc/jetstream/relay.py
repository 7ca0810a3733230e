"""Copies every commit from PostgreSQL into JetStream, where one of several relays is the active one.

Where it stands is read from the streams themselves whenever it begins or something has failed, never remembered: what
the last message says is what has been copied. While JetStream is slow or away, this waits, and nothing else does:
commits wait in PostgreSQL.
"""

import asyncio
import logging
import random
from collections.abc import Sequence

from ..core.backoff import Backoff
from ..core.log.lane import FLAGS, Lane, WatchedTable
from ..database.database_url import redact
from ..errors import DatabaseRefused, SourceError, is_retryable
from ..postgres.key_reader import KeyReader
from ..postgres.lane_reader import LaneReader
from ..postgres.log_reader import LogReader
from ..settings.settings import Settings
from .address import NatsAddress
from .api_keys import write_keys
from .cancellation import end
from .connection import Connection, connect, nats_errors
from .directory import write_streams
from .election import Leadership, leadership
from .layout import Layout
from .stream_copier import StreamCopier

__all__ = ["Relay"]

logger = logging.getLogger(__name__)

_FIRST_S = 0.2
_MOST_S = 5.0
_PROVEN_S = 10.0

# Between two looks for other keys and other watched tables.
_LOOK_S = 1.0


class Relay:
    """Runs until cancelled: stands by, is active, and stands by again when it has lost its place or its way."""

    def __init__(self, settings: Settings, database_url: str, address: NatsAddress) -> None:
        self._settings = settings
        self._url = database_url
        self._address = address
        self._layout = Layout(settings.nats.stream)
        self._turns: dict[Lane, StreamCopier] = {}

    @property
    def is_active(self) -> bool:
        """Whether it is this one that copies."""
        return FLAGS in self._turns and self._turns[FLAGS].copying.is_set()

    async def run(self) -> None:
        """Raises what only its user can mend, such as `NatsMismatch`, `NatsRefused`, `DatabaseRefused`."""
        clock = asyncio.get_running_loop().time
        backoff = Backoff(first_s=_FIRST_S, most_s=_MOST_S, proven_s=_PROVEN_S)
        while True:
            started = clock()
            try:
                await self._refuse_pooler()
                async with leadership(self._url, self._layout.name) as lead:
                    started = clock()
                    connection = await connect(self._address, "relay")
                    try:
                        await self._lead(lead, connection)
                    finally:
                        await asyncio.shield(connection.close())
            except SourceError as error:
                if not is_retryable(error):
                    raise
                logger.warning("No longer active", extra={"action": "relay_ended", "reason": str(error)})
            # Another one may do better: it gets its chance before this one stands again.
            await asyncio.sleep(backoff.pause_s(clock() - started, random.random()))  # noqa: S311 - jitter, not a secret

    async def _refuse_pooler(self) -> None:
        store = LogReader(self._url)
        try:
            if await store.is_pooled():
                raise DatabaseRefused(
                    f"{redact(self._url)}: a transaction-pooling PgBouncer stands in between, and a relay must hold a "
                    "session of its own; point FLAGENT_CDC_DATABASE_URL at PostgreSQL itself or at a session pool"
                )
        finally:
            await store.close()

    async def _lead(self, lead: Leadership, connection: Connection) -> None:
        """Copy all streams until one of them cannot be copied, or the place or the connection is lost; raises why."""
        running: dict[Lane, asyncio.Task[None]] = {}
        # Its own task, so that a silent database does not keep the loss of the place from being noticed.
        keeping = [asyncio.create_task(lead.keep())]
        try:
            self._start(running, FLAGS, connection)
            keeping.append(asyncio.create_task(self._carry(running, connection)))
            while True:
                await asyncio.wait(
                    [*keeping, *running.values(), connection.lost],
                    timeout=_LOOK_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in (*keeping, *running.values()):
                    if task.done():
                        task.result()
                if connection.lost.done():
                    with nats_errors(str(self._address)):
                        raise ConnectionResetError("the connection was lost")
        finally:
            await end((*keeping, *running.values()))
            self._turns.clear()

    def _start(self, running: dict[Lane, asyncio.Task[None]], stream: Lane, connection: Connection) -> None:
        work = self._copy(stream, connection) if stream == FLAGS else self._keep_copying(stream, connection)
        running[stream] = asyncio.create_task(work, name=f"stream {stream.name}")

    async def _copy(self, stream: Lane, connection: Connection) -> None:
        self._turns[stream] = StreamCopier(self._settings, self._url, connection, str(self._address), stream)
        await self._turns[stream].run()

    async def _keep_copying(self, stream: Lane, connection: Connection) -> None:
        """What is wrong with the stream of a table must not end that of the flags."""
        while True:
            try:
                await self._copy(stream, connection)
            except SourceError as error:
                logger.warning(
                    "A stream is not copied",
                    extra={"action": "stream_failed", "stream": stream.name, "reason": str(error)},
                )
            await asyncio.sleep(_MOST_S)

    async def _carry(self, running: dict[Lane, asyncio.Task[None]], connection: Connection) -> None:
        """Carry what nodes need beside the flags: the keys, which tables are watched, and the streams of these."""
        # The turn of the flags was begun before this, and makes the bucket that all is written to.
        await asyncio.sleep(0)
        await self._turns[FLAGS].copying.wait()
        keys: str | None = None
        tables: Sequence[WatchedTable] | None = None
        key_reader, lane_reader = KeyReader(self._url), LaneReader(self._url)
        try:
            while True:
                keys = await self._carry_keys(key_reader, connection, keys)
                tables = await self._carry_streams(lane_reader, connection, tables)
                wanted = {FLAGS, *(table.lane for table in tables)}
                for stream in wanted - running.keys():
                    self._start(running, stream, connection)
                for stream in running.keys() - wanted:
                    await end((running.pop(stream),))
                    self._turns.pop(stream, None)
                await asyncio.sleep(_LOOK_S)
        finally:
            for reader in (key_reader, lane_reader):
                reader.shutdown_socket()
                await reader.close()

    async def _carry_keys(self, reader: KeyReader, connection: Connection, version: str | None) -> str:
        """Copy the API keys where they are others than at that version; the version now."""
        newest = await reader.keys_version()
        if newest != version:
            keys = await reader.keys()
            with nats_errors(str(self._address)):
                await write_keys(connection.jetstream, self._layout, keys)
            logger.info("API keys copied", extra={"action": "keys_copied", "count": len(keys)})
        return newest

    async def _carry_streams(
        self, reader: LaneReader, connection: Connection, known: Sequence[WatchedTable] | None
    ) -> Sequence[WatchedTable]:
        """Tell the nodes which tables are watched, in which streams, where that is not what is known."""
        tables = await reader.watched_lanes()
        if tables != known:
            with nats_errors(str(self._address)):
                await write_streams(connection.jetstream, self._layout, tables)
        return tables
