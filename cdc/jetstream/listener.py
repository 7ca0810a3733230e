"""Keeps a replica current from a JetStream stream: the port `Follower` of a tier.

A consumer pushes the messages after the last one applied. It numbers its deliveries, and the JetStream stream its
messages, so a gap in either is seen at once; commits also name the position that they follow. A gap in delivery is read
again; what the JetStream stream no longer holds is loaded from the newest snapshot. Heartbeats show that the consumer
is alive. Only the active relay can confirm that nothing newer exists, so it is asked.
"""

import asyncio
import contextlib
import datetime
import logging
import random
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from ..core.backoff import Backoff
from ..core.flags.catalog import Catalog
from ..core.freshness import Freshness, FreshnessTracker
from ..core.log.change import Commit
from ..core.log.continuity import Step, step
from ..core.subscription.resume import ResyncReason
from ..core.wire.commit_message import Assembler, IncompleteCommit, PartHeader
from ..core.wire.notice import Notice, NoticeKind
from ..errors import NatsError, NatsUnavailable
from ..source.cancellation import cancel_and_wait
from ..source.upstream import Replica
from .address import NatsAddress
from .connection import Connection, connect, nats_errors
from .layout import Layout
from .log import JetStreamLog, take_part
from .relay_status import RelayStatus, ask_relay

__all__ = ["JetStreamListener", "StreamTimes"]

logger = logging.getLogger(__name__)

_HEARTBEAT_S = 1.0

# A consumer that has sent nothing for this many heartbeats is gone, with the server that ran it.
_MISSED_HEARTBEATS = 3

_BATCH_COMMITS = 500


@dataclass(frozen=True, slots=True)
class StreamTimes:
    """In seconds."""

    probe_s: float = 5.0
    backoff_s: float = 0.1
    backoff_max_s: float = 2.0


class _Gap(Exception):
    """What was delivered does not follow what was applied. With a `reason`, reading it again does not help."""

    def __init__(self, text: str, reason: ResyncReason | None = None) -> None:
        super().__init__(text)
        self.reason = reason


class JetStreamListener:
    """The port `Follower` of a tier, for one lane; `mode` is `starting`, `streaming` or `disconnected`."""

    def __init__(
        self, address: NatsAddress, layout: Layout, log: JetStreamLog, replica: Replica, times: StreamTimes
    ) -> None:
        self._address = address
        self._layout = layout
        self._log = log
        self._replica = replica
        self._times = times
        self._tracker = FreshnessTracker(asyncio.get_running_loop().time())
        self._is_stopping = False
        self._connection: Connection | None = None
        self._advanced = asyncio.Event()
        # Of the JetStream stream: the last message that was applied, and when it was created; a new one counts anew.
        self._sequence = 0
        self._created_at: datetime.datetime | None = None
        self._must_load: ResyncReason | None = ResyncReason.LOG_REPLACED
        # A loaded state that is older than the replica's: commits are applied to it until it is not.
        self._loaded: tuple[Catalog, ResyncReason] | None = None
        # Of one session.
        self._assembler = Assembler()
        self._batch: list[Commit] = []
        self._seen = 0
        self._delivered = 0
        self._heard_at = 0.0
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.mode = "starting"
        self.reason = ""
        self.reconnects = 0
        self.notifications = 0

    def freshness(self) -> Freshness:
        """Fresh while the relay has lately confirmed a position as the newest, and this node has reached it."""
        now = asyncio.get_running_loop().time()
        return self._tracker.freshness(now, self._times.probe_s, is_hearing=self.mode == "streaming")

    def stop(self) -> None:
        self._is_stopping = True
        self._log.shutdown_socket()
        self._break(NatsUnavailable("the listener is stopping"))

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        backoff = Backoff(
            first_s=self._times.backoff_s, most_s=self._times.backoff_max_s, proven_s=self._times.probe_s * 2
        )
        while not self._is_stopping:
            started = clock()
            try:
                await self._follow()
            except _Gap as gap:
                self._must_load = gap.reason or self._must_load
                logger.warning("A gap in the JetStream stream", extra={"action": "jetstream_gap", "reason": str(gap)})
            except NatsError as error:
                self._on_broken(error)
            except Exception:
                # Unknown, so perhaps from the middle of an apply. The follower must not end with it: load everything.
                self.mode, self.reason = "disconnected", "an internal error, see the server's log"
                self._must_load, self._loaded = ResyncReason.PRUNED, None
                logger.exception("Listener failed", extra={"action": "listener_failed"})
            self.reconnects += 1
            if not self._is_stopping:
                await asyncio.sleep(backoff.pause_s(clock() - started, random.random()))  # noqa: S311 - jitter

    def _on_broken(self, error: NatsError) -> None:
        if not self._is_stopping:
            self.mode, self.reason = "disconnected", str(error)
            logger.warning("Listener disconnected", extra={"action": "listener_disconnected", "reason": self.reason})

    # -- one session -------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        self._broken = loop.create_future()
        self._assembler, self._delivered = Assembler(), 0
        self._batch.clear()
        self._connection = connection = await connect(self._address, "listener")
        watching: list[asyncio.Task[None]] = []
        try:
            await self._prepare(connection)
            self._seen = self._sequence
            self._heard_at = loop.time()
            with nats_errors(str(self._address)):
                await self._consume(connection)
            watching += (
                asyncio.create_task(self._watch_heartbeats()),
                asyncio.create_task(self._probe_forever(connection)),
            )
            works = (*watching, self._broken, connection.lost)
            await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
            for work in works:
                if work.done():
                    work.result()
            raise NatsUnavailable(f"{self._address}: the connection was lost")
        finally:
            await cancel_and_wait(watching)
            if self._broken.done():
                self._broken.exception()  # Retrieved, so that asyncio does not complain.
            self._connection = None
            await asyncio.shield(connection.close())

    async def _prepare(self, connection: Connection) -> None:
        """Check that the JetStream stream continues what was applied, or load a snapshot that it continues."""
        with nats_errors(str(self._address)):
            info = await connection.jetstream.stream_info(self._layout.name)
        if info.created != self._created_at or info.state.last_seq < self._sequence:
            self._must_load = self._must_load or ResyncReason.PRUNED
            self._created_at = info.created
        elif info.state.first_seq > self._sequence + 1:
            self._must_load = self._must_load or ResyncReason.PRUNED
        if self._must_load is None:
            return
        snapshot = await self._log.snapshot()
        if info.state.first_seq > snapshot.sequence + 1 or info.state.last_seq < snapshot.sequence:
            raise NatsUnavailable(
                f"the JetStream stream {self._layout.name!r} does not continue the snapshot at position"
                f" {snapshot.bootstrap.position}; the relay will write another"
            )
        catalog, current = await snapshot.bootstrap.load(), self._replica.catalog
        reason = self._must_load if catalog.log == current.log else ResyncReason.LOG_REPLACED
        logger.info("Catalog loaded", extra={"action": "catalog_loading", "reason": reason.value})
        self._loaded, self._sequence, self._must_load = (catalog, reason), snapshot.sequence, None
        self._switch()

    def _switch(self) -> None:
        """Give the replica what was loaded, unless that is older than what it has, and what it has is not lost."""
        if self._loaded is not None:
            (catalog, reason), current = self._loaded, self._replica.catalog
            if reason is ResyncReason.LOG_REPLACED or catalog.position >= current.position:
                self._loaded = None
                self._replica.replace(catalog, reason)
                self._advance()

    async def _consume(self, connection: Connection) -> None:
        client = connection.client
        inbox = client.new_inbox()

        async def on_message(message: Msg) -> None:
            try:
                await self._on_message(connection, subscription, message)
            except Exception as error:  # A callback; `run` handles it.
                self._break(error)

        subscription = await client.subscribe(inbox, cb=on_message, pending_bytes_limit=-1, pending_msgs_limit=-1)
        config = ConsumerConfig(
            deliver_subject=inbox,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self._sequence + 1,
            ack_policy=AckPolicy.NONE,
            flow_control=True,
            idle_heartbeat=_HEARTBEAT_S,
            inactive_threshold=10.0,
            num_replicas=1,
            mem_storage=True,
            max_deliver=1,
        )
        await connection.jetstream.add_consumer(self._layout.name, config)
        if self.mode != "streaming":
            logger.info("Streaming", extra={"action": "listener_listening", "sequence": self._sequence})
        self.mode, self.reason = "streaming", ""

    def _break(self, error: Exception) -> None:
        if not self._broken.done():
            self._broken.set_exception(error)

    async def _watch_heartbeats(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            if asyncio.get_running_loop().time() - self._heard_at > _HEARTBEAT_S * _MISSED_HEARTBEATS:
                raise NatsUnavailable(f"{self._address}: no heartbeat from the JetStream stream")

    # -- messages ----------------------------------------------------------------------------------------------

    async def _on_message(self, connection: Connection, subscription: Subscription, message: Msg) -> None:
        if self._broken.done():
            return
        self._heard_at = asyncio.get_running_loop().time()
        if message.headers and message.headers.get("Status") == "100":
            # A heartbeat, or a request to confirm that everything before it was taken.
            stalled = message.reply or message.headers.get("Nats-Consumer-Stalled")
            if stalled:
                await connection.client.publish(stalled)
        else:
            self._count(message)
            await self._take(message, self._seen)
        # After any message: the last one that waits may be a heartbeat.
        if self._batch and (subscription.pending_msgs == 0 or len(self._batch) >= _BATCH_COMMITS):
            self._flush()

    def _count(self, message: Msg) -> None:
        self.notifications += 1
        numbers = message.metadata.sequence
        if numbers.consumer != self._delivered + 1:
            raise _Gap(f"delivery {numbers.consumer} came after {self._delivered}")
        if numbers.stream != self._seen + 1:
            raise _Gap(f"message {numbers.stream} came after {self._seen}", ResyncReason.PRUNED)
        self._delivered, self._seen = numbers.consumer, numbers.stream

    async def _take(self, message: Msg, sequence: int) -> None:
        if (header := PartHeader.read(message.headers)) is not None:
            match await take_part(self._assembler, header, message.data):
                case Commit() as commit:
                    self._check(header)
                    self._batch.append(commit)
                    self._sequence = sequence
                case IncompleteCommit(position):
                    raise _Gap(f"parts of the commit {position} are missing", ResyncReason.PRUNED)
            return
        self._flush()
        if (notice := Notice.read(message.headers, message.data)) is None:
            logger.warning("Foreign message in the JetStream stream", extra={"action": "foreign_message"})
        elif notice.kind is NoticeKind.SCHEMAS:
            for schema in notice.schemas:
                self._catalog.attach(schema)
        elif self._begins_anew(notice):
            raise _Gap(f"the log {notice.log} begins at {notice.position}", notice.reason)
        self._sequence = sequence

    def _begins_anew(self, notice: Notice) -> bool:
        """Whether the catalog must be loaded again at an origin; not where it is from the snapshot of that origin."""
        log, position = self._catalog.log, self._catalog.position
        is_lost = notice.reason is ResyncReason.LOG_REPLACED and notice.position < position
        return notice.log != log or notice.position > position or is_lost

    @property
    def _catalog(self) -> Catalog:
        return self._replica.catalog if self._loaded is None else self._loaded[0]

    def _check(self, header: PartHeader) -> None:
        position = self._batch[-1].position if self._batch else self._catalog.position
        if header.log != self._catalog.log:
            raise _Gap(f"the commit {header.position} belongs to log {header.log}", ResyncReason.LOG_REPLACED)
        if step(position, header.position, header.after) is Step.GAP:
            raise _Gap(f"the commit {header.position} follows {header.after}, not {position}", ResyncReason.PRUNED)

    def _flush(self) -> None:
        commits, self._batch = self._batch, []
        if not commits:
            return
        if self._loaded is None:
            self._replica.publish(commits)
        else:
            for commit in commits:
                self._loaded[0].apply(commit)
            self._switch()
        self._advance()

    def _advance(self) -> None:
        self._advanced.set()
        self._advanced = asyncio.Event()

    # -- freshness ---------------------------------------------------------------------------------------------

    async def _probe_forever(self, connection: Connection) -> None:
        while True:
            started = asyncio.get_running_loop().time()
            await self._probe(connection, started)
            await asyncio.sleep(max(0.1, started + self._times.probe_s - asyncio.get_running_loop().time()))

    async def _probe(self, connection: Connection, asked_at: float) -> None:
        """Ask the relay how far the log is, and wait to get there: then everything up to that moment was applied."""
        try:
            status = await ask_relay(connection.client, self._layout)
        except NatsUnavailable as error:
            self.reason = str(error)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._times.probe_s):
                while not self._has_reached(status):
                    await self._advanced.wait()
                self._tracker.renew(asked_at - status.age_s)
                self.reason = ""
                return
        self.reason = "behind the relay"

    def _has_reached(self, status: RelayStatus) -> bool:
        catalog = self._replica.catalog
        return self._loaded is None and catalog.log == status.log and catalog.position >= status.position
