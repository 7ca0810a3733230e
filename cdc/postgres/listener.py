"""Keeps a replica current: hears notifications, proves that it hears, and reads the log where it did not.

A notification is a hint, the log is the truth. A notification that continues the catalog's position is applied as it
is; anything else (a gap, one too large to carry its changes, a new connection) makes the listener read the log after
the last position that it applied. While notifications cannot be had at all, behind a transaction-pooling PgBouncer
for instance, it polls, and says why.

psycopg's `notifies()` holds the connection's lock and wakes a generator for each notification. This connection does
nothing but listen, so its socket is watched by the loop itself, and all that arrived together is published together.
"""

import asyncio
import json
import logging
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from ..core.backoff import Backoff
from ..core.freshness import FreshnessTracker
from ..core.log.change import Commit, Hint, LoadJson, Probe, decode_notification
from ..core.log.position import Position
from ..core.subscription.resume import ResyncReason
from ..database.database_url import redact
from ..database.driver_errors import driver_errors
from ..errors import DatabaseError, DatabaseUnavailable
from ..source.upstream import CommitFingerprint, Freshness, LogState, Replica
from .log_reader import FLAG_TABLES, LogReader, answering_within, connect, sever

__all__ = ["Listener", "ListenerTimes"]

logger = logging.getLogger(__name__)

# A publication that takes less is not worth waiting for others: epoll counts in whole milliseconds, so that the
# shortest wait there is would be longer than the work it saves.
_DEAR_S = 0.001

# Changes read from the log at a time while catching up.
_CATCH_UP_CHANGES = 5_000

# Notifications that are kept while the log is read; beyond it the log is read again instead.
_INBOX_COMMITS = 10_000

_LISTEN_S = 10.0


@dataclass(frozen=True, slots=True)
class ListenerTimes:
    """In seconds. `gather_s` is how long commits wait for others at most, while publishing is dear."""

    probe_s: float = 5.0
    poll_s: float = 1.0
    gather_s: float = 0.002
    backoff_s: float = 0.1
    backoff_max_s: float = 10.0


_POOLED = (
    "a transaction-pooling PgBouncer stands in between: notifications do not pass it; "
    "point FLAGENT_CDC_DATABASE_URL at PostgreSQL itself or at a session pool"
)


class _Deaf(Exception):
    """The session no longer hears its own channel."""


class Listener:
    """Runs until cancelled; whatever breaks is retried with backoff. `mode` and `reason` say how it hears.

    `tells_changes` is whether commits are announced with their changes; else nobody is believed who does so.
    """

    def __init__(
        self,
        url: str,
        store: LogReader,
        replica: Replica,
        times: ListenerTimes,
        while_idle: Callable[[], Any] | None = None,
        *,
        is_polled: bool = False,
        tells_changes: bool = True,
        in_parts: bool = False,
        loads: LoadJson = json.loads,
    ) -> None:
        self._url = url
        self._loads = loads
        self._target = redact(url)
        self._store = store
        self._replica = replica
        self._times = times
        self._while_idle = while_idle
        self._is_polled = is_polled
        self._tells_changes = tells_changes
        self._in_parts = in_parts
        self._part: tuple[Position, int, int] | None = None  # what was published of a commit that has not ended
        self._proof = FreshnessTracker(asyncio.get_running_loop().time())
        self._is_pooled = False
        self._inbox: list[Commit] = []
        self._must_read = asyncio.Event()
        self._heard: dict[str, asyncio.Future[None]] = {}
        self._flush_at = 0.0
        self._flush_timer: asyncio.TimerHandle | None = None
        self._connection: psycopg.AsyncConnection[Any] | None = None
        # The descriptor that the loop watches. The driver closes it as soon as the connection breaks, and from then on
        # the same number may be another connection's.
        self._watched: int | None = None
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_reading = False
        self._is_stopping = False
        # The commit that the catalog is as of; None while it is as of an empty log or not loaded.
        self._stamp: CommitFingerprint | None = None
        # Something went wrong within an apply: the catalog may hold half a commit.
        self._is_distrusted = False
        self._heard_up_to = Position(0)
        self.mode = "starting"
        self.reason = ""
        self.reconnects = 0
        self.notifications = 0

    def freshness(self) -> Freshness:
        """Fresh while a probe, a notification or a poll has lately proven that nothing is missing."""
        interval_s = self._times.poll_s if self.mode == "polling" else self._times.probe_s
        is_hearing = self.mode in ("listening", "polling")
        return self._proof.freshness(asyncio.get_running_loop().time(), interval_s, is_hearing=is_hearing)

    def stop(self) -> None:
        """Make `run` return soon, whatever it waits for in the database."""
        self._is_stopping = True
        self._store.sever()
        sever(self._connection)

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        backoff = Backoff(
            first_s=self._times.backoff_s, most_s=self._times.backoff_max_s, proven_s=self._times.probe_s * 2
        )
        while not self._is_stopping:
            started = clock()
            try:
                await (self._only_poll() if self._is_polled else self._listen())
            except (_Deaf, DatabaseError) as error:
                self._on_broken(error)
            except Exception:
                # Unknown, so perhaps from the middle of an apply. The stream must not end with it: read all anew.
                self.mode, self.reason = "disconnected", "an internal error, see the server's log"
                self._is_distrusted = True
                logger.exception("Listener failed", extra={"action": "listener_failed"})
            self.reconnects += 1
            if not self._is_stopping:
                await asyncio.sleep(backoff.pause_s(clock() - started, random.random()))  # noqa: S311 - jitter

    def _on_broken(self, error: Exception) -> None:
        if self._is_stopping or (self.mode == "polling" and isinstance(error, _Deaf)):
            return
        self.mode, self.reason = "disconnected", str(error)
        if isinstance(error, _Deaf):
            self.reason = "the session did not hear its own notification"
        logger.warning("Listener disconnected", extra={"action": "listener_disconnected", "reason": self.reason})

    # -- one session -------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        state = await self._store.state()
        self._is_pooled = await self._store.is_pooled()
        # Heard is from here on only what is committed later: positions at or below this one mean another log.
        self._heard_up_to = state.newest
        self._connection = connection = await connect(self._url, name="listener")
        loop = asyncio.get_running_loop()
        self._lost = loop.create_future()
        try:
            with answering_within(connection, _LISTEN_S, self._target):
                await connection.execute(SQL("listen {}").format(Identifier(state.channel)))
                # So that the statement on show in pg_stat_activity no longer names the channel.
                await connection.execute("select 1")
            # LISTEN first, then read the log: what commits in between is in both, and applying it twice is harmless.
            self._watched = connection.fileno()
            loop.add_reader(self._watched, self._on_readable, connection, state.channel)
            self._must_read.set()
            await self._supervise(state.channel)
        finally:
            self._unwatch()
            self._cancel_flush()
            self._inbox.clear()
            if self._lost.done():
                # Looked at, so that asyncio does not complain: often the reader met the same break first and raised.
                self._lost.exception()
            self._connection = None
            await asyncio.shield(connection.close())

    async def _supervise(self, channel: str) -> None:
        """Catch up whenever asked, and probe in between; raises `_Deaf` or what broke the connection."""
        loop = asyncio.get_running_loop()
        probe_due = loop.time()
        while True:
            if self._must_read.is_set():
                self._must_read.clear()
                await self.catch_up()
            if loop.time() >= probe_due:
                try:
                    await self._probe(channel)
                except _Deaf:
                    if not self._is_pooled:
                        raise
                    await self._poll()
                    raise
                await self._compare(channel)
                probe_due = loop.time() + self._times.probe_s
                if self.mode != "listening":
                    logger.info("Listening", extra={"action": "listener_listening"})
                    self.mode, self.reason = "listening", ""
                if self._while_idle is not None:
                    await self._while_idle()
            must_read = asyncio.create_task(self._must_read.wait())
            try:
                await asyncio.wait(
                    (must_read, self._lost),
                    timeout=max(0.0, probe_due - loop.time()),
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                must_read.cancel()
            if self._lost.done():
                self._lost.result()

    async def _probe(self, channel: str) -> None:
        nonce = secrets.token_hex(8)
        # Behind a pooler it is most likely in vain, and must not hold up the polling for long.
        timeout_s = max(1.0, self._times.poll_s if self._is_pooled else self._times.probe_s)
        heard = self._heard[nonce] = asyncio.get_running_loop().create_future()
        try:
            await self._store.probe(channel, f'{{"probe":"{nonce}"}}', timeout_s)
            done, _ = await asyncio.wait((heard, self._lost), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if self._lost in done:
                self._lost.result()
            if heard not in done:
                raise _Deaf
        finally:
            del self._heard[nonce]

    async def _compare(self, channel: str) -> None:
        """Look whether more has happened than was heard: a log that was replaced, commits while the queue was full."""
        asked_at = asyncio.get_running_loop().time()
        state = await self._store.state()
        if state.channel != channel:
            raise DatabaseUnavailable(f"flagent_cdc in {self._target} was installed anew")
        catalog = self._replica.catalog
        if (state.log, state.newest, state.stamp) == (catalog.log, catalog.position, self._stamp):
            self._proof.renew(asked_at)
        else:
            self._must_read.set()

    def _unwatch(self) -> None:
        if self._watched is not None:
            asyncio.get_running_loop().remove_reader(self._watched)
            self._watched = None

    def _on_readable(self, connection: psycopg.AsyncConnection[Any], channel: str) -> None:
        """The loop's callback: read what has arrived and publish it, now or when the gathering window ends."""
        pgconn = connection.pgconn
        try:
            with driver_errors(self._target):
                pgconn.consume_input()
                while (notify := pgconn.notifies()) is not None:
                    if notify.relname.decode() == channel:
                        self._on_notification(notify.extra.decode("utf-8", "replace"))
        except DatabaseError as error:
            # At once, before anybody looks at `_lost`: a closed socket stays readable, and its number is free again.
            self._unwatch()
            self._lose(error)
            return
        if self._inbox and self._flush_timer is None:
            loop = asyncio.get_running_loop()
            if loop.time() >= self._flush_at:
                self._flush()
            else:
                self._flush_timer = loop.call_at(self._flush_at, self._flush)

    def _lose(self, error: Exception) -> None:
        if not self._lost.done():
            self._lost.set_exception(error)

    def _on_notification(self, payload: str) -> None:
        self.notifications += 1
        match decode_notification(payload, self._loads):
            case Commit() as commit if self._tells_changes:
                self._hear(commit.position)
                self._inbox.append(commit)
            case Hint(position) | Commit(position):
                self._hear(position)
                if position > self._replica.catalog.position:
                    self._must_read.set()
            case Probe(nonce):
                if (heard := self._heard.get(nonce)) is not None and not heard.done():
                    heard.set_result(None)
            case None:
                logger.debug("A notification that is not ours", extra={"action": "notification_foreign"})

    def _hear(self, position: Position) -> None:
        if position <= self._heard_up_to:
            # Notifications come in the order of commits: this is another log, or nobody's commit.
            self._must_read.set()
        self._heard_up_to = position

    def _flush(self) -> None:
        self._cancel_flush()
        if self._is_reading and len(self._inbox) < _INBOX_COMMITS:
            return  # What the log says comes first: it also says whether this is still the same log.
        commits, self._inbox = self._inbox, []
        if self._must_read.is_set() or self._is_reading:
            self._must_read.set()
            return  # The log will bring these too, in their place after what is missing.
        following: list[Commit] = []
        position = self._replica.catalog.position
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
            try:
                self._publish(following)
            except Exception as error:
                self._lose(error)  # This is a callback: `run` hears of it there.
            # Waiting for others pays where a publication is dear, and no longer than it took: with few subscribers
            # nothing ever waits.
            ended = loop.time()
            took_s = ended - began
            self._flush_at = ended + (min(self._times.gather_s, took_s) if took_s >= _DEAR_S else 0.0)

    def _publish(self, commits: list[Commit]) -> None:
        self._replica.publish(commits)
        last = commits[-1]
        told = last.begin + len(last.changes)
        if last.ends:
            self._part = None
        else:
            # By its number in the log, which is its sequence where there is one.
            number = last.changes[-1].sequence or (last.indexes[-1] if last.indexes else told)
            self._part = (last.position, number, told)
        for commit in commits[-2:]:
            if commit.ends:
                self._stamp = CommitFingerprint.of(commit)

    def _is_of_new_schema(self, commit: Commit) -> bool:
        known = self._replica.catalog.schemas
        return any(change.table in FLAG_TABLES and change.schema not in known for change in commit.changes)

    def _cancel_flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None

    # -- the log -----------------------------------------------------------------------------------------------

    async def catch_up(self) -> None:
        """Read the log after the catalog's position until there is no more; what is heard meanwhile comes after it."""
        self._is_reading = True
        try:
            await self._read_log()
        finally:
            self._is_reading = False
        self._flush()

    async def _read_log(self) -> None:
        while True:
            asked_at = asyncio.get_running_loop().time()
            state = await self._store.state()
            reason = await self._why_not_continue(state)
            if reason is None and state.newest <= self._replica.catalog.position:
                if state.is_complete:
                    self._proof.renew(asked_at)
                return
            if reason is None:
                reason = await self._read_page()
            if reason is not None:
                logger.info("Loading the catalog", extra={"action": "catalog_loading", "reason": reason.value})
                bootstrap = await self._store.bootstrap()
                self._replica.replace(bootstrap.catalog(), reason)
                self._stamp, self._is_distrusted, self._part = bootstrap.stamp, False, None
            # Others get their turn between two pages of a long way back.
            await asyncio.sleep(0)

    async def _why_not_continue(self, state: LogState) -> ResyncReason | None:
        """Why the log does not continue the catalog; None where it does."""
        catalog = self._replica.catalog
        if state.log != catalog.log:
            return ResyncReason.LOG_REPLACED
        if self._is_distrusted:
            return ResyncReason.PRUNED
        if state.oldest is not None and state.newest < catalog.position:
            return ResyncReason.LOG_REPLACED
        if self._stamp is not None and state.oldest is not None:
            at_position = state.stamp
            if state.newest > catalog.position:
                at_position = await self._store.stamp(catalog.position)
            if at_position is not None and at_position != self._stamp:
                return ResyncReason.LOG_REPLACED
        return None if state.reaches(catalog.position) else ResyncReason.PRUNED

    async def _read_page(self) -> ResyncReason | None:
        """Publish the next commits, or the next part of one; a reason where they are no longer all in the log."""
        if self._part is not None:
            part = await self._store.next_part(*self._part, _CATCH_UP_CHANGES)
            if part is None:
                return ResyncReason.PRUNED
            self._publish([part])
            return None
        position = self._replica.catalog.position
        commits = await self._store.commits_after(position, _CATCH_UP_CHANGES, in_parts=self._in_parts)
        if not commits or not all(commit.changes for commit in commits):
            return ResyncReason.PRUNED
        # A hole in front may be a commit that failed, or some that were pruned since the state was asked for.
        if commits[0].position != position + 1 and not (await self._store.state()).reaches(position):
            return ResyncReason.PRUNED
        if any(map(self._is_of_new_schema, commits)):
            for schema in await self._store.attached_schemas():
                self._replica.catalog.attach(schema)
        self._publish(commits)
        return None

    async def _only_poll(self) -> None:
        """Follow a log that nobody notifies of; raises what breaks."""
        while not self._is_stopping:
            await self.catch_up()
            self.mode, self.reason = "polling", "nobody is notified of this stream"
            await asyncio.sleep(self._times.poll_s)

    async def _poll(self) -> None:
        """Read the log at intervals until notifications are worth another try; raises what breaks."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._times.probe_s * 12
        self.mode, self.reason = "polling", _POOLED
        logger.warning("Notifications are not heard", extra={"action": "listener_deaf", "reason": self.reason})
        while loop.time() < until:
            await self.catch_up()
            if self._while_idle is not None:
                await self._while_idle()
            await asyncio.sleep(self._times.poll_s)
