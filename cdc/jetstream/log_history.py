"""One lane's log in JetStream as an archive.

It answers what `cdc.postgres.log_history` answers from the database, for as long as the JetStream stream keeps its
messages: positions, cursors and pages are the same. It reads over a connection of its own, so that questions about the
past, however large, never delay the listener.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic

from nats.js.client import JetStreamContext

from ..core.change_feed.cursor import Cursor
from ..core.change_feed.logged_change import ChangePage
from ..core.change_feed.page_builder import PageBuilder
from ..core.flags.flag_tables import TABLES
from ..core.log.change import Commit
from ..core.log.position import Position
from ..core.wire.commit_message import Assembler, PartHeader
from ..errors import NatsUnavailable, TooBusy
from ..source.log import LogRange
from .address import NatsAddress
from .layout import Layout
from .log import JetStreamLog, Record, Tail, take_part
from .relay_status import ask_relay
from .snapshot import read_pointer

__all__ = ["JetStreamLogHistory"]

# The rows of one page together, as in `cdc.postgres.log_history`; a larger row has a page to itself.
_PAGE_BYTES = 8 * 1024 * 1024

# How long a question about a time that just passed waits for the relay to confirm that no commit is missing. A relay
# asks PostgreSQL every FLAGENT_CDC_PROBE_INTERVAL.
_PROOF_S = 7.0
_PROOF_AGAIN_S = 0.2


class JetStreamLogHistory(JetStreamLog):
    """The port `LogHistory` of a tier, for one lane."""

    def __init__(self, address: NatsAddress, layout: Layout) -> None:
        super().__init__(address, layout, name="archive")

    async def reach(self) -> LogRange:
        async with self._link.use() as jetstream:
            return await self._reach(jetstream, await self._tail(jetstream))

    async def size_bytes(self) -> int:
        """The JetStream stream, and the buckets beside it."""
        names = (self._layout.name, f"KV_{self._layout.state}", f"OBJ_{self._layout.snapshots}")
        async with self._link.use() as jetstream:
            return sum([(await jetstream.stream_info(name)).state.bytes for name in names])

    async def position_at(self, time: datetime) -> Position | None:
        time_text = _text(time)

        def is_later(record: Record) -> bool | None:
            return record.committed_at > time_text if isinstance(record, PartHeader) else None

        deadline = monotonic() + _PROOF_S
        async with self._link.use() as jetstream:
            while True:
                tail = await self._tail(jetstream)
                if tail.position == 0:
                    return None
                _, low = await self._floor(jetstream, tail)
                sequence = await self._search(jetstream, low, tail.sequence + 1, is_later)
                header = await self._header_from(jetstream, sequence, tail.sequence)
                if header is not None:
                    return Position(min(header.position - 1, tail.position))
                # Later than the newest commit here; only the relay knows whether that was the newest one then.
                doubt = await self._doubt(jetstream, tail, time_text)
                if doubt is None:
                    return tail.position
                if monotonic() > deadline:
                    raise TooBusy(f"the newest commit at {time_text} is not known yet: {doubt}")
                await asyncio.sleep(_PROOF_AGAIN_S)

    async def flag_commits_before(
        self, position: Position, down_to: Position, limit: int, most: int
    ) -> list[Commit] | None:
        commits: list[Commit] = []
        rows = 0
        for commit in await self.commits_before(position, down_to, limit):
            changes = tuple(change for change in commit.changes if change.table in TABLES)
            rows += len(changes)
            if rows > most:
                return commits or None
            commits.append(replace(commit, changes=changes))
        return commits

    async def changes_after(
        self, after: Cursor | None, *, limit: int, scan: int, tables: Sequence[str] | None
    ) -> ChangePage:
        async with self._link.use() as jetstream:
            tail = await self._tail(jetstream)
            reach = await self._reach(jetstream, tail)
            if after is None:
                after = Cursor(Position(0 if reach.oldest is None else reach.oldest - 1), None, reach.log)
            reach.refuse(after, None if after.hash is None else await self._stamp(jetstream, tail, after.position))
            builder = PageBuilder(after, limit=limit, scan=scan, tables=tables, most_bytes=_PAGE_BYTES)
            before = after.position if after.index is None else Position(after.position - 1)
            expected = before
            async with aclosing(self._commits(jetstream, tail, before, scan)) as commits:
                async for header, commit in commits:
                    if header.after > expected:
                        raise reach.pruned()  # pruned while it was being read
                    expected = header.position
                    if not builder.take(commit):
                        break
        return builder.page(reach.newest, reach.database)

    async def _reach(self, jetstream: JetStreamContext, tail: Tail) -> LogRange:
        assert tail.log is not None
        pointer = await read_pointer(jetstream, self._layout)
        if pointer is None or pointer.database is None:
            raise NatsUnavailable(f"{self._layout.state!r} does not name the database yet; is a relay running?")
        now = _text(datetime.now(UTC))
        if tail.position == 0:
            return LogRange(tail.log, None, None, tail.position, now, pointer.database)
        floor, sequence = await self._floor(jetstream, tail)
        first = await self._header_from(jetstream, sequence, tail.sequence)
        if first is not None:
            oldest_at = first.committed_at
        else:
            # No commit is left, or none came since the log began here: only the newest state is known.
            stamp = tail.stamp or (pointer.stamp if pointer.position == tail.position else None)
            oldest_at = now if stamp is None else stamp.committed_at
        return LogRange(tail.log, Position(floor + 1), oldest_at, tail.position, now, pointer.database)

    async def _header_from(self, jetstream: JetStreamContext, sequence: int, last: int) -> PartHeader | None:
        """The header of the first message of a commit from `sequence` on."""
        for number in range(sequence, last + 1):
            match await self._record(jetstream, number):
                case PartHeader() as header:
                    return header
        return None

    async def _commits(
        self, jetstream: JetStreamContext, tail: Tail, after: Position, most: int
    ) -> AsyncGenerator[tuple[PartHeader, Commit], None]:
        """The commits after a position in order, each with the header of its last message; read only as needed."""
        assembler = Assembler()
        sequence = await self._find(jetstream, tail, after)
        while sequence <= tail.sequence:
            end = min(sequence + min(await self._block(jetstream), most) - 1, tail.sequence)
            for header, data in await self._read(jetstream, sequence, end):
                commit = await take_part(assembler, header, data)
                if isinstance(commit, Commit) and commit.position > after:
                    yield header, commit
            sequence = end + 1

    async def _doubt(self, jetstream: JetStreamContext, tail: Tail, time_text: str) -> str | None:
        """Why the last commit here may not have been the newest at a time; None where the relay has confirmed it."""
        asked_at = datetime.now(UTC)
        try:
            status = await ask_relay(jetstream._nc, self._layout)
        except NatsUnavailable as error:
            return str(error)
        if status.log != tail.log or status.position > tail.position:
            return "more has been committed meanwhile"
        if _text(asked_at - timedelta(seconds=status.age_s)) < time_text:
            return "the database has not been asked since"
        return None


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
