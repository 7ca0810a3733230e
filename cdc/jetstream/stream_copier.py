"""Copies one lane from the log in PostgreSQL into its JetStream stream: in order, each commit once.

The listener of an ordinary node reports new commits and a replaced log; what it has not heard is read from the log. How
far the copy is, the end of the JetStream stream says; it is read at the beginning and whenever the log was replaced.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from nats.aio.msg import Msg

from ..core.log.change import Commit
from ..core.log.continuity import Applied
from ..core.log.lane import FLAGS, Lane
from ..core.log.position import LogId, Position
from ..core.subscription.resume import ResyncReason
from ..core.wire.commit_message import PartHeader, pack
from ..core.wire.notice import Notice, NoticeKind
from ..errors import ForeignStream, NatsMismatch
from ..postgres.log_reader import LogReader
from ..postgres.upstream import PostgresUpstream
from ..settings.settings import Settings
from ..source.cancellation import stop_and_wait
from ..source.upstream import Follower
from .connection import Connection, nats_errors
from .layout import Layout, Limits, prepare
from .log import Tail, read_tail
from .publisher import Outgoing, Publisher
from .relay_replica import RelayReplica
from .relay_status import RelayStatus
from .snapshot import Pointer, Snapshot, read_pointer, write_snapshot

__all__ = ["StreamCopier"]

logger = logging.getLogger(__name__)

_DOUBT_S = 0.2

_PAGE_CHANGES = 5_000

# A larger commit is written in another thread: the probes of nodes are answered meanwhile.
_LARGE_CHARACTERS = 1024 * 1024

# What headers, subject and protocol take of a message; and the least that a message must hold, for the chunks of the
# object store too.
_OVERHEAD_BYTES = 4096
_LEAST_PAYLOAD = 256 * 1024


class StreamCopier:
    """One lane, for as long as this relay is active, on one connection to NATS; ends by raising."""

    def __init__(
        self,
        settings: Settings,
        url: str,
        connection: Connection,
        target: str,
        lane: Lane,
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._target = target
        self._lane = lane
        self._layout = Layout(settings.nats.stream).of(lane)
        self._limits = Limits.of(settings)
        self._heard = RelayReplica()
        source = PostgresUpstream(settings, url, in_parts=False).open(self._heard, lane)
        self._listener: Follower = source.listener
        self._source_log = source.log
        # Where all nodes are fed by JetStream, only the relay prunes the change log and looks after the capture.
        self._upkeep = [each for each in (source.maintenance, source.capture) if each is not None]
        # Separate from the listener's, which must not wait while all tables are read.
        self._log_reader = LogReader(url, lane)
        self._database: str | None = None
        self._publisher = Publisher(connection, target, 0)
        self._limit_bytes = min(connection.max_payload, 1024 * 1024) - _OVERHEAD_BYTES
        self._log = LogId("none")
        self._position = Position(0)
        self._begun: tuple[PartHeader, bytes] | None = None
        self._pointer: Pointer | None = None
        self._schemas: tuple[str, ...] = ()
        self._bytes_since_snapshot = 0
        self._snapshot_lock = asyncio.Lock()
        self._due = asyncio.Event()
        self.copying = asyncio.Event()

    async def run(self) -> None:
        works = [asyncio.create_task(work) for work in (self._copy(), self._keep_snapshots())]
        parts = [self._listener, *self._upkeep]
        following = [asyncio.create_task(part.run()) for part in parts]
        try:
            ending = (*works, following[0])
            await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
            for work in ending:
                if work.done():
                    work.result()
        finally:
            self.copying.clear()
            for work in works:
                work.cancel()
            self._log_reader.shutdown_socket()
            await stop_and_wait(parts, following, works)
            await self._source_log.close()
            await self._log_reader.close()

    # -- copying -----------------------------------------------------------------------------------------------

    async def _copy(self) -> None:
        if self._connection.max_payload < _LEAST_PAYLOAD:
            raise NatsMismatch(
                f"{self._target}: max_payload is {self._connection.max_payload}, but must be at least {_LEAST_PAYLOAD}"
            )
        with nats_errors(self._target):
            await prepare(self._connection.jetstream, self._layout, self._limits)
        while True:
            await self._heard.arrived.wait()
            self._heard.arrived.clear()
            while True:
                if self._heard.must_compare:
                    await self._compare()
                await self._announce_schemas()
                commits = self._heard.take_after(self._position)
                if not commits and self._position < self._heard.catalog.position:
                    commits = await self._log_reader.commits_after(self._position, _PAGE_CHANGES)
                    if not commits or not all(commit.changes for commit in commits):
                        # Pruned before they could be copied, or a forged notification: the listener finds that out.
                        self._heard.must_compare = True
                        await asyncio.sleep(_DOUBT_S)
                        continue
                if not commits:
                    break
                await self._publish(commits)

    async def _publish(self, commits: Sequence[Commit]) -> None:
        messages: list[Outgoing] = []
        position = self._position
        for commit in commits:
            messages += await self._messages(commit, position, self._publisher.sequence + len(messages) + 1)
            position = commit.position
        await self._publisher.publish(messages)
        self._position, self._begun = position, None
        self._bytes_since_snapshot += sum(len(message.data) for message in messages)
        if self._bytes_since_snapshot > self._limits.max_bytes // 8:
            self._due.set()

    async def _messages(self, commit: Commit, after: Position, start: int) -> list[Outgoing]:
        arguments = (commit, self._log, self._limit_bytes)
        is_large = commit.characters > _LARGE_CHARACTERS
        parts = await asyncio.to_thread(pack, *arguments) if is_large else pack(*arguments)
        if self._begun is not None and self._begun[0].position == commit.position:
            header, data = self._begun
            if header.of == len(parts) and parts[header.number - 1].data == data:
                # The relay before this one stopped in the middle of this commit; the rest of its parts follow.
                start = header.start
                parts = parts[header.number :]
        messages = []
        for part in parts:
            header = PartHeader(
                self._log,
                commit.position,
                after,
                commit.committed_at,
                commit.xid,
                part.number,
                part.of,
                start,
                part.continues,
            )
            subject = self._layout.change(part.schema, part.table)
            messages.append(Outgoing(subject, part.data, header.headers(), header.message_id))
        return messages

    async def _announce_schemas(self) -> None:
        schemas = self._heard.catalog.schemas
        if not set(schemas) <= set(self._schemas):
            await self._notify(Notice(NoticeKind.SCHEMAS, self._log, self._position, schemas))
            self._schemas = schemas

    async def _notify(self, notice: Notice) -> None:
        subject = self._layout.origin if notice.kind is NoticeKind.ORIGIN else self._layout.schemas
        id = f"{notice.kind}:{notice.log}:{notice.position}:{self._publisher.sequence}"
        await self._publisher.publish([Outgoing(subject, notice.data(), notice.headers(), id)])

    # -- the end of the JetStream stream -------------------------------------------------------------------------------

    async def _compare(self) -> None:
        """Continue at the end of the JetStream stream, or begin it anew where the log does not continue it."""
        self._heard.must_compare = False
        jetstream = self._connection.jetstream
        with nats_errors(self._target):
            tail = await read_tail(jetstream, self._layout)
            self._pointer = await read_pointer(jetstream, self._layout)
        self._publisher.sequence = tail.sequence
        reason = await self._why_broken(tail)
        if reason is ResyncReason.LOG_REPLACED:
            await self._refuse_foreign(tail)
        if reason is None and tail.log is not None:
            self._log, self._position, self._begun = tail.log, tail.position, tail.begun
            self._schemas = () if self._pointer is None else self._pointer.schemas
            if self._pointer is None or self._pointer.log != self._log or self._pointer.database is None:
                await self._snapshot()
        else:
            reason = reason or ResyncReason.LOG_REPLACED
            snapshot = await self._snapshot()
            self._log, self._position, self._begun = snapshot.log, snapshot.position, None
            self._schemas = snapshot.schemas
            await self._notify(Notice(NoticeKind.ORIGIN, self._log, self._position, self._schemas, reason))
        logger.info(
            "Copying",
            extra={
                "action": "relay_copying",
                "log": self._log,
                "position": self._position,
                "sequence": self._publisher.sequence,
                "origin": None if reason is None else reason.value,
            },
        )
        if not self.copying.is_set():
            with nats_errors(self._target):
                await self._connection.client.subscribe(self._layout.probe, cb=self._answer)
            self.copying.set()

    async def _refuse_foreign(self, tail: Tail) -> None:
        """Refuse to write over the copy of another database, unless this log continues it, or `--adopt` names it.

        Where two primaries run, the one that was promoted last goes on, and the other one's relay ends here. Only the
        default lane is checked; the others follow it.
        """
        log = (await self._log_reader.state()).log
        if self._lane != FLAGS or tail.log in (None, log):
            return
        assert tail.log is not None
        if await self._log_reader.succeeds(tail.log):
            logger.warning(
                "Continuing after a failover, with a new log", extra={"action": "relay_new_log", "before": tail.log}
            )
        elif self._settings.nats.adopt == tail.log:
            logger.warning(
                "Replacing the copy of another log", extra={"action": "relay_adopting", "before": tail.log, "log": log}
            )
        else:
            raise ForeignStream(
                f"the JetStream stream {self._layout.name!r} at {self._target} is the copy of log {tail.log}, up to"
                f" position {tail.position}; this database has log {log}, which is not known to continue it. If this is"
                " an old primary, or a copy, it must not write there: use another --nats-stream, or stop it. If this"
                f" database was restored and replaces that one, pass --adopt {tail.log}: all subscribers then resync"
            )

    async def _why_broken(self, tail: Tail) -> ResyncReason | None:
        """Why the log does not continue the JetStream stream; None where it does."""
        state = await self._log_reader.state()
        if tail.log is None:
            return ResyncReason.LOG_REPLACED
        broken = await self._log_reader.why_broken(Applied(tail.log, tail.position, tail.stamp), state)
        return None if broken is None else ResyncReason(broken)

    # -- beside the JetStream stream -------------------------------------------------------------------------

    async def _answer(self, message: Msg) -> None:
        """Answer a node that asks whether it is current: it is, once it has everything up to this position."""
        freshness = self._listener.freshness()
        if self._heard.must_compare or not self.copying.is_set():
            return
        catalog = self._heard.catalog
        status = RelayStatus(
            catalog.log, catalog.position, freshness.fresh, freshness.age_ms / 1000, self._listener.reason
        )
        if message.reply:
            await self._connection.client.publish(message.reply, status.data())

    async def _snapshot(self) -> Pointer:
        async with self._snapshot_lock:
            self._due.clear()
            self._bytes_since_snapshot = 0
            sequence = self._publisher.sequence
            bootstrap = await self._log_reader.bootstrap()
            self._database = self._database or await self._log_reader.database()
            with nats_errors(self._target):
                self._pointer = await write_snapshot(
                    self._connection.jetstream,
                    self._layout,
                    Snapshot(bootstrap, sequence, self._database),
                    self._pointer,
                )
            return self._pointer

    async def _keep_snapshots(self) -> None:
        """Write a snapshot when something has changed since the last one: at intervals, or sooner when much has."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.nats.snapshot_interval_s):
                    await self._due.wait()
            pointer = self._pointer
            is_current = pointer is None or (pointer.log, pointer.position) == (self._log, self._position)
            if not is_current and not self._heard.must_compare:
                await self._snapshot()
