"""One lane's log as JetStream holds it.

Positions grow along the JetStream stream from its last origin on, so a position is found by bisection; commits are read
through a short-lived consumer. What the JetStream stream no longer holds, or holds before an origin, is out of reach,
like what PostgreSQL has pruned.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import nats.js.errors
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext

from ..core.log.change import Commit
from ..core.log.position import LogId, Position
from ..core.wire.commit_message import Assembler, IncompleteCommit, PartHeader
from ..core.wire.notice import Notice
from ..errors import NatsUnavailable
from ..source.log import Bootstrap, CommitFingerprint, LogState
from .address import NatsAddress
from .connection import Link
from .layout import Layout
from .snapshot import Snapshot, read_pointer, read_snapshot

__all__ = ["JetStreamLog", "Record", "Tail", "read_tail", "take_part"]

# Messages read at a time, and about how many bytes; most messages are below 2 kB.
_BLOCK = 500
_BLOCK_BYTES = 8 * 1024 * 1024

_READ_S = 10.0

# Reading a larger message takes more than about ten milliseconds.
_LARGE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a JetStream stream: `position` of `log`, which is None while nothing was copied to it.

    `begun` is the last part of a commit that is not complete yet, and its data; the position is then the one before.
    """

    sequence: int
    log: LogId | None
    position: Position
    stamp: CommitFingerprint | None = None
    begun: tuple[PartHeader, bytes] | None = None


Record = PartHeader | Notice


async def read_tail(jetstream: JetStreamContext, layout: Layout) -> Tail:
    """Ask the leader of the JetStream stream for its end; raises `NatsUnavailable` where it does not exist."""
    first, last = await _bounds(jetstream, layout)
    for sequence in range(last, first - 1, -1):
        match await _record(jetstream, layout, sequence):
            case PartHeader() as header, data:
                if not header.is_last:
                    return Tail(last, header.log, header.after, None, (header, data))
                return Tail(last, header.log, header.position, header.stamp)
            case Notice() as notice, _:
                return Tail(last, notice.log, notice.position)
    # Every message has expired since the last change: the newest snapshot still says where it ended.
    pointer = await read_pointer(jetstream, layout)
    if pointer is None or pointer.sequence > last:
        return Tail(last, None, Position(0))
    return Tail(last, pointer.log, pointer.position, pointer.stamp)


async def _bounds(jetstream: JetStreamContext, layout: Layout) -> tuple[int, int]:
    """The first and the last sequence number; while it is empty, the first is one after the last."""
    try:
        state = (await jetstream.stream_info(layout.name)).state
    except nats.js.errors.NotFoundError as error:
        raise NatsUnavailable(
            f"there is no JetStream stream {layout.name!r} yet; `flagent-cdc relay` creates it"
        ) from error
    return (state.first_seq, state.last_seq) if state.messages else (state.last_seq + 1, state.last_seq)


async def _record(jetstream: JetStreamContext, layout: Layout, sequence: int) -> tuple[Record, bytes] | None:
    """One message of the relay; None for a foreign one, or one that is gone."""
    try:
        message = await jetstream.get_msg(layout.name, seq=sequence)
    except nats.js.errors.NotFoundError:
        return None
    data = message.data or b""
    record = PartHeader.read(message.headers) or Notice.read(message.headers, data)
    return None if record is None else (record, data)


class JetStreamLog:
    """The port `Log` of a tier, for one lane, over one connection of its own."""

    def __init__(self, address: NatsAddress, layout: Layout, *, name: str = "reader") -> None:
        self._layout = layout
        self._link = Link(address, name)

    async def close(self) -> None:
        await self._link.close()

    def shutdown_socket(self) -> None:
        self._link.shutdown_socket()

    async def state(self) -> LogState:
        async with self._link.use() as jetstream:
            tail = await self._tail(jetstream)
            floor, _ = await self._floor(jetstream, tail)
        assert tail.log is not None
        oldest = None if tail.position == 0 else Position(floor + 1)
        return LogState(tail.log, self._layout.name, oldest, tail.position, tail.stamp)

    async def stamp(self, position: Position) -> CommitFingerprint | None:
        async with self._link.use() as jetstream:
            return await self._stamp(jetstream, await self._tail(jetstream), position)

    async def _stamp(self, jetstream: JetStreamContext, tail: Tail, position: Position) -> CommitFingerprint | None:
        sequence = await self._find(jetstream, tail, Position(position - 1))
        for number in range(sequence, tail.sequence + 1):
            match await self._record(jetstream, number):
                case PartHeader() as header:
                    return header.stamp if header.position == position else None
        return None

    async def newest(self) -> Position:
        async with self._link.use() as jetstream:
            return (await read_tail(jetstream, self._layout)).position

    async def bootstrap(self) -> Bootstrap:
        return (await self.snapshot()).bootstrap

    async def snapshot(self) -> Snapshot:
        async with self._link.use() as jetstream:
            return await read_snapshot(jetstream, self._layout)

    async def commits_after(self, position: Position, limit: int) -> list[Commit]:
        async with self._link.use() as jetstream:
            tail = await read_tail(jetstream, self._layout)
            sequence = await self._find(jetstream, tail, position)
            commits: list[Commit] = []
            assembler = Assembler()
            block = await self._block(jetstream)
            while sequence <= tail.sequence:
                end = min(sequence + block - 1, tail.sequence)
                commits += await _assemble(assembler, await self._read(jetstream, sequence, end))
                sequence = end + 1
                if sum(len(commit.changes) for commit in commits) >= limit and commits:
                    break
            return _bounded([commit for commit in commits if commit.position > position], limit)

    async def commits_before(self, position: Position, down_to: Position, limit: int) -> list[Commit]:
        async with self._link.use() as jetstream:
            tail = await read_tail(jetstream, self._layout)
            first = await self._find(jetstream, tail, down_to)
            end = await self._find(jetstream, tail, position) - 1
            start = end + 1
            commits: list[Commit] = []
            block = await self._block(jetstream)
            # A commit may have more messages than a block: then the block grows until it holds all of them.
            while not commits and start > first:
                start = max(first, start - block)
                commits = await _assemble(Assembler(), await self._read(jetstream, start, end))
            return _bounded(commits[::-1], limit)

    async def _tail(self, jetstream: JetStreamContext) -> Tail:
        """The end of the JetStream stream; raises `NatsUnavailable` while nothing was copied to it."""
        tail = await read_tail(jetstream, self._layout)
        if tail.log is None:
            raise NatsUnavailable(
                f"nothing was copied to the JetStream stream {self._layout.name!r} yet; is a relay running?"
            )
        return tail

    async def _block(self, jetstream: JetStreamContext) -> int:
        """How many messages to read at a time, as they are on average."""
        state = (await jetstream.stream_info(self._layout.name)).state
        return max(1, min(_BLOCK, _BLOCK_BYTES * state.messages // (state.bytes or 1)))

    async def _record(self, jetstream: JetStreamContext, sequence: int) -> Record | None:
        found = await _record(jetstream, self._layout, sequence)
        return None if found is None else found[0]

    async def _floor(self, jetstream: JetStreamContext, tail: Tail) -> tuple[Position, int]:
        """The position after which every commit is held, and the sequence number of the first of them."""
        first, _ = await _bounds(jetstream, self._layout)
        try:
            origin = await jetstream.get_last_msg(self._layout.name, self._layout.origin)
        except nats.js.errors.NotFoundError:
            pass
        else:
            notice = Notice.read(origin.headers, origin.data or b"")
            if notice is not None and origin.seq is not None:
                return notice.position, origin.seq
        for sequence in range(first, tail.sequence + 1):
            match await _record(jetstream, self._layout, sequence):
                case PartHeader(number=1, after=after), _:
                    return after, sequence
                case (PartHeader() | Notice()) as record, _:
                    return record.position, sequence
        return tail.position, tail.sequence + 1

    async def _find(self, jetstream: JetStreamContext, tail: Tail, position: Position) -> int:
        """The first sequence number whose message has a later position; one after the last where none has."""
        _, low = await self._floor(jetstream, tail)
        return await self._search(jetstream, low, tail.sequence + 1, lambda record: record.position > position)

    async def _search(
        self, jetstream: JetStreamContext, low: int, high: int, is_later: Callable[[Record], bool | None]
    ) -> int:
        """The first sequence number from `low` on whose message is later, `high` where none is; by bisection.

        A message for which `is_later` is None counts as the next one for which it is not.
        """
        while low < high:
            middle = (low + high) // 2
            sequence, found = middle, None
            while found is None and sequence < high:
                record = await self._record(jetstream, sequence)
                found = None if record is None else is_later(record)
                sequence += 1
            if found is False:
                low = sequence
            else:
                high = middle
        return low

    async def _read(self, jetstream: JetStreamContext, first: int, last: int) -> list[tuple[PartHeader, bytes]]:
        """The relay's messages with these sequence numbers."""
        client = jetstream._nc
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox, pending_bytes_limit=-1, pending_msgs_limit=-1)
        # The consumer would push all that follows, and again for the next block: NATS stops after these.
        await subscription.unsubscribe(limit=last - first + 1)
        config = ConsumerConfig(
            deliver_subject=inbox,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=first,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=30.0,
            num_replicas=1,
            mem_storage=True,
            max_deliver=1,
        )
        found: list[tuple[PartHeader, bytes]] = []
        try:
            consumer = await jetstream.add_consumer(self._layout.name, config)
            async with asyncio.timeout(_READ_S):
                while True:
                    message: Msg = await subscription.next_msg(timeout=_READ_S)
                    sequence = message.metadata.sequence.stream
                    if sequence <= last and (header := PartHeader.read(message.headers)) is not None:
                        found.append((header, message.data))
                    if sequence >= last:
                        break
            await jetstream.delete_consumer(self._layout.name, consumer.name)
        finally:
            await subscription.unsubscribe()
        return found


async def take_part(assembler: Assembler, header: PartHeader, data: bytes) -> Commit | IncompleteCommit | None:
    """`Assembler.take`; in another thread where what it puts together is large."""
    if assembler.size_bytes + len(data) > _LARGE_BYTES and not header.continues:
        return await asyncio.to_thread(assembler.take, header, data)
    return assembler.take(header, data)


async def _assemble(assembler: Assembler, messages: Sequence[tuple[PartHeader, bytes]]) -> list[Commit]:
    taken = [await take_part(assembler, header, data) for header, data in messages]
    return [each for each in taken if isinstance(each, Commit)]


def _bounded(commits: list[Commit], limit: int) -> list[Commit]:
    """Commits until there are `limit` changes."""
    changes = 0
    for count, commit in enumerate(commits, 1):
        changes += len(commit.changes)
        if changes >= limit:
            return commits[:count]
    return commits
