"""Where commits become what subscribers receive.

`publish` applies commits to the catalog, encodes each event once per form in use and writes it to everyone whose
selection it matches: no task, no queue and no wake-up per subscriber. Everything here runs on one event loop and
`publish`, `subscribe` and the calls of the transports contain no await, which is what joins snapshot, replay and
live stream without gap or repeat: nothing can happen in between.

A subscriber that cannot take more leaves the hot collections and is only a cursor into the ring until its transport
has drained; then it reads on from there. Where the ring no longer reaches, it is resynchronised, or cut if it asked
for that (promise P5).

The file is long because that state has one owner: live, full, behind and live again are one machine, and a method of
it that stood elsewhere could be called at the wrong time.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime

from ..core.errors import InvalidEventId
from ..core.flags.catalog import Catalog
from ..core.flags.events import EventType
from ..core.histogram import Histogram
from ..core.log.change import Commit
from ..core.log.position import EventId, Position
from ..core.subscription.resume import ResyncReason
from ..core.subscription.ring import Ring
from ..core.subscription.selection import Selections
from ..core.subscription.selection_index import SelectionIndex
from ..core.wire.encoded import EncodedEvent, encode_commit, filter_for_grant
from ..core.wire.fields import Overflow
from ..core.wire.format import Format
from ..core.wire.rows import stream_message
from ..source.upstream import Freshness
from .broadcast import BroadcastGroup
from .history import Historian, History
from .limits import HubLimits
from .row_sender import RowSender, RowsFailure
from .snapshot_cache import SnapshotCache, SnapshotMessage
from .subscriber import CloseReason, State, Subscriber

__all__ = ["Hub"]

logger = logging.getLogger(__name__)

# What one write hands to a transport: small enough that a stalled subscriber holds little, large enough that a
# snapshot needs few system calls.
_SLICE_BYTES = 64 * 1024

# Between two looks whether the server has proven itself current.
_AHEAD_LOOK_S = 0.25

# A turn of a subscriber that is behind, about half a millisecond: so many events are looked at or bytes sent.
_TURN_EVENTS = 1024
_TURN_BYTES = 128 * 1024


class Hub:
    """All subscribers of one process, and the catalog that they follow."""

    def __init__(self, catalog: Catalog, limits: HubLimits, freshness: Callable[[], Freshness]) -> None:
        self.limits = limits
        self.catalog = catalog
        self.freshness = freshness
        self.historian: Historian | None = None
        self.row_sender: RowSender | None = None
        self.ring: Ring[EncodedEvent] = Ring(limits.ring_events, limits.ring_bytes, catalog.position)
        # Counted as it happens and read when somebody asks: events by type once per event, not per delivery.
        self.deliveries = 0
        self.sent_bytes = 0
        self.pauses = 0
        self.events: Counter[EventType] = Counter()
        self.resyncs_by: Counter[ResyncReason] = Counter()
        self.cuts: Counter[CloseReason] = Counter()
        self.latency = Histogram()
        self._everyone: dict[Format, BroadcastGroup] = {}
        self._index: SelectionIndex[Subscriber] = SelectionIndex()
        self._subscribers: dict[Subscriber, None] = {}
        self._is_delivering = False
        self._paused_meanwhile: list[Subscriber] = []
        self._turns: deque[Subscriber] = deque()
        self._states = SnapshotCache(catalog)
        self._advanced: asyncio.Event = asyncio.Event()

    # -- commits -----------------------------------------------------------------------------------------------

    def publish(self, commits: Iterable[Commit]) -> None:
        """Apply commits in order and deliver their events; commits that were applied already change nothing."""
        before = self.catalog.here
        events: list[EncodedEvent] = []
        committed_at: list[str] = []
        for commit in commits:
            its = encode_commit(self.catalog.apply(commit))
            if its:
                events.extend(its)
                committed_at.append(commit.committed_at)
        if self.catalog.here == before:
            return
        self._states.forget()
        if events:
            self.ring.extend(events)
            self._deliver(events)
            self.events.update([event.event.type for event in events])
            self._measure(committed_at)
        self._advanced.set()
        self._advanced = asyncio.Event()

    def _measure(self, committed_at: Sequence[str]) -> None:
        """Note how long after their commits events were written; clocks that differ must not make it negative."""
        now = datetime.now(UTC)
        for text in committed_at:
            self.latency.observe(max(0.0, (now - datetime.fromisoformat(text)).total_seconds()))

    def replace(self, catalog: Catalog, reason: ResyncReason) -> None:
        """Go on from another catalog: the log was replaced, or commits between the two can no longer be read."""
        self.catalog = catalog
        self.ring = Ring(self.limits.ring_events, self.limits.ring_bytes, catalog.position)
        self._states = SnapshotCache(catalog)
        for subscriber in list(self._subscribers):
            self._forget_delivery(subscriber)
            self._leave(subscriber)
            self._resync(subscriber, reason)
            self._feed(subscriber)
        self._advanced.set()
        self._advanced = asyncio.Event()

    async def advance(self) -> None:
        """Wait until the catalog has moved on, or is another one."""
        await self._advanced.wait()

    async def reached(self, position: Position, timeout_s: float) -> bool:
        """Wait until the catalog has reached `position`; False where it does not in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.catalog.position < position:
                    await self.advance()
        except TimeoutError:
            return False
        return True

    def _deliver(self, events: Sequence[EncodedEvent]) -> None:
        sent_at: str | None = None
        self._is_delivering = True
        of_flags = [event for event in events if event.event.flag_id is not None]
        for format, crowd in self._everyone.items():
            if crowd and of_flags:
                data = (
                    of_flags[0].framed(format) if len(of_flags) == 1 else b"".join([e.framed(format) for e in of_flags])
                )
                self.deliveries += len(crowd) * len(of_flags)
                self.sent_bytes += len(crowd) * len(data)
                crowd.write(data)
        matched: dict[Subscriber, list[EncodedEvent]] = {}
        for event in events:
            for subscriber in self._index.match(event.event):
                matched.setdefault(subscriber, []).append(event)
        for subscriber, found in matched.items():
            its = found if subscriber.grant is None else filter_for_grant(subscriber.grant, found)
            self.deliveries += len(its)
            if subscriber.batch_s:
                self._collect(subscriber, its)
            elif subscriber.stamps:
                sent_at = sent_at or _now()
                self._write(subscriber, b"".join([e.framed_at(subscriber.format, sent_at) for e in its]))
            else:
                self._write(subscriber, b"".join([e.framed(subscriber.format) for e in its]))
        self._is_delivering = False
        self._settle()

    def _write(self, subscriber: Subscriber, data: bytes) -> None:
        # A subscriber that paused on an earlier write of the same delivery has its cursor at the end of the ring.
        if not subscriber.is_paused:
            self.sent_bytes += len(data)
            subscriber.sink.write(data)

    def _settle(self) -> None:
        while self._paused_meanwhile:
            subscriber = self._paused_meanwhile.pop()
            if subscriber.is_live:
                self._fall_behind(subscriber, self.ring.end)

    # -- batches -----------------------------------------------------------------------------------------------

    def _collect(self, subscriber: Subscriber, events: list[EncodedEvent]) -> None:
        if subscriber.pending is None:
            subscriber.pending = []
            subscriber.batch_timer = asyncio.get_running_loop().call_later(
                subscriber.batch_s, self._flush_batch, subscriber
            )
        subscriber.pending.extend(events)

    def _flush_batch(self, subscriber: Subscriber) -> None:
        events, subscriber.pending, subscriber.batch_timer = subscriber.pending, None, None
        if events and subscriber.is_live:
            self._write(subscriber, self._batch_bytes(subscriber, events))

    def _batch_bytes(self, subscriber: Subscriber, events: Sequence[EncodedEvent]) -> bytes:
        sent_at = _now() if subscriber.stamps else None
        return subscriber.format.frame(subscriber.format.dialect.batch(events, sent_at))

    def _forget_delivery(self, subscriber: Subscriber) -> None:
        """Drop what waits to be sent; the cursor, the log or a resync brings it again."""
        if subscriber.batch_timer is not None:
            subscriber.batch_timer.cancel()
        if subscriber.waiting is not None:
            subscriber.waiting.cancel()
        subscriber.pending = subscriber.batch_timer = subscriber.history = subscriber.waiting = None

    # -- coming and going --------------------------------------------------------------------------------------

    @property
    def subscriber_count(self) -> int:
        return len(self._subscribers)

    @property
    def resyncs(self) -> int:
        return self.resyncs_by.total()

    @property
    def behind_count(self) -> int:
        """How many of them still have something to catch up with."""
        return sum(not subscriber.is_live for subscriber in self._subscribers)

    def subscribe(
        self,
        subscriber: Subscriber,
        *,
        first: Sequence[bytes] = (),
        last_event_id: str | None = None,
        snapshot: bool = False,
        request_id: str | None = None,
    ) -> None:
        """Begin a subscription: `first` (framed) is sent before anything else, then what the client missed after
        `last_event_id` or the snapshot it asked for, then the live stream.

        A `last_event_id` from which the stream cannot be continued is answered with a resync (promise P3).
        """
        self._subscribers[subscriber] = None
        subscriber.hub = self
        subscriber.state = State.BEHIND
        subscriber.cursor = self.ring.end
        subscriber.outbox = deque(first)
        if last_event_id is not None:
            self._resume(subscriber, last_event_id)
        elif snapshot:
            self._begin_with_state(subscriber, request_id)
        self._feed(subscriber)

    def reselect(
        self,
        subscriber: Subscriber,
        selections: Selections,
        *,
        first: Sequence[bytes],
        added: Selections | None = None,
        last_event_id: str | None = None,
        snapshot: bool = False,
        request_id: str | None = None,
        batch_s: float | None = None,
        stamps: bool | None = None,
    ) -> None:
        """Change the selection of a live subscriber; `added` is the part that is new.

        With `last_event_id` only what the new part missed is replayed: the rest was delivered already.
        """
        self._flush_batch(subscriber)
        if not subscriber.is_live:
            raise RuntimeError("only a live subscriber can change its selection")
        self._leave(subscriber)
        previous, subscriber.selections = subscriber.selections, selections
        if batch_s is not None:
            subscriber.batch_s = batch_s
        if stamps is not None:
            subscriber.stamps = stamps
        subscriber.cursor = self.ring.end
        subscriber.outbox = deque(first)
        if last_event_id is not None and not previous.clauses:
            self._resume(subscriber, last_event_id)
        elif last_event_id is not None and added is not None:
            self._replay_added(subscriber, previous, added, last_event_id)
        elif snapshot:
            self._begin_with_state(subscriber, request_id, added)
        self._feed(subscriber)

    def _replay_added(self, subscriber: Subscriber, previous: Selections, added: Selections, text: str) -> None:
        assert subscriber.outbox is not None
        id, reason = self._locate(text)
        cursor = None if id is None or reason is not None else self.ring.after(id)
        if cursor is None:
            self._resync(subscriber, reason or ResyncReason.OVERFLOW)
            return
        missed = [
            event
            for event in self.ring.read(cursor, self.ring.end - cursor)
            if added.matches(event.event) and not previous.matches(event.event)
        ]
        if subscriber.grant is not None:
            missed = filter_for_grant(subscriber.grant, missed)
        subscriber.outbox.extend(event.framed(subscriber.format) for event in missed)

    def say(self, subscriber: Subscriber, data: bytes) -> None:
        """Send something that is not an event, in its turn."""
        if subscriber.outbox:
            subscriber.outbox.append(data)
        elif subscriber.is_paused:
            subscriber.outbox = deque((data,))
        else:
            self.sent_bytes += len(data)
            subscriber.sink.write(data)
            self._settle()

    def end(self, subscriber: Subscriber, reason: CloseReason, text: str, last: bytes = b"") -> None:
        """Cut a subscriber off, now: `last` (framed) is the last it is sent, unless it is behind or full."""
        if subscriber.state is State.CLOSED:
            return
        if last and not subscriber.is_paused and not subscriber.outbox:
            self.sent_bytes += len(last)
            subscriber.sink.write(last)
        self.cuts[reason] += 1
        subscriber.sink.close(reason, text)
        self.remove(subscriber)

    def cut(self, subscriber: Subscriber, reason: CloseReason, text: str) -> None:
        """`end`, and say so in the server's log: this one did not ask for it."""
        logger.info("Subscriber cut", extra={"action": "subscriber_cut", "reason": reason.name})
        self.end(subscriber, reason, text)

    def cut_those(self, is_misplaced: Callable[[Subscriber], bool]) -> None:
        """Cut whoever should be elsewhere by now; they find out where when they come back."""
        for subscriber in [one for one in self._subscribers if is_misplaced(one)]:
            self.cut(subscriber, CloseReason.RESTARTING, "a table has moved to another stream; come back")

    def remove(self, subscriber: Subscriber) -> None:
        """The subscriber's connection is gone. Harmless when repeated."""
        if subscriber.state is State.CLOSED:
            return
        self._forget_delivery(subscriber)
        self._leave(subscriber)
        subscriber.state = State.CLOSED
        subscriber.outbox = None
        self._subscribers.pop(subscriber, None)

    def pause(self, subscriber: Subscriber) -> None:
        """The transport is full: write nothing until `resume`. What was written already will still be sent."""
        if subscriber.is_paused:
            return
        subscriber.is_paused = True
        subscriber.paused_beats = 0
        self.pauses += 1
        if self._is_delivering:
            # The hot collections are being walked; `_settle` takes it out of them afterwards.
            self._paused_meanwhile.append(subscriber)
        elif subscriber.is_live:
            self._fall_behind(subscriber, self.ring.end)

    def resume(self, subscriber: Subscriber) -> None:
        """The transport has drained."""
        if not subscriber.is_paused:
            return
        subscriber.is_paused = False
        if subscriber.state is State.BEHIND:
            self._feed_in_turn(subscriber)

    def _fall_behind(self, subscriber: Subscriber, cursor: int) -> None:
        if subscriber.pending:
            # Events that wait for the end of their batch window are read again from the ring, if it still holds them.
            after_first = self.ring.after(subscriber.pending[0].event.id)
            cursor = 0 if after_first is None else after_first - 1
        self._forget_delivery(subscriber)
        self._leave(subscriber)
        subscriber.cursor = cursor

    def _leave(self, subscriber: Subscriber) -> None:
        """Take it out of the hot collections."""
        if subscriber.is_live:
            if self._is_of_everyone(subscriber):
                self._everyone[subscriber.format].remove(subscriber)
            else:
                self._index.remove(subscriber)
        subscriber.state = State.BEHIND

    def _enter(self, subscriber: Subscriber) -> None:
        subscriber.state = State.LIVE
        subscriber.outbox = None
        if self._is_of_everyone(subscriber):
            crowd = self._everyone.get(subscriber.format)
            if crowd is None:
                crowd = self._everyone[subscriber.format] = BroadcastGroup()
            crowd.add(subscriber)
        else:
            self._index.add(subscriber, subscriber.selections)
        if subscriber.on_live is not None:
            subscriber.on_live(subscriber)

    @staticmethod
    def _is_of_everyone(subscriber: Subscriber) -> bool:
        return subscriber.is_plain and subscriber.selections.is_everything

    # -- catching up -------------------------------------------------------------------------------------------

    def _feed_in_turn(self, subscriber: Subscriber) -> None:
        """`_feed` when those who asked before have had their turn. One turn is between two looks at the sockets,
        however many are behind, so that new events never wait for more than one."""
        if not self._turns:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._turns.append(subscriber)

    def _next_turn(self) -> None:
        subscriber = self._turns.popleft()
        if self._turns:
            asyncio.get_running_loop().call_soon(self._next_turn)
        # The state is looked at afresh: much may have happened since it asked.
        self._feed(subscriber)

    def _feed(self, subscriber: Subscriber) -> None:
        """Send what the subscriber is behind by, until its transport is full, its turn is over, or it has caught up
        and goes live."""
        scanned, sent_before = 0, self.sent_bytes
        while subscriber.state is State.BEHIND and not subscriber.is_paused:
            if subscriber.outbox:
                self._send_slice(subscriber, subscriber.outbox)
            elif subscriber.waiting is not None:
                if subscriber.drained is not None:
                    subscriber.drained.set()
                return
            elif scanned >= _TURN_EVENTS or self.sent_bytes - sent_before >= _TURN_BYTES:
                self._feed_in_turn(subscriber)
                return
            elif subscriber.history is not None:
                scanned += self._read_history(subscriber, subscriber.history)
            elif subscriber.cursor < self.ring.start:
                self._overflow(subscriber)
            elif subscriber.cursor < self.ring.end:
                scanned += self._read_ring(subscriber)
            else:
                self._enter(subscriber)

    def _send_slice(self, subscriber: Subscriber, outbox: deque[bytes]) -> None:
        message, start = outbox[0], subscriber.sent_bytes
        end = start + _SLICE_BYTES
        is_whole = end >= len(message)
        if is_whole:
            outbox.popleft()
        # A view, so that what a stalled transport keeps of it is shared by all. Last, because it may pause.
        subscriber.sent_bytes = 0 if is_whole else end
        self.sent_bytes += min(end, len(message)) - start
        subscriber.sink.write(message if is_whole and not start else memoryview(message)[start:end])

    def _read_ring(self, subscriber: Subscriber) -> int:
        events = self.ring.read(subscriber.cursor, _TURN_EVENTS)
        taken = self._send_some(subscriber, events)
        subscriber.cursor += taken
        return taken

    def _read_history(self, subscriber: Subscriber, history: History) -> int:
        events = history.events[subscriber.cursor : subscriber.cursor + _TURN_EVENTS]
        taken = self._send_some(subscriber, events)
        subscriber.cursor += taken
        if subscriber.cursor >= len(history.events):
            subscriber.history = None
            self._continue_after(subscriber, history.until)
        return taken

    def _send_some(self, subscriber: Subscriber, events: Sequence[EncodedEvent]) -> int:
        """Send the matching ones among `events` up to a slice; how many were looked at."""
        matches = subscriber.selections.matches
        sent_at = _now() if subscriber.stamps else None
        its: list[EncodedEvent] = []
        size_bytes = taken = 0
        for event in events:
            taken += 1
            if matches(event.event):
                its.append(event)
                size_bytes += event.size_bytes
                if size_bytes >= _SLICE_BYTES:
                    break
        if subscriber.grant is not None:
            its = filter_for_grant(subscriber.grant, its)
        if its:
            self.deliveries += len(its)
            if subscriber.batch_s:
                data = self._batch_bytes(subscriber, its)
            elif sent_at is not None:
                data = b"".join([event.framed_at(subscriber.format, sent_at) for event in its])
            else:
                data = b"".join([event.framed(subscriber.format) for event in its])
            self.sent_bytes += len(data)
            subscriber.sink.write(data)
        return taken

    def _continue_after(self, subscriber: Subscriber, id: EventId) -> None:
        cursor = self.ring.after(id)
        if cursor is not None:
            subscriber.cursor = cursor
        elif self.historian is None:
            self._resync(subscriber, ResyncReason.PRUNED)
        else:
            subscriber.waiting = asyncio.create_task(self._fetch_history(subscriber, id, self.historian))

    async def _fetch_history(self, subscriber: Subscriber, id: EventId, historian: Historian) -> None:
        try:
            found = await historian(id)
        except Exception:
            # Unknown, but the subscriber must not wait for ever: silence is the one thing that is not allowed.
            logger.exception("History failed", extra={"action": "history_failed"})
            found = ResyncReason.PRUNED
        subscriber.waiting = None
        if subscriber.state is not State.BEHIND:
            return
        if isinstance(found, History):
            subscriber.history, subscriber.cursor = found, found.first
        else:
            self._resync(subscriber, found)
        self._feed(subscriber)

    def _locate(self, text: str) -> tuple[EventId | None, ResyncReason | None]:
        try:
            id = EventId.parse(text)
        except InvalidEventId:
            return None, ResyncReason.UNKNOWN_ID
        if id.log != self.catalog.log:
            return id, ResyncReason.LOG_REPLACED
        if self.catalog.here.is_before(id):
            return id, ResyncReason.AHEAD
        return id, None

    def _resume(self, subscriber: Subscriber, last_event_id: str) -> None:
        id, reason = self._locate(last_event_id)
        if id is not None and reason is ResyncReason.AHEAD:
            # Another instance may be a moment ahead of this one: wait for it before calling the id impossible.
            subscriber.waiting = asyncio.create_task(self._wait_until_reached(subscriber, id))
        elif id is None or reason is not None:
            self._resync(subscriber, reason or ResyncReason.UNKNOWN_ID)
        else:
            self._continue_after(subscriber, id)

    async def _wait_until_reached(self, subscriber: Subscriber, id: EventId) -> None:
        asked_at = asyncio.get_running_loop().time()
        is_reached = await self.reached(id.position, self.limits.ahead_wait_s)
        # Only who has proven since then that it is current may say so: a server that is cut off would send the client
        # back to an older state.
        while not is_reached and not self._is_proven_since(asked_at):
            if asyncio.get_running_loop().time() - asked_at > self.limits.ahead_proof_s:
                subscriber.waiting = None
                self.end(subscriber, CloseReason.BEHIND, "this server is behind; come back, perhaps to another")
                return
            is_reached = await self.reached(id.position, _AHEAD_LOOK_S)
        subscriber.waiting = None
        if subscriber.state is not State.BEHIND:
            return
        if is_reached:
            self._resume(subscriber, str(id))
        else:
            self._resync(subscriber, ResyncReason.AHEAD)
        self._feed(subscriber)

    def _is_proven_since(self, time_s: float) -> bool:
        now = self.freshness()
        return now.fresh and asyncio.get_running_loop().time() - now.age_ms / 1000 >= time_s

    # -- tables ------------------------------------------------------------------------------------------------

    def _begin_with_state(self, subscriber: Subscriber, request_id: str | None, only: Selections | None = None) -> None:
        """The flags that are selected, or where only a table is, its rows."""
        assert subscriber.outbox is not None
        names = (subscriber.selections if only is None else only).tables_alone
        if names and self.row_sender is not None:
            subscriber.drained = asyncio.Event()
            subscriber.waiting = asyncio.create_task(self._send_rows(subscriber, names, self.row_sender))
        else:
            selections = subscriber.selections if only is None else only
            subscriber.outbox.extend(self._states.snapshot(subscriber.format, selections, request_id))

    async def _send_rows(self, subscriber: Subscriber, names: Collection[str], send: RowSender) -> None:
        end = await send(subscriber, names, self._feed)
        subscriber.waiting = subscriber.drained = None
        if isinstance(end, RowsFailure):
            # Without the rows, what follows would be taken for all there is: the stream ends.
            format = subscriber.format
            last = format.frame(stream_message(end.message, format.transport))
            self.end(subscriber, CloseReason.RESTARTING, end.text, last)
            return
        # It may be a moment ahead of what this process has read.
        self._resume(subscriber, str(end))
        self._feed(subscriber)

    # -- starting over ------------------------------------------------------------------------------------------

    def here(self) -> EventId:
        """The id of all that the catalog holds."""
        return self.catalog.here

    def _resync(self, subscriber: Subscriber, reason: ResyncReason) -> None:
        """Send a new beginning after what still waits. A message that is partly sent is finished: its rest must not
        be missing on the wire. A state that nobody has seen a part of is left out."""
        self.resyncs_by[reason] += 1
        waiting = subscriber.outbox or deque()
        begun = 1 if subscriber.sent_bytes else 0
        subscriber.outbox = deque(
            message
            for place, message in enumerate(waiting)
            if place < begun or not isinstance(message, SnapshotMessage)
        )
        subscriber.outbox.extend(self._states.resync(subscriber.format, subscriber.selections, reason))
        subscriber.history = None
        subscriber.cursor = self.ring.end

    def _overflow(self, subscriber: Subscriber) -> None:
        if subscriber.overflow is Overflow.DISCONNECT:
            self.cut(subscriber, CloseReason.TOO_SLOW, "too slow; come back with the last id received")
        else:
            self._resync(subscriber, ResyncReason.OVERFLOW)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
