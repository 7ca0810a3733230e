"""Copies every commit from PostgreSQL into JetStream; one of several relays is active, the others stand by.

The last message of each JetStream stream says how far the copy is. It is read at the beginning and after every failure,
never remembered. While JetStream is slow or unavailable, only the relay waits; commits stay in PostgreSQL meanwhile.
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
from ..source.cancellation import cancel_and_wait
from .address import NatsAddress
from .api_keys import write_keys, write_rotations
from .connection import Connection, connect, nats_errors
from .directory import write_lanes
from .election import Leadership, leadership
from .key_use import MAX_WAITING, KeyUseRecorder
from .layout import Layout
from .stream_copier import StreamCopier

__all__ = ["Relay"]

logger = logging.getLogger(__name__)

_FIRST_S = 0.2
_MOST_S = 5.0
_PROVEN_S = 10.0

# Between two checks for changed keys and watched tables.
_LOOK_S = 1.0


class Relay:
    """Runs until cancelled: stands by, becomes active, and stands by again after a failure."""

    def __init__(self, settings: Settings, database_url: str, address: NatsAddress) -> None:
        self._settings = settings
        self._url = database_url
        self._address = address
        self._layout = Layout(settings.nats.stream)
        self._copiers: dict[Lane, StreamCopier] = {}

    @property
    def is_active(self) -> bool:
        """Whether this relay is the active one and copies the default lane."""
        return FLAGS in self._copiers and self._copiers[FLAGS].copying.is_set()

    async def run(self) -> None:
        """Raises only what needs an operator, such as `NatsMismatch`, `NatsRefused`, `DatabaseRefused`."""
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
                logger.warning("No longer active", extra={"action": "relay_stopped", "reason": str(error)})
            # Another relay gets the chance to become active before this one tries again.
            await asyncio.sleep(backoff.pause_s(clock() - started, random.random()))  # noqa: S311 - jitter, not a secret

    async def _refuse_pooler(self) -> None:
        store = LogReader(self._url)
        try:
            if await store.is_pooled():
                raise DatabaseRefused(
                    f"{redact(self._url)}: a transaction-pooling PgBouncer is in between, but a relay needs a session "
                    "to itself; point FLAGENT_CDC_DATABASE_URL at PostgreSQL itself or at a session pool"
                )
        finally:
            await store.close()

    async def _lead(self, lead: Leadership, connection: Connection) -> None:
        """Copy all lanes until the default one fails, or the leadership or the connection is lost; raises why."""
        running: dict[Lane, asyncio.Task[None]] = {}
        # A task of its own, so that a lost leadership is noticed even while the database does not answer.
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
            await cancel_and_wait((*keeping, *running.values()))
            self._copiers.clear()

    def _start(self, running: dict[Lane, asyncio.Task[None]], lane: Lane, connection: Connection) -> None:
        work = self._copy(lane, connection) if lane == FLAGS else self._keep_copying(lane, connection)
        running[lane] = asyncio.create_task(work, name=f"lane {lane.name}")

    async def _copy(self, lane: Lane, connection: Connection) -> None:
        copier = StreamCopier(self._settings, self._url, connection, str(self._address), lane)
        self._copiers[lane] = copier
        await copier.run()

    async def _keep_copying(self, lane: Lane, connection: Connection) -> None:
        """Retry forever: a failure of one lane must not end the default lane."""
        while True:
            try:
                await self._copy(lane, connection)
            except SourceError as error:
                logger.warning(
                    "A lane is not copied; trying again",
                    extra={"action": "lane_copy_failed", "lane": lane.name, "reason": str(error)},
                )
            await asyncio.sleep(_MOST_S)

    async def _carry(self, running: dict[Lane, asyncio.Task[None]], connection: Connection) -> None:
        """Copy what nodes need besides the flags: the API keys, the watched tables, and their lanes."""
        # The copier of the default lane was started before this, and creates the bucket that all is written to.
        await asyncio.sleep(0)
        await self._copiers[FLAGS].copying.wait()
        keys: str | None = None
        tables: Sequence[WatchedTable] | None = None
        key_reader, lane_reader = KeyReader(self._url), LaneReader(self._url)
        try:
            with nats_errors(str(self._address)):
                await connection.client.subscribe(
                    self._layout.key_use, cb=KeyUseRecorder(key_reader).answer, pending_msgs_limit=MAX_WAITING
                )
            while True:
                keys = await self._carry_keys(key_reader, connection, keys)
                tables = await self._carry_lanes(lane_reader, connection, tables)
                wanted = {FLAGS, *(table.lane for table in tables)}
                for lane in wanted - running.keys():
                    self._start(running, lane, connection)
                for lane in running.keys() - wanted:
                    await cancel_and_wait((running.pop(lane),))
                    self._copiers.pop(lane, None)
                await asyncio.sleep(_LOOK_S)
        finally:
            for reader in (key_reader, lane_reader):
                reader.shutdown_socket()
                await reader.close()

    async def _carry_keys(self, reader: KeyReader, connection: Connection, version: str | None) -> str:
        """Copy the API keys and the rotations of the secret of stream tokens where something has changed since
        `version`; the version now."""
        newest = await reader.keys_version()
        if newest != version:
            keys, secrets = await reader.keys(), await reader.stream_token_secrets()
            with nats_errors(str(self._address)):
                await write_rotations(connection.jetstream, self._layout, secrets)
                await write_keys(connection.jetstream, self._layout, keys)
            logger.info("API keys copied", extra={"action": "api_keys_copied", "count": len(keys)})
        return newest

    async def _carry_lanes(
        self, reader: LaneReader, connection: Connection, known: Sequence[WatchedTable] | None
    ) -> Sequence[WatchedTable]:
        """Publish which tables are watched, and in which lanes, where that has changed since `known`."""
        tables = await reader.watched_lanes()
        if tables != known:
            with nats_errors(str(self._address)):
                await write_lanes(connection.jetstream, self._layout, tables)
        return tables
