"""One stream on its way from the log in PostgreSQL into JetStream: in order, once, and where it stands.

The listener of an ordinary node tells of new commits and of a log that was replaced; what it has not heard is read from
the log. Where the copy stands is read from the stream's own end, at the beginning and whenever the log was replaced.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence

from nats.aio.msg import Msg

from ..core.flags.catalog import Catalog
from ..core.log.change import Commit
from ..core.log.lane import FLAGS, Lane
from ..core.log.position import LogId, Position
from ..core.subscription.resume import ResyncReason
from ..core.text import exact_json
from ..core.wire.commit_message import PartHeader, pack
from ..core.wire.notice import Notice, NoticeKind
from ..errors import ForeignStream, NatsMismatch
from ..postgres.log_reader import LogReader
from ..postgres.upstream import PostgresUpstream
from ..settings.settings import Settings
from ..source.upstream import Follower, LogState
from .cancellation import end
from .connection import Connection, nats_errors
from .layout import Layout, Limits, prepare
from .log import Tail, read_tail
from .publisher import Outgoing, Publisher
from .relay_status import RelayStatus
from .snapshot import Pointer, Snapshot, read_pointer, write_snapshot

__all__ = ["StreamCopier"]

logger = logging.getLogger(__name__)

_STOP_S = 0.5
_DOUBT_S = 0.2

# Commits that were heard and wait to be copied; beyond it they are read from the log again.
_INBOX_COMMITS = 2_000
_PAGE_CHANGES = 5_000

# What headers, subject and protocol take of a message; and the least that a message must hold, for the chunks of the
# object store too.
_OVERHEAD_BYTES = 4096
_LEAST_PAYLOAD = 256 * 1024


class Inbox:
    """The port `Replica` of a relay: keeps no state, only what was heard of and is still to be copied."""

    def __init__(self) -> None:
        self.catalog = Catalog(LogId("none"))
        self.arrived = asyncio.Event()
        self.must_compare = True
        self._commits: deque[Commit] = deque()
        self._after = Position(0)

    def publish(self, commits: Sequence[Commit]) -> None:
        if len(self._commits) + len(commits) > _INBOX_COMMITS:
            self._commits.clear()
        if not self._commits:
            self._after = self.catalog.position
        self._commits.extend(commits)
        self.catalog.position = commits[-1].position
        self.arrived.set()

    def replace(self, catalog: Catalog, reason: ResyncReason) -> None:
        # Without the rows, which nobody asks for here.
        self.catalog = Catalog(catalog.log, catalog.position)
        for schema in catalog.schemas:
            self.catalog.attach(schema)
        self._commits.clear()
        self.must_compare = True
        self.arrived.set()

    def take_after(self, position: Position) -> list[Commit]:
        """All that was heard of after `position`; nothing where what comes next was not heard of."""
        if not self._commits or position < self._after:
            return []
        commits = [commit for commit in self._commits if commit.position > position]
        self._commits.clear()
        return commits


class StreamCopier:
    """One stream, for one time of being active, on one connection to NATS; ends by raising."""

    def __init__(
        self,
        settings: Settings,
        url: str,
        connection: Connection,
        target: str,
        stream: Lane,
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._target = target
        self._stream = stream
        self._layout = Layout(settings.nats.stream).of(stream)
        self._limits = Limits.of(settings)
        self._inbox = Inbox()
        # Rows only pass through here, and no number may lose a digit.
        source = PostgresUpstream(settings, url, exact_json.loads, in_parts=False).open(self._inbox, stream)
        self._listener: Follower = source.listener
        self._heard_log = source.log
        # Where all nodes are fed from here, nobody else keeps the log from growing.
        self._upkeep = source.maintenance
        # Apart from the listener's, which must not wait while all tables are read.
        self._store = LogReader(url, stream, exact_json.loads)
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
        # Cut, not cancelled: the driver would first ask a database, which may be silent, to cancel its query.
        severed = [asyncio.create_task(self._listener.run())]
        if self._upkeep is not None:
            severed.append(asyncio.create_task(self._upkeep.run()))
        try:
            await asyncio.wait([*works, severed[0]], return_when=asyncio.FIRST_COMPLETED)
            for work in (*works, severed[0]):
                if work.done():
                    work.result()
        finally:
            self.copying.clear()
            for work in works:
                work.cancel()
            self._store.sever()
            self._listener.stop()
            if self._upkeep is not None:
                self._upkeep.stop()
            await asyncio.wait(severed, timeout=_STOP_S)
            await end((*works, *severed))
            await self._heard_log.close()
            await self._store.close()

    # -- copying -----------------------------------------------------------------------------------------------

    async def _copy(self) -> None:
        if self._connection.max_payload < _LEAST_PAYLOAD:
            raise NatsMismatch(
                f"{self._target}: max_payload is {self._connection.max_payload}, wanted are at least {_LEAST_PAYLOAD}"
            )
        with nats_errors(self._target):
            await prepare(self._connection.jetstream, self._layout, self._limits)
        while True:
            await self._inbox.arrived.wait()
            self._inbox.arrived.clear()
            while True:
                if self._inbox.must_compare:
                    await self._compare()
                await self._announce_schemas()
                commits = self._inbox.take_after(self._position)
                if not commits and self._position < self._inbox.catalog.position:
                    commits = await self._store.commits_after(self._position, _PAGE_CHANGES)
                    if not commits or not all(commit.changes for commit in commits):
                        # Pruned before they could be copied, or heard of and never made: the listener finds that out.
                        self._inbox.must_compare = True
                        await asyncio.sleep(_DOUBT_S)
                        continue
                if not commits:
                    break
                await self._publish(commits)

    async def _publish(self, commits: Sequence[Commit]) -> None:
        messages: list[Outgoing] = []
        position = self._position
        for commit in commits:
            messages += self._messages(commit, position, self._publisher.sequence + len(messages) + 1)
            position = commit.position
        await self._publisher.publish(messages)
        self._position, self._begun = position, None
        self._bytes_since_snapshot += sum(len(message.data) for message in messages)
        if self._bytes_since_snapshot > self._limits.max_bytes // 8:
            self._due.set()

    def _messages(self, commit: Commit, after: Position, start: int) -> list[Outgoing]:
        parcels = pack(commit, self._log, self._limit_bytes)
        if self._begun is not None and self._begun[0].position == commit.position:
            label, data = self._begun
            if label.of == len(parcels) and parcels[label.part - 1].data == data:
                # The relay before this one was cut off in the middle: the rest is as it would have been.
                start = label.start
                parcels = parcels[label.part :]
        messages = []
        for parcel in parcels:
            label = PartHeader(
                self._log,
                commit.position,
                after,
                commit.committed_at,
                commit.xid,
                parcel.part,
                parcel.of,
                start,
                parcel.continues,
            )
            subject = self._layout.change(parcel.schema, parcel.table)
            messages.append(Outgoing(subject, parcel.data, label.headers(), label.message_id))
        return messages

    async def _announce_schemas(self) -> None:
        schemas = self._inbox.catalog.schemas
        if not set(schemas) <= set(self._schemas):
            await self._notify(Notice(NoticeKind.SCHEMAS, self._log, self._position, schemas))
            self._schemas = schemas

    async def _notify(self, notice: Notice) -> None:
        subject = self._layout.origin if notice.kind is NoticeKind.ORIGIN else self._layout.schemas
        id = f"{notice.kind}:{notice.log}:{notice.position}:{self._publisher.sequence}"
        await self._publisher.publish([Outgoing(subject, notice.data(), notice.headers(), id)])

    # -- where the stream stands -------------------------------------------------------------------------------

    async def _compare(self) -> None:
        """Continue where the stream ends, or begin it anew where the log does not continue it."""
        self._inbox.must_compare = False
        jetstream = self._connection.jetstream
        with nats_errors(self._target):
            tail = await read_tail(jetstream, self._layout)
            self._pointer = await read_pointer(jetstream, self._layout)
        self._publisher.sequence = tail.sequence
        reason = await self._why_not_continue(tail)
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
        """Leave alone what another database's relay writes, unless this one comes after it, or was told to.

        Where two primaries run, the one that was promoted last goes on, and the other one's relay ends here. Only the
        stream of the flags is asked: those of tables are under its roof.
        """
        log = (await self._store.state()).log
        if self._stream != FLAGS or tail.log in (None, log):
            return
        assert tail.log is not None
        if await self._store.succeeds(tail.log):
            logger.warning("The log goes on after a failover", extra={"action": "relay_succeeds", "before": tail.log})
        elif self._settings.nats.adopt == tail.log:
            logger.warning("Another log is replaced", extra={"action": "relay_adopts", "before": tail.log, "log": log})
        else:
            raise ForeignStream(
                f"the stream {self._layout.name!r} at {self._target} is the copy of the log {tail.log}, up to position"
                f" {tail.position}, and this database's log is {log}, which is not known to come after it. If this is"
                " an old primary, or a copy, it must not write there: use another --stream, or stop it. If this"
                f" database was restored and is to replace that one, say --adopt {tail.log}: all subscribers begin anew"
            )

    async def _why_not_continue(self, tail: Tail) -> ResyncReason | None:
        """Why the log does not continue the stream; None where it does."""
        state: LogState = await self._store.state()
        if tail.log != state.log:
            return ResyncReason.LOG_REPLACED
        if state.oldest is not None and state.newest < tail.position:
            return ResyncReason.LOG_REPLACED
        if tail.stamp is not None:
            stamp = await self._store.stamp(tail.stamp.position)
            if stamp is not None and stamp != tail.stamp:
                return ResyncReason.LOG_REPLACED
        return None if state.reaches(tail.position) else ResyncReason.PRUNED

    # -- what stands beside the stream -------------------------------------------------------------------------

    async def _answer(self, message: Msg) -> None:
        """A node asks whether it is current: it is, once it has what was heard of here."""
        freshness = self._listener.freshness()
        if self._inbox.must_compare or not self.copying.is_set():
            return
        catalog = self._inbox.catalog
        word = RelayStatus(
            catalog.log, catalog.position, freshness.fresh, freshness.age_ms / 1000, self._listener.reason
        )
        if message.reply:
            await self._connection.client.publish(message.reply, word.data())

    async def _snapshot(self) -> Pointer:
        async with self._snapshot_lock:
            self._due.clear()
            self._bytes_since_snapshot = 0
            sequence = self._publisher.sequence
            bootstrap = await self._store.bootstrap()
            self._database = self._database or await self._store.database()
            with nats_errors(self._target):
                self._pointer = await write_snapshot(
                    self._connection.jetstream,
                    self._layout,
                    Snapshot(bootstrap, sequence, self._database),
                    self._pointer,
                )
            return self._pointer

    async def _keep_snapshots(self) -> None:
        """A new one when something has changed since the last: at intervals, or sooner when much has."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.nats.snapshot_interval_s):
                    await self._due.wait()
            pointer = self._pointer
            is_current = pointer is None or (pointer.log, pointer.position) == (self._log, self._position)
            if not is_current and not self._inbox.must_compare:
                await self._snapshot()
