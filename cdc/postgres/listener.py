"""Keeps a replica current: hears notifications, proves that it hears, and reads the log where it did not.

A notification is a hint, the log is the truth. A notification that continues the catalog's position is applied as it
is; anything else (a gap, one too large to carry its changes, a new connection) makes the listener read the log after
the last position that it applied. While notifications do not arrive at all, behind a transaction-pooling PgBouncer for
instance, it polls, and says why.
"""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..core.backoff import Backoff
from ..core.flags.flag_tables import TABLES
from ..core.freshness import Freshness, FreshnessTracker
from ..core.log.change import Change, Commit, Hint, Probe, decode_notification
from ..core.log.continuity import Applied, Progress
from ..core.log.inbox import NotificationInbox
from ..core.log.position import LogId, Position
from ..core.steps import release_in_turns
from ..core.subscription.resume import ResyncReason
from ..database.database_url import redact
from ..errors import DatabaseError, DatabaseUnavailable, EarlierTimeline
from ..source.upstream import Replica
from .coalescer import Coalescer
from .log_reader import LogReader
from .notification_socket import NotificationSocket

__all__ = ["Listener", "ListenerOptions", "ListenerTimes"]

logger = logging.getLogger(__name__)

# Changes read from the log at a time while catching up.
_CATCH_UP_CHANGES = 5_000

# Changes looked at in one turn: about two milliseconds.
_TURN_CHANGES = 20_000

# Notifications that are kept while the log is read; beyond it the log is read again instead.
_INBOX_COMMITS = 10_000

# A wait that takes longer is logged: each has a deadline, but reading many rows may take minutes.
_LONG_WAIT_S = 10.0

_POOLED = (
    "a transaction-pooling PgBouncer is in between, which does not pass notifications on; "
    "point FLAGENT_CDC_DATABASE_URL at PostgreSQL itself or at a session pool"
)


@dataclass(frozen=True, slots=True)
class ListenerTimes:
    """In seconds. `coalesce_s` is the longest that commits wait for others, while publishing is expensive."""

    probe_s: float = 5.0
    poll_s: float = 1.0
    coalesce_s: float = 0.002
    backoff_s: float = 0.1
    backoff_max_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """How a lane is listened to.

    A lane that `is_polled` sends no notifications. Unless `carries_changes`, commits are announced by position alone,
    and a notification with changes is forged. `in_parts`: the replica takes large commits in parts.
    """

    is_polled: bool = False
    carries_changes: bool = True
    in_parts: bool = False


class _NotHeard(Exception):
    """The session does not receive the notifications of its own channel."""


class Listener:
    """The port `Follower` of a database; `mode` is `starting`, `listening`, `polling` or `disconnected`.

    `log` is the listener's own, which nothing else may ask: a question before its own could take minutes. `while_idle`
    is awaited after each probe and poll.
    """

    def __init__(
        self,
        url: str,
        log: LogReader,
        replica: Replica,
        times: ListenerTimes,
        options: ListenerOptions = ListenerOptions(),
        while_idle: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._url = url
        self._log = log
        self._replica = replica
        self._times = times
        self._options = options
        self._while_idle = while_idle
        self._tracker = FreshnessTracker(asyncio.get_running_loop().time())
        self._progress = Progress()
        self._coalescer = Coalescer(times.coalesce_s, self._flush)
        self._probes: dict[str, asyncio.Future[None]] = {}
        self._is_stopping = False
        # Of one session.
        self._socket: NotificationSocket | None = None
        self._inbox = NotificationInbox(Position(0), _INBOX_COMMITS)
        self._wake = asyncio.Event()
        self._warning = ""
        self.mode = "starting"
        self.reason = ""
        self.reconnects = 0
        self.notifications = 0

    def freshness(self) -> Freshness:
        """Fresh while a probe, a notification or a poll has lately proven that nothing is missing."""
        interval_s = self._times.poll_s if self.mode == "polling" else self._times.probe_s
        is_hearing = self.mode in ("listening", "polling")
        # The loop's clock; every request asks, and before Python 3.12 finding the loop is a system call.
        return self._tracker.freshness(time.monotonic(), interval_s, is_hearing=is_hearing)

    def stop(self) -> None:
        """Make `run` return soon, even where it waits for the database."""
        self._is_stopping = True
        self._log.shutdown_socket()
        if self._socket is not None:
            self._socket.shutdown()

    async def run(self) -> None:
        try:
            await self._run()
        finally:
            await self._log.close()

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        backoff = Backoff(
            first_s=self._times.backoff_s, most_s=self._times.backoff_max_s, proven_s=self._times.probe_s * 2
        )
        while not self._is_stopping:
            started = clock()
            try:
                await (self._only_poll() if self._options.is_polled else self._listen())
            except EarlierTimeline as error:
                self._on_earlier_timeline(error)
            except (_NotHeard, DatabaseError) as error:
                self._on_broken(error)
            except Exception:
                # Unknown, so perhaps from the middle of an apply. The follower must not end with it: load everything.
                self.mode, self.reason = "disconnected", "an internal error, see the server's log"
                self._progress.distrust()
                logger.exception("Listener failed", extra={"action": "listener_failed"})
            self.reconnects += 1
            if not self._is_stopping:
                await asyncio.sleep(backoff.pause_s(clock() - started, random.random()))  # noqa: S311 - jitter

    def _on_broken(self, error: Exception) -> None:
        if self._is_stopping or (self.mode == "polling" and isinstance(error, _NotHeard)):
            return
        self.mode, self.reason = "disconnected", str(error)
        if isinstance(error, _NotHeard):
            self.reason = "the session did not receive its own notification"
        logger.warning("Listener disconnected", extra={"action": "listener_disconnected", "reason": self.reason})

    @contextmanager
    def _waiting(self, what: str) -> Iterator[None]:
        """For `with` around what may take long: then it is logged, and shown as `reason`."""
        loop = asyncio.get_running_loop()
        began, before = loop.time(), self.reason

        def is_long() -> None:
            self.reason = f"waiting for the database, {what}"
            logger.warning("The listener waits", extra={"action": "listener_waiting", "reason": self.reason})

        timer = loop.call_later(_LONG_WAIT_S, is_long)
        try:
            yield
        finally:
            timer.cancel()
            took_s = loop.time() - began
            if took_s >= _LONG_WAIT_S:
                self.reason = before
                logger.info(
                    "The listener goes on",
                    extra={"action": "listener_continues", "waited_s": round(took_s, 1)},
                )

    def _on_earlier_timeline(self, error: EarlierTimeline) -> None:
        """Keep what is known, as stale; the address may lead to the right server again. Logged once for as long."""
        if self.reason != str(error):
            logger.error(
                "Refusing an old primary, which does not hold what was read already",
                extra={"action": "listener_earlier_timeline", "reason": str(error)},
            )
        self.mode, self.reason = "disconnected", str(error)

    # -- one session -------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        state = await self._log.state()
        is_pooled = await self._log.is_pooled()
        # From here on only later commits are announced: positions at or below this one mean another log.
        self._inbox = NotificationInbox(state.newest, _INBOX_COMMITS)
        self._socket = socket = await NotificationSocket.connect(self._url)
        try:
            # LISTEN first, then read the log: what commits in between is in both, and applying it twice is harmless.
            await socket.listen(state.channel, self._on_notifications)
            await self._supervise(socket, state.channel, is_pooled=is_pooled)
        finally:
            self._coalescer.cancel()
            self._socket = None
            await socket.close()

    async def _supervise(self, socket: NotificationSocket, channel: str, *, is_pooled: bool) -> None:
        """Catch up whenever needed, and probe in between; raises `_NotHeard` or what broke the connection."""
        clock = asyncio.get_running_loop().time
        probe_due = clock()
        while True:
            if self._inbox.must_read:
                await self.catch_up()
            if clock() >= probe_due:
                # Behind a pooler it is most likely in vain, and must not hold up the polling for long.
                timeout_s = max(1.0, self._times.poll_s if is_pooled else self._times.probe_s)
                try:
                    await self._probe(socket, channel, timeout_s)
                except _NotHeard:
                    if is_pooled:
                        await self._poll()
                    raise
                await self._compare(channel)
                probe_due = clock() + self._times.probe_s
                if self.mode != "listening":
                    logger.info("Listening", extra={"action": "listener_listening"})
                    self.mode, self.reason = "listening", self._warning
                await self._idle()
            if not self._inbox.must_read:
                await self._sleep(socket, max(0.0, probe_due - clock()))
            if socket.lost.done():
                socket.lost.result()

    async def _idle(self) -> None:
        if self._while_idle is not None:
            await self._while_idle()

    async def _sleep(self, socket: NotificationSocket, timeout_s: float) -> None:
        """Until the log must be read, the connection is lost, or the time is over."""
        self._wake.clear()
        waking = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait((waking, socket.lost), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()

    async def _probe(self, socket: NotificationSocket, channel: str, timeout_s: float) -> None:
        """Send a notification to the channel and wait for it; raises `_NotHeard` where it does not arrive."""
        nonce = secrets.token_hex(8)
        heard = self._probes[nonce] = asyncio.get_running_loop().create_future()
        try:
            await self._log.probe(channel, f'{{"probe":"{nonce}"}}', timeout_s)
            done, _ = await asyncio.wait((heard, socket.lost), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if socket.lost in done:
                socket.lost.result()
            if heard not in done:
                raise _NotHeard
        finally:
            del self._probes[nonce]

    async def _compare(self, channel: str) -> None:
        """Check whether more has happened than was heard: a log that was replaced, commits while the queue was full."""
        asked_at = asyncio.get_running_loop().time()
        state = await self._log.state()
        if state.channel != channel:
            raise DatabaseUnavailable(f"flagent_cdc in {redact(self._url)} was installed anew")
        applied = self._applied
        if (state.log, state.newest, state.stamp) == (applied.log, applied.position, applied.fingerprint):
            self._tracker.renew(asked_at)
        else:
            self._inbox.must_read = True
        for log in self._replica.other_logs.take():
            if await self._log.precedes(log):
                self._on_later_timeline(log, state.log)

    def _on_later_timeline(self, later: LogId, log: LogId) -> None:
        """Say that this may be an old primary. It is followed all the same: what a client sends must stop no server."""
        self._warning = self.reason = (
            f"clients have followed log {later}, which is on a later timeline of this database than its log {log}:"
            " it may be an old primary, left by a failover"
        )
        logger.error(
            "Following what may be an old primary",
            extra={"action": "listener_later_timeline", "reason": self._warning},
        )

    # -- notifications -----------------------------------------------------------------------------------------

    def _on_notifications(self, payloads: list[str]) -> None:
        """The socket's callback: take in what has arrived, and publish it now or when the coalescing window ends."""
        for payload in payloads:
            self._on_notification(payload)
        if len(self._inbox):
            self._coalescer.request()
        self._wake_if_needed()

    def _on_notification(self, payload: str) -> None:
        self.notifications += 1
        match decode_notification(payload):
            case Commit() as commit if self._options.carries_changes:
                self._inbox.hear(commit)
            case Hint(position) | Commit(position):
                self._inbox.hint(position, self._replica.catalog.position)
            case Probe(nonce):
                if (heard := self._probes.get(nonce)) is not None and not heard.done():
                    heard.set_result(None)
            case None:
                logger.debug("Foreign notification", extra={"action": "foreign_notification"})

    def _flush(self) -> None:
        """Publish the commits that were heard and continue the catalog."""
        self._coalescer.cancel()
        following = self._inbox.take(self._replica.catalog.position, self._is_of_known_schemas)
        if following:
            clock = asyncio.get_running_loop().time
            began = clock()
            try:
                self._publish(following)
            except Exception as error:
                assert self._socket is not None, "commits are heard in a session alone"
                self._socket.fail(error)  # This may be a callback; `run` handles it.
            self._coalescer.published(clock() - began)
        self._wake_if_needed()

    def _wake_if_needed(self) -> None:
        if self._inbox.must_read:
            self._wake.set()

    def _publish(self, commits: list[Commit]) -> None:
        self._replica.publish(commits)
        self._progress.advance(commits)

    async def _publish_read(self, commits: list[Commit]) -> None:
        await self._replica.publish_in_turns(commits)
        self._progress.advance(commits)

    def _is_of_known_schemas(self, commit: Commit) -> bool:
        """False where a schema was attached just now: its tables must be known as Flagent's first."""
        return self._are_known(commit.changes)

    def _are_known(self, changes: Sequence[Change]) -> bool:
        known = self._replica.catalog.schemas
        return all(change.table not in TABLES or change.schema in known for change in changes)

    # -- the log -----------------------------------------------------------------------------------------------

    async def catch_up(self) -> None:
        """Read the log after the catalog's position until there is no more; what is heard meanwhile comes after it."""
        self._inbox.begin_reading()
        try:
            await self._read_log()
        finally:
            self._inbox.end_reading()
        self._flush()

    async def _read_log(self) -> None:
        while True:
            asked_at = asyncio.get_running_loop().time()
            state = await self._log.state()
            applied = self._applied
            if state.log != applied.log and await self._log.precedes(applied.log):
                raise EarlierTimeline(
                    f"{redact(self._url)} is an old primary: its log {state.log} is on an earlier timeline than"
                    f" {applied.log}, which this server has followed since a failover; stop it, or let the URL lead to"
                    " the new primary. If the failover was undone on purpose, restart this server"
                )
            broken = await self._log.why_broken(applied, state)
            reason = None if broken is None else ResyncReason(broken)
            if reason is None and state.newest <= applied.position:
                if state.is_complete:
                    self._tracker.renew(asked_at)
                return
            if reason is None:
                with self._waiting("for the next commits"):
                    reason = await self._read_page()
            if reason is not None:
                logger.info("Loading the catalog", extra={"action": "catalog_loading", "reason": reason.value})
                with self._waiting("for all flags"):
                    catalog, stamp = await self._log.load()
                if catalog.log != applied.log:
                    self.reason, self._warning = "" if self.reason == self._warning else self.reason, ""
                self._replica.replace(catalog, reason)
                self._progress.load(stamp)
            # Everything else on the loop gets its turn between two pages of a long way back.
            await asyncio.sleep(0)

    @property
    def _applied(self) -> Applied:
        catalog = self._replica.catalog
        return self._progress.applied(catalog.log, catalog.position)

    async def _read_page(self) -> ResyncReason | None:
        """Publish the next commits, or the next part of one; a reason where they are no longer all in the log."""
        if self._progress.part is not None:
            part = await self._log.next_part(*self._progress.part, _CATCH_UP_CHANGES)
            if part is None:
                return ResyncReason.PRUNED
            await self._publish_read([part])
            return None
        position = self._replica.catalog.position
        commits = await self._log.commits_after(position, _CATCH_UP_CHANGES, in_parts=self._options.in_parts)
        if not commits or not all(commit.changes for commit in commits):
            return ResyncReason.PRUNED
        # A hole in front may be a commit that failed, or some that were pruned since the state was asked for.
        if commits[0].position != position + 1 and not (await self._log.state()).holds_all_after(position):
            return ResyncReason.PRUNED
        if not await self._are_of_known_schemas(commits):
            for schema in await self._log.attached_schemas():
                self._replica.catalog.attach(schema)
        await self._publish_read(commits)
        await _release(commits)
        return None

    async def _are_of_known_schemas(self, commits: list[Commit]) -> bool:
        for commit in commits:
            for start in range(0, len(commit.changes), _TURN_CHANGES):
                if start:
                    await asyncio.sleep(0)
                if not self._are_known(commit.changes[start : start + _TURN_CHANGES]):
                    return False
        return True

    async def _only_poll(self) -> None:
        """Follow a lane that sends no notifications; raises what breaks."""
        while not self._is_stopping:
            await self.catch_up()
            self.mode, self.reason = "polling", "this lane sends no notifications"
            await asyncio.sleep(self._times.poll_s)

    async def _poll(self) -> None:
        """Read the log at intervals until notifications are worth another try; raises what breaks."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._times.probe_s * 12
        self.mode, self.reason = "polling", _POOLED
        logger.warning(
            "Notifications do not arrive; polling", extra={"action": "listener_polling", "reason": self.reason}
        )
        while loop.time() < until:
            await self.catch_up()
            await self._idle()
            await asyncio.sleep(self._times.poll_s)


async def _release(commits: list[Commit]) -> None:
    """Let go of commits, of which one may have hundreds of thousands of changes."""
    while commits:
        changes = list(commits.pop().changes)
        if len(changes) > _CATCH_UP_CHANGES:
            for _ in release_in_turns(changes):
                await asyncio.sleep(0)
