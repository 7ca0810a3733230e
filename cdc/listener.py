"""Keeps the hub's catalog current: hears notifications, proves that it hears, and reads the log where it did not.

A notification is a hint, the log is the truth. A notification that continues the catalog's position is applied as it
is; anything else (a gap, one too large to carry its changes, a new connection) makes the listener read the log after
the last position that it applied. While notifications cannot be had at all, behind a transaction-pooling PgBouncer
for instance, it polls, and says why.

psycopg's `notifies()` holds the connection's lock and wakes a generator for each notification. This connection does
nothing but listen, so its socket is watched by the loop itself, and all that arrived together is published together.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from .core.catalog import Catalog
from .core.change import Commit, Hint, Probe, decode_notification
from .core.position import LogId
from .core.wire.snapshot import ResyncReason
from .database_url import redact
from .driver_errors import driver_errors
from .errors import DatabaseError
from .hub import Freshness, Hub
from .store import FLAG_TABLES, Bootstrap, Store, connect

__all__ = ["Listener", "ListenerTimes", "load"]

logger = logging.getLogger(__name__)

# Changes read from the log at a time while catching up.
_CATCH_UP_CHANGES = 5_000

# A poll or a probe proves freshness for this many of its intervals: one may be late without harm.
_FRESH_INTERVALS = 2.5


@dataclass(frozen=True, slots=True)
class ListenerTimes:
    """In seconds. `gather_s` is how long commits wait for others at most while the hub is busy; an idle hub never waits."""

    probe_s: float = 5.0
    poll_s: float = 1.0
    gather_s: float = 0.002
    backoff_s: float = 0.1
    backoff_max_s: float = 10.0


def load(bootstrap: Bootstrap) -> Catalog:
    """A catalog with what a bootstrap has read."""
    catalog = Catalog(bootstrap.log, bootstrap.position)
    for schema, tables in bootstrap.schemas.items():
        catalog.load(schema, tables, bootstrap.position)
    return catalog


class _Deaf(Exception):
    """The session no longer hears its own channel."""


class Listener:
    """Runs until cancelled; whatever breaks is retried with backoff. `mode` and `reason` say how it hears."""

    def __init__(
        self, url: str, store: Store, hub: Hub, times: ListenerTimes, while_idle: Callable[[], Any] | None = None
    ) -> None:
        self._url = url
        self._target = redact(url)
        self._store = store
        self._hub = hub
        self._times = times
        self._while_idle = while_idle
        self._proven_at = asyncio.get_running_loop().time()
        self._is_pooled = False
        self._inbox: list[Commit] = []
        self._must_read = asyncio.Event()
        self._heard: dict[str, asyncio.Future[None]] = {}
        self._flush_at = 0.0
        self._flush_timer: asyncio.TimerHandle | None = None
        self.mode = "starting"
        self.reason = ""
        self.reconnects = 0
        self.notifications = 0

    def freshness(self) -> Freshness:
        """Fresh while a probe, a notification or a poll has lately proven that nothing is missing."""
        age_s = asyncio.get_running_loop().time() - self._proven_at
        interval_s = self._times.poll_s if self.mode == "polling" else self._times.probe_s
        return Freshness(
            self.mode in ("listening", "polling") and age_s <= interval_s * _FRESH_INTERVALS + 1.0, int(age_s * 1000)
        )

    async def run(self) -> None:
        delay_s = self._times.backoff_s
        while True:
            started = asyncio.get_running_loop().time()
            try:
                await self._listen()
            except _Deaf:
                self.reason = (
                    "a transaction-pooling PgBouncer stands in between: notifications do not pass it; "
                    "point FLAGENT_CDC_DATABASE_URL at PostgreSQL itself or at a session pool"
                    if self._is_pooled
                    else "the session did not hear its own notification"
                )
                logger.warning("Notifications are not heard", extra={"action": "listener_deaf", "reason": self.reason})
                if self._is_pooled:
                    await self._poll()
            except DatabaseError as error:
                self.mode, self.reason = "disconnected", str(error)
                logger.warning("Listener disconnected", extra={"action": "listener_disconnected", "reason": str(error)})
            self.reconnects += 1
            # The backoff starts again only after a session that had proven itself.
            if asyncio.get_running_loop().time() - started > self._times.probe_s * 2:
                delay_s = self._times.backoff_s
            await asyncio.sleep(random.uniform(delay_s / 2, delay_s))  # noqa: S311 - jitter, not a secret
            delay_s = min(delay_s * 2, self._times.backoff_max_s)

    # -- one session -------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        state = await self._store.state()
        self._is_pooled = await self._store.is_pooled()
        connection = await connect(self._url, name="listener")
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[None] = loop.create_future()
        watched: int | None = None
        try:
            with driver_errors(self._target):
                await connection.execute(SQL("listen {}").format(Identifier(state.channel)))
            # LISTEN first, then read the log: what commits in between is in both, and applying it twice is harmless.
            watched = connection.fileno()
            loop.add_reader(watched, self._on_readable, connection, state.channel, lost)
            self._must_read.set()
            await self._supervise(connection, state.channel, state.log, lost)
        finally:
            if watched is not None:
                loop.remove_reader(watched)
            self._cancel_flush()
            self._inbox.clear()
            await asyncio.shield(connection.close())

    async def _supervise(
        self, connection: psycopg.AsyncConnection[Any], channel: str, log: LogId, lost: asyncio.Future[None]
    ) -> None:
        """Catch up whenever asked, and probe in between; raises `_Deaf` or what broke the connection."""
        loop = asyncio.get_running_loop()
        probe_due = loop.time()
        while True:
            if self._must_read.is_set():
                self._must_read.clear()
                await self.catch_up(log)
            if loop.time() >= probe_due:
                await self._probe(channel, lost)
                probe_due = loop.time() + self._times.probe_s
                if self.mode != "listening":
                    logger.info("Listening", extra={"action": "listener_listening"})
                    self.mode, self.reason = "listening", ""
                if self._while_idle is not None:
                    await self._while_idle()
            must_read = asyncio.create_task(self._must_read.wait())
            try:
                await asyncio.wait(
                    (must_read, lost), timeout=max(0.0, probe_due - loop.time()), return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                must_read.cancel()
            if lost.done():
                lost.result()

    async def _probe(self, channel: str, lost: asyncio.Future[None]) -> None:
        nonce = secrets.token_hex(8)
        heard = self._heard[nonce] = asyncio.get_running_loop().create_future()
        try:
            await self._store.probe(channel, f'{{"probe":"{nonce}"}}')
            done, _ = await asyncio.wait(
                (heard, lost), timeout=self._times.probe_s, return_when=asyncio.FIRST_COMPLETED
            )
            if lost in done:
                lost.result()
            if heard not in done:
                raise _Deaf
        finally:
            del self._heard[nonce]

    def _on_readable(self, connection: psycopg.AsyncConnection[Any], channel: str, lost: asyncio.Future[None]) -> None:
        """The loop's callback: read what has arrived and publish it, now or when the gathering window ends."""
        pgconn = connection.pgconn
        try:
            with driver_errors(self._target):
                pgconn.consume_input()
                while (notify := pgconn.notifies()) is not None:
                    if notify.relname.decode() == channel:
                        self._on_notification(notify.extra.decode("utf-8", "replace"))
        except DatabaseError as error:
            # The reader is taken off by `_listen`, which still knows the descriptor.
            if not lost.done():
                lost.set_exception(error)
            return
        if self._inbox and self._flush_timer is None:
            loop = asyncio.get_running_loop()
            if loop.time() >= self._flush_at:
                self._flush()
            else:
                self._flush_timer = loop.call_at(self._flush_at, self._flush)

    def _on_notification(self, payload: str) -> None:
        self.notifications += 1
        match decode_notification(payload):
            case Commit() as commit:
                self._inbox.append(commit)
            case Hint():
                self._must_read.set()
            case Probe(nonce):
                if (heard := self._heard.get(nonce)) is not None and not heard.done():
                    self._proven_at = asyncio.get_running_loop().time()
                    heard.set_result(None)
            case None:
                logger.debug("A notification that is not ours", extra={"action": "notification_foreign"})

    def _flush(self) -> None:
        self._cancel_flush()
        commits, self._inbox = self._inbox, []
        if self._must_read.is_set():
            return  # The log will bring these too, in their place after what is missing.
        following: list[Commit] = []
        position = self._hub.catalog.position
        for commit in commits:
            if commit.position == position + 1 and not self._is_of_new_schema(commit):
                following.append(commit)
                position = commit.position
            elif commit.position > position:
                # A hole: a commit that failed after it was numbered, or one that was not heard. The log tells. Or
                # a schema that was attached just now: its tables must be known as Flagent's first.
                self._must_read.set()
                break
        if following:
            loop = asyncio.get_running_loop()
            began = loop.time()
            self._hub.publish(following)
            ended = loop.time()
            # Waiting for others pays where a publication is dear, and no longer than it took: with few subscribers
            # nothing ever waits.
            self._flush_at = ended + min(self._times.gather_s, ended - began)

    def _is_of_new_schema(self, commit: Commit) -> bool:
        known = self._hub.catalog.schemas
        return any(change.table in FLAG_TABLES and change.schema not in known for change in commit.changes)

    def _cancel_flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None

    # -- the log -----------------------------------------------------------------------------------------------

    async def catch_up(self, log: LogId) -> None:
        """Read the log after the catalog's position until there is no more."""
        if log != self._hub.catalog.log:
            logger.info("Loading the catalog", extra={"action": "catalog_loading", "log": log})
            self._hub.replace(load(await self._store.bootstrap()), ResyncReason.LOG_REPLACED)
        for schema in await self._store.attached_schemas():
            self._hub.catalog.attach(schema)
        state = await self._store.state()
        if not state.reaches(self._hub.catalog.position):
            logger.warning("The log no longer reaches back", extra={"action": "log_pruned"})
            self._hub.replace(load(await self._store.bootstrap()), ResyncReason.PRUNED)
        while True:
            asked_at = asyncio.get_running_loop().time()
            position = self._hub.catalog.position
            commits = await self._store.commits_after(position, _CATCH_UP_CHANGES)
            if not commits:
                state = await self._store.state()
                if state.log != log or state.newest < position:
                    self._hub.replace(load(await self._store.bootstrap()), ResyncReason.LOG_REPLACED)
                self._proven_at = max(self._proven_at, asked_at)
                return
            self._hub.publish(commits)
            # Others get their turn between two pages of a long way back.
            await asyncio.sleep(0)

    async def _poll(self) -> None:
        """Read the log at intervals until notifications are worth another try; raises what breaks."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._times.probe_s * 12
        self.mode = "polling"
        while loop.time() < until:
            state = await self._store.state()
            await self.catch_up(state.log)
            if self._while_idle is not None:
                await self._while_idle()
            await asyncio.sleep(self._times.poll_s)
