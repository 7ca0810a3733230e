"""How a subscriber that is behind becomes live: snapshot or replay, then the ring, in turns.

Between the last event read and going live there is no await, which is what joins snapshot, replay and live delivery
without gap or repeat.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Protocol, assert_never

from ..core.flags.catalog import Catalog
from ..core.freshness import Freshness
from ..core.log.other_logs import OtherLogs
from ..core.log.position import EventId, Position
from ..core.log.recent_commits import RecentCommits
from ..core.subscription.resume import (
    AddedSelection,
    Continue,
    Decision,
    ReadHistory,
    Resync,
    ResyncReason,
    WaitUntilReached,
    decide_after,
    decide_resume,
)
from ..core.subscription.ring import Ring
from ..core.subscription.selection import Selections
from ..core.wire.encoded import EncodedEvent
from ..core.wire.fields import Overflow
from ..core.wire.rows import stream_message
from .backlog import SLICE_BYTES, Backlog
from .counters import Counters
from .event_writer import write_events
from .history import Historian, History
from .limits import HubLimits
from .row_sender import RowSender, RowsFailure
from .snapshot_cache import SnapshotCache
from .subscriber import CloseReason, Delivery, Subscriber

__all__ = ["CatchUp", "Present"]

logger = logging.getLogger(__name__)

# Between two checks whether the server has proven itself current.
_AHEAD_CHECK_S = 0.25

# A turn of a subscriber that is behind, about half a millisecond: so many times is an event compared with a clause of
# the selection, or so many bytes are sent. A piece of a large snapshot is a turn of its own: where its flags have to be
# encoded first, it takes a few milliseconds.
_TURN_COMPARISONS = 1024
_TURN_BYTES = 128 * 1024


class Present(Delivery, Protocol):
    """What subscribers catch up with, and where they go live: the hub implements it."""

    limits: HubLimits
    catalog: Catalog
    ring: Ring[EncodedEvent]
    recent: RecentCommits
    other_logs: OtherLogs
    snapshots: SnapshotCache

    @property
    def freshness(self) -> Callable[[], Freshness]: ...

    async def reached(self, position: Position, timeout_s: float) -> bool: ...

    def go_live(self, subscriber: Subscriber) -> None:
        """Deliver to the subscriber as events happen: it has received everything in the ring."""

    def disconnect(self, subscriber: Subscriber, reason: CloseReason, text: str) -> None: ...


class CatchUp:
    """Feeds the subscribers of one hub that are behind; each must have a `Backlog`.

    The first three methods say where a subscriber begins; call `feed` after them. Without a historian a subscriber
    whom the ring does not reach is resynchronised; without a row sender no rows are sent.
    """

    def __init__(
        self, present: Present, counters: Counters, historian: Historian | None, row_sender: RowSender | None
    ) -> None:
        self._present = present
        self._counters = counters
        self._historian = historian
        self._row_sender = row_sender
        self._turns: deque[Subscriber] = deque()

    # -- where to begin ----------------------------------------------------------------------------------------

    def resume(self, subscriber: Subscriber, last_event_id: str) -> None:
        """Begin after the last event id that the client sent, or with a resync (promise P3)."""
        self._begin(subscriber, _backlog_of(subscriber), self._decide(last_event_id))

    def resume_added(self, subscriber: Subscriber, previous: Selections, added: Selections, last_event_id: str) -> None:
        """The same for a part that a live subscriber has added to its `previous` selection: what that selected was
        delivered already, up to the present."""
        backlog, decision = _backlog_of(subscriber), self._decide(last_event_id)
        if not isinstance(decision, Resync):
            backlog.added = AddedSelection(previous, added, self._present.catalog.here, EventId.parse(last_event_id))
        self._begin(subscriber, backlog, decision)

    def start_from_snapshot(
        self,
        subscriber: Subscriber,
        request_id: str | None = None,
        *,
        previous: Selections | None = None,
        added: Selections | None = None,
    ) -> None:
        """Begin with the flags that are selected, or where only a table is, with its rows; of `added` alone where a
        live subscriber has added it to its `previous` selection."""
        present, backlog = self._present, _backlog_of(subscriber)
        selections = subscriber.selections if added is None else added
        names = selections.tables_alone
        if names and self._row_sender is not None:
            here = present.catalog.here
            # What the rows are as of is known when all of them have been sent. A first selection adds to nothing: what
            # was committed before the rows' position must not be read again for it.
            part = None
            if added is not None and previous is not None and previous.clauses:
                part = AddedSelection(previous, added, here, here)
            backlog.drained = asyncio.Event()
            backlog.waiting = asyncio.create_task(self._send_rows(subscriber, backlog, names, part, self._row_sender))
        else:
            backlog.outbox.append(present.snapshots.snapshot(subscriber.format, selections, request_id))

    def resync(self, subscriber: Subscriber, reason: ResyncReason) -> None:
        """Begin anew with a snapshot, after what must be finished first."""
        self._counters.resyncs[reason] += 1
        _backlog_of(subscriber).resync_for = None
        present = self._present
        message = present.snapshots.resync(subscriber.format, subscriber.selections, reason)
        _backlog_of(subscriber).restart((message,), present.ring.end)

    def _decide(self, last_event_id: str) -> Decision:
        present = self._present
        decision = decide_resume(last_event_id, present.catalog.here, present.recent, present.ring)
        if decision == Resync(ResyncReason.LOG_REPLACED):
            present.other_logs.note(last_event_id)
        return decision

    def _decide_after(self, id: EventId) -> Decision:
        return decide_after(id, self._present.catalog.here, self._present.recent, self._present.ring)

    def _begin(self, subscriber: Subscriber, backlog: Backlog, decision: Decision) -> None:
        match decision:
            case Continue(cursor):
                backlog.cursor = cursor
            case ReadHistory(after) if self._historian is not None:
                backlog.waiting = asyncio.create_task(self._fetch_history(subscriber, backlog, after, self._historian))
            case ReadHistory():
                self.resync(subscriber, ResyncReason.PRUNED)
            case WaitUntilReached(id):
                backlog.waiting = asyncio.create_task(self._wait_until_reached(subscriber, backlog, id))
            case Resync(reason):
                self.resync(subscriber, reason)
            case other:
                assert_never(other)

    # -- turns -------------------------------------------------------------------------------------------------

    def feed_in_turn(self, subscriber: Subscriber) -> None:
        """`feed` after those that asked before. The loop polls its sockets between two turns, so that new events never
        wait for more than one turn, however many subscribers are behind."""
        if not self._turns:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._turns.append(subscriber)

    def _next_turn(self) -> None:
        subscriber = self._turns.popleft()
        if self._turns:
            asyncio.get_running_loop().call_soon(self._next_turn)
        # Much may have happened since it asked: `feed` reads its state again, and it may belong to another lane by now.
        if subscriber.delivery is self._present:
            self.feed(subscriber)

    def feed(self, subscriber: Subscriber) -> None:
        """Send from the subscriber's backlog until its transport is full, its turn is over, or it has caught up and
        goes live. Harmless for one that is live, paused or closed."""
        backlog, ring = subscriber.backlog, self._present.ring
        if backlog is None or subscriber.is_closed:
            return
        if backlog.resync_for is not None:
            self.resync(subscriber, backlog.resync_for)
        compared, sent_before = 0, self._counters.sent_bytes
        while subscriber.backlog is backlog and not subscriber.is_paused:
            if compared >= _TURN_COMPARISONS or self._counters.sent_bytes - sent_before >= _TURN_BYTES:
                self.feed_in_turn(subscriber)
                return
            clauses = _clauses_compared(subscriber, backlog)
            most_events = max(1, _TURN_COMPARISONS // clauses)
            if backlog.outbox:
                if backlog.is_in_large_snapshot:
                    compared += _TURN_COMPARISONS
                data = backlog.next_slice()
                self._counters.sent_bytes += len(data)
                if data:
                    # Last, because it may pause the subscriber.
                    subscriber.sink.write(data)
            elif backlog.waiting is not None:
                if backlog.drained is not None:
                    backlog.drained.set()
                return
            elif backlog.history is not None:
                compared += clauses * self._read_history(subscriber, backlog, backlog.history, most_events)
            elif backlog.cursor < ring.start:
                self._overflow(subscriber)
            elif backlog.cursor < ring.end:
                compared += clauses * self._send_matching(subscriber, backlog, ring.read(backlog.cursor, most_events))
            else:
                self._present.go_live(subscriber)

    def _read_history(self, subscriber: Subscriber, backlog: Backlog, history: History, most_events: int) -> int:
        events = history.events[backlog.cursor : backlog.cursor + most_events]
        taken = self._send_matching(subscriber, backlog, events)
        if backlog.history is history and backlog.cursor >= len(history.events):
            backlog.history = None
            self._begin(subscriber, backlog, self._decide_after(history.until))
        return taken

    def _send_matching(self, subscriber: Subscriber, backlog: Backlog, events: Sequence[EncodedEvent]) -> int:
        """Send the matching ones among `events`, up to a slice, and advance the cursor; how many were examined."""
        view_of = subscriber.selections.view if backlog.added is None else backlog.added.view
        found: list[EncodedEvent] = []
        size_bytes = taken = 0
        for event in events:
            taken += 1
            view = view_of(event.event)
            if event.event.rows is not None:
                event.event.rows.forget()
            if view is not None:
                seen = event.seen_as(view)
                found.append(seen)
                size_bytes += seen.size_bytes
                if size_bytes >= SLICE_BYTES:
                    break
        backlog.cursor += taken
        if found:
            write_events(subscriber, found, self._counters)
        return taken

    def _overflow(self, subscriber: Subscriber) -> None:
        if subscriber.overflow is Overflow.DISCONNECT:
            self._present.disconnect(
                subscriber, CloseReason.TOO_SLOW, "client is too slow; reconnect with the last event id received"
            )
        else:
            self.resync(subscriber, ResyncReason.OVERFLOW)

    # -- what takes time ---------------------------------------------------------------------------------------

    async def _fetch_history(
        self, subscriber: Subscriber, backlog: Backlog, after: EventId, historian: Historian
    ) -> None:
        try:
            found = await historian(after)
        except Exception:
            # Unknown, but the subscriber must not wait for ever: silence is the one thing that is not allowed.
            logger.exception("Reading the history failed", extra={"action": "history_failed"})
            found = ResyncReason.PRUNED
        backlog.waiting = None
        if isinstance(found, History):
            backlog.history, backlog.cursor = found, found.first
        else:
            self.resync(subscriber, found)
        self.feed(subscriber)

    async def _wait_until_reached(self, subscriber: Subscriber, backlog: Backlog, id: EventId) -> None:
        present, clock = self._present, asyncio.get_running_loop().time
        asked_at_s = clock()
        is_reached = await present.reached(id.position, present.limits.ahead_wait_s)
        while not is_reached and not self._is_proven_since(asked_at_s):
            if clock() - asked_at_s > present.limits.ahead_proof_s:
                backlog.waiting = None
                text = "server is behind your last event id; reconnect, ideally to another instance"
                present.close(subscriber, CloseReason.BEHIND, text)
                return
            is_reached = await present.reached(id.position, _AHEAD_CHECK_S)
        backlog.waiting = None
        if is_reached:
            self._continue(subscriber, backlog, id)
        else:
            self.resync(subscriber, ResyncReason.AHEAD)
        self.feed(subscriber)

    def _is_proven_since(self, time_s: float) -> bool:
        now = self._present.freshness()
        return now.fresh and asyncio.get_running_loop().time() - now.age_ms / 1000 >= time_s

    def _continue(self, subscriber: Subscriber, backlog: Backlog, id: EventId) -> None:
        """Continue after an id. Where it is an added part's, what the rest of the selection has missed since then comes
        too."""
        decision = self._decide_after(id)
        if backlog.added is not None and isinstance(decision, Continue | ReadHistory):
            decision = self._decide_after(backlog.added.start)
        self._begin(subscriber, backlog, decision)

    async def _send_rows(
        self,
        subscriber: Subscriber,
        backlog: Backlog,
        names: Collection[str],
        part: AddedSelection | None,
        send: RowSender,
    ) -> None:
        async def write(data: bytes) -> None:
            drained = backlog.drained
            assert drained is not None, "it is waiting for these rows"
            drained.clear()
            backlog.outbox.append(data)
            self.feed(subscriber)
            await drained.wait()

        end = await send(subscriber, names, write)
        backlog.waiting = backlog.drained = None
        if isinstance(end, RowsFailure):
            # Without the rows, what follows would be taken for all there is: the stream ends.
            format = subscriber.format
            last = format.frame(stream_message(end.message, format.transport))
            self._present.close(subscriber, CloseReason.RESTARTING, end.text, last)
            return
        if part is not None:
            backlog.added = AddedSelection(part.previous, part.added, part.until, end)
        # The rows may be a moment ahead of what this server has applied.
        self._continue(subscriber, backlog, end)
        self.feed(subscriber)


def _clauses_compared(subscriber: Subscriber, backlog: Backlog) -> int:
    """How many clauses an event is compared with, at most."""
    added = backlog.added
    if added is None:
        return max(1, len(subscriber.selections.clauses))
    return len(added.previous.clauses) + len(added.added.clauses)


def _backlog_of(subscriber: Subscriber) -> Backlog:
    assert subscriber.backlog is not None, "a live subscriber has nothing to catch up with"
    return subscriber.backlog
