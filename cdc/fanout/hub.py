"""Where commits become what subscribers receive.

`publish` applies commits to the catalog, encodes each event once per format in use and writes it to every subscriber
whose selection it matches: no task, no queue and no wake-up per subscriber. Everything runs on one event loop, and
`publish`, `subscribe` and the calls of the transports contain no await: nothing can happen in between, which is what
joins snapshot, replay and live delivery without gap or repeat.

A subscriber is live or behind. A live one is in the hot collections, and whatever is published is written to it at
once. One whose transport is full leaves them and gets a backlog, a cursor into the ring; when the transport has drained
`CatchUp` feeds it from there until it is live again. Where the ring no longer reaches it is resynchronised, or
disconnected if it asked for that (promise P5).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from ..core.errors import InvalidInput
from ..core.flags.catalog import Catalog
from ..core.flags.flag_bound import FlagBound
from ..core.freshness import Freshness, ShownFreshness
from ..core.log.change import Commit
from ..core.log.other_logs import OtherLogs
from ..core.log.position import EventId, Position
from ..core.log.recent_commits import RecentCommits
from ..core.subscription.resume import ResyncReason
from ..core.subscription.ring import Ring
from ..core.subscription.selection import Selections
from ..core.subscription.selection_index import SelectionIndex
from ..core.wire.encoded import EncodedEvent, encode_commit
from ..core.wire.format import Format
from ..core.wire.rows import filter_ended
from .backlog import SLICE_BYTES, Backlog
from .broadcast import BroadcastGroup
from .catch_up import CatchUp
from .counters import Counters
from .event_writer import sent_at_now, write_events
from .history import Historian, History
from .large_commit import LARGE_CHANGES, portions, prepare
from .limits import HubLimits
from .observer import HubObserver, NullObserver
from .row_sender import RowSender
from .snapshot_cache import SnapshotCache
from .subscriber import CloseReason, Subscriber
from .unreadable_rows import UnreadableRows

__all__ = ["Hub"]

logger = logging.getLogger(__name__)


class Hub:
    """The subscribers of one pipeline, and the catalog that they follow. Implements `Delivery` and `Present`."""

    def __init__(
        self,
        catalog: Catalog,
        limits: HubLimits,
        freshness: Callable[[], Freshness],
        *,
        historian: Historian | None = None,
        row_sender: RowSender | None = None,
        observer: HubObserver | None = None,
    ) -> None:
        """Without a historian nothing older than the ring is replayed, without a row sender no rows are sent."""
        self.limits = limits
        self.catalog = catalog
        catalog.bound = FlagBound(limits.max_flag_bytes)
        self.freshness = ShownFreshness(freshness)
        self.ring, self.recent, self.snapshots = self._beginning(catalog)
        self.other_logs = OtherLogs()
        self.counters = Counters()
        self.unreadable = UnreadableRows()
        self._observer = NullObserver() if observer is None else observer
        self._catch_up = CatchUp(self, self.counters, historian, row_sender)
        self._subscribers: dict[Subscriber, None] = {}
        self._broadcasts: dict[Format, BroadcastGroup] = {}
        self._index: SelectionIndex[Subscriber] = SelectionIndex()
        self._is_delivering = False
        self._paused_meanwhile: list[Subscriber] = []
        self._live_meanwhile: list[Subscriber] | None = None
        self._advanced: asyncio.Event = asyncio.Event()

    # -- commits -----------------------------------------------------------------------------------------------

    def publish(self, commits: Sequence[Commit]) -> None:
        """Apply commits in order and deliver their events. Commits that were applied already change nothing."""
        self._observer.publishing()
        before = self.catalog.here
        events: list[EncodedEvent] = []
        committed_at: list[str] = []
        for commit in commits:
            of_commit = encode_commit(self.catalog.apply(commit), self.catalog.bound)
            here = self.catalog.here
            if here.hash is not None:
                self.recent.add(here.position, here.hash)
            if of_commit:
                events.extend(of_commit)
                committed_at.append(commit.committed_at)
        if self.catalog.here == before:
            return
        self.snapshots.forget()
        if events:
            self.ring.extend(events)
            self._observer.delivering()
            self._deliver(events)
            self._observer.delivered(commits, events, len(self._subscribers))
            self.counters.events.update([event.event.type for event in events])
            self.counters.observe_latency(committed_at)
            self.unreadable.note([event.event for event in events])
        self._advance()

    async def publish_in_turns(self, commits: Sequence[Commit]) -> None:
        """The same for commits of any size: everything else on the loop goes on meanwhile. Nothing else may be
        published until it returns."""
        for number, portion in enumerate(portions(commits)):
            if number:
                await asyncio.sleep(0)
            if len(portion[0].changes) > LARGE_CHANGES:
                await self._publish_large(portion[0])
            else:
                self.publish(portion)

    async def _publish_large(self, commit: Commit) -> None:
        if commit.position <= self.catalog.position:
            return
        assert commit.begin == 0, "one that changes flags comes whole"
        assert commit.ends
        self._observer.publishing()
        present = self.catalog
        prepared = await prepare(present, commit)
        events = prepared.events
        # Who goes live from here on is in the index too late.
        self._live_meanwhile = []
        try:
            matched: dict[Subscriber, None] = {}
            for count, event in enumerate(events, 1):
                for subscriber, _ in self._index.match(event.event):
                    matched[subscriber] = None
                if count % LARGE_CHANGES == 0:
                    await asyncio.sleep(0)
            if self.catalog is not present:
                return  # replaced meanwhile
            matched.update(dict.fromkeys(self._live_meanwhile))
        finally:
            self._live_meanwhile = None
        for group in self._broadcasts.values():
            matched.update(dict.fromkeys(group.members()))
        present.adopt(prepared.catalog)
        here = present.here
        if here.hash is not None:
            self.recent.add(here.position, here.hash)
        self.snapshots.forget()
        if events:
            self.ring.extend_measured(events, prepared.keys, prepared.sizes)
            self._observer.delivering()
            if len(events) <= LARGE_CHANGES:
                self._deliver(events)
            else:
                self._deliver_in_turns(matched, History(events, EventId(here.position, None, here.log)))
            self._observer.delivered([commit], events, len(self._subscribers))
            self.counters.events.update(prepared.types)
            self.counters.observe_latency([commit.committed_at])
            self.unreadable.note(prepared.of_rows)
        self._advance()
        for _ in prepared.catalog.release_in_turns():
            await asyncio.sleep(0)

    def _deliver_in_turns(self, subscribers: Iterable[Subscriber], history: History) -> None:
        """Let live subscribers fall behind by these events, which the ring may not hold: each reads them when it is its
        turn, at the speed of its connection."""
        for subscriber in subscribers:
            self._flush_batch(subscriber)
            if subscriber.is_live and not subscriber.is_closed:
                backlog = Backlog(history.first)
                backlog.history = history
                self._fall_behind(subscriber, backlog)
                self._catch_up.feed_in_turn(subscriber)

    def replace(self, catalog: Catalog, reason: ResyncReason) -> None:
        """Continue from another catalog: the log was replaced, or commits between the two can no longer be read."""
        if catalog.log != self.catalog.log:
            self.other_logs.clear()
        self.catalog = catalog
        catalog.bound = FlagBound(self.limits.max_flag_bytes)
        self.ring, self.recent, self.snapshots = self._beginning(catalog)
        for subscriber in list(self._subscribers):
            if subscriber.backlog is not None:
                subscriber.backlog.stop()
            else:
                self._drop_batch(subscriber)
                self._fall_behind(subscriber, Backlog())
            # All are behind at once, and resynchronised one after the other.
            if subscriber.backlog is not None:
                subscriber.backlog.resync_for = reason
                self._catch_up.feed_in_turn(subscriber)
        self._advance()

    def _beginning(self, catalog: Catalog) -> tuple[Ring[EncodedEvent], RecentCommits, SnapshotCache]:
        """What is remembered from a catalog on."""
        limits, here = self.limits, catalog.here
        return (
            Ring(limits.ring_events, limits.ring_bytes, here.position),
            # A commit without events is not in the ring, and ids name it all the same.
            RecentCommits(here.position, here.hash, most=limits.ring_events),
            SnapshotCache(catalog),
        )

    def here(self) -> EventId:
        """The id of everything that the catalog holds."""
        return self.catalog.here

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

    def _advance(self) -> None:
        self._advanced.set()
        self._advanced = asyncio.Event()

    def _deliver(self, events: Sequence[EncodedEvent]) -> None:
        counters = self.counters
        self._is_delivering = True
        of_flags = [event for event in events if event.event.flag_id is not None]
        for format, group in self._broadcasts.items():
            if group and of_flags:
                data = (
                    of_flags[0].framed(format) if len(of_flags) == 1 else b"".join([e.framed(format) for e in of_flags])
                )
                counters.deliveries += len(group) * len(of_flags)
                counters.sent_bytes += len(group) * len(data)
                group.write(data)
        matched: dict[Subscriber, list[EncodedEvent]] = {}
        for event in events:
            for subscriber, view in self._index.match(event.event):
                matched.setdefault(subscriber, []).append(event.seen_as(view))
            if event.event.rows is not None:
                event.event.rows.forget()
        sent_at: str | None = None
        for subscriber, found in matched.items():
            if subscriber.batch_s:
                self._collect(subscriber, found)
            else:
                if subscriber.stamps and sent_at is None:
                    sent_at = sent_at_now()
                write_events(subscriber, found, counters, sent_at)
        self._is_delivering = False
        while self._paused_meanwhile:
            subscriber = self._paused_meanwhile.pop()
            if subscriber.is_live:
                self._fall_behind(subscriber, Backlog(self.ring.end))

    # -- batches -----------------------------------------------------------------------------------------------

    def _collect(self, subscriber: Subscriber, events: list[EncodedEvent]) -> None:
        if subscriber.pending is None:
            subscriber.pending = []
            subscriber.batch_timer = asyncio.get_running_loop().call_later(
                subscriber.batch_s, self._flush_batch, subscriber
            )
        subscriber.pending.extend(events)
        subscriber.pending_bytes += sum([event.size_bytes for event in events])
        if subscriber.pending_bytes >= SLICE_BYTES:
            self._flush_batch(subscriber)

    def _flush_batch(self, subscriber: Subscriber) -> None:
        events = subscriber.pending
        self._drop_batch(subscriber)
        if events and subscriber.is_live:
            write_events(subscriber, events, self.counters)

    def _drop_batch(self, subscriber: Subscriber) -> None:
        """Forget the open batch; the ring or a resync delivers its events again."""
        if subscriber.batch_timer is not None:
            subscriber.batch_timer.cancel()
        subscriber.pending = subscriber.batch_timer = None
        subscriber.pending_bytes = 0

    # -- subscribers -------------------------------------------------------------------------------------------

    @property
    def subscriber_count(self) -> int:
        return len(self._subscribers)

    @property
    def behind_count(self) -> int:
        """How many subscribers still have something to catch up with."""
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
        `last_event_id` or the snapshot it asked for, then events as they happen.

        A `last_event_id` from which the stream cannot be continued is answered with a resync (promise P3).
        """
        self._subscribers[subscriber] = None
        subscriber.delivery = self
        subscriber.is_closed = False
        subscriber.backlog = Backlog(self.ring.end, first)
        if last_event_id is not None:
            self._catch_up.resume(subscriber, last_event_id)
        elif snapshot:
            self._catch_up.start_from_snapshot(subscriber, request_id)
        self._catch_up.feed(subscriber)

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
        if not subscriber.is_live:
            raise RuntimeError("only a live subscriber can change its selection")
        self._flush_batch(subscriber)
        # Where that has filled the transport, it is behind already, by nothing.
        if subscriber.is_live:
            self._leave(subscriber)
        subscriber.backlog = Backlog(self.ring.end, first)
        previous, subscriber.selections = subscriber.selections, selections
        if batch_s is not None:
            subscriber.batch_s = batch_s
        if stamps is not None:
            subscriber.stamps = stamps
        if last_event_id is not None and not previous.clauses:
            self._catch_up.resume(subscriber, last_event_id)
        elif last_event_id is not None and added is not None:
            self._catch_up.resume_added(subscriber, previous, added, last_event_id)
        elif snapshot:
            self._catch_up.start_from_snapshot(subscriber, request_id, previous=previous, added=added)
        self._catch_up.feed(subscriber)

    def send(self, subscriber: Subscriber, data: bytes) -> None:
        """Send a framed message that is not an event, after what is still to be sent."""
        backlog = subscriber.backlog
        if backlog is not None and (backlog.outbox or subscriber.is_paused):
            backlog.outbox.append(data)
        else:
            self.counters.sent_bytes += len(data)
            subscriber.sink.write(data)

    def close(self, subscriber: Subscriber, reason: CloseReason, text: str, last: bytes = b"") -> None:
        """Close a stream now. `last` (framed) is sent before, unless other messages still wait to be sent."""
        if subscriber.is_closed:
            return
        if last and not subscriber.is_paused and (subscriber.backlog is None or not subscriber.backlog.outbox):
            self.counters.sent_bytes += len(last)
            subscriber.sink.write(last)
        self.counters.disconnects[reason] += 1
        subscriber.sink.close(reason, text)
        self.remove(subscriber)

    def disconnect(self, subscriber: Subscriber, reason: CloseReason, text: str) -> None:
        """`close` for a cause that an operator should know of."""
        logger.info("Subscriber disconnected", extra={"action": "subscriber_disconnected", "reason": reason.name})
        self.close(subscriber, reason, text)

    def disconnect_where(self, why: Callable[[Subscriber], InvalidInput | None]) -> None:
        """Disconnect subscribers that cannot stay as they are, for the reason that `why` names.

        When they reconnect, they find what has become of their selection.
        """
        for subscriber in list(self._subscribers):
            error = why(subscriber)
            if error is None:
                continue
            last = b""
            if subscriber.selections.filters_rows:
                format = subscriber.format
                last = format.frame(filter_ended(error.code, str(error), format.transport))
            logger.info(
                "Subscriber disconnected",
                extra={"action": "subscriber_disconnected", "reason": CloseReason.RESTARTING.name},
            )
            self.close(subscriber, CloseReason.RESTARTING, str(error), last)

    def remove(self, subscriber: Subscriber) -> None:
        """The subscriber's connection is gone. Idempotent."""
        if subscriber.is_closed:
            return
        if subscriber.backlog is not None:
            subscriber.backlog.stop()
        else:
            self._drop_batch(subscriber)
            self._leave(subscriber)
        # Not live any more, and nothing of what waited is held on to.
        subscriber.backlog = Backlog()
        subscriber.is_closed = True
        self._subscribers.pop(subscriber, None)

    # -- live and behind ---------------------------------------------------------------------------------------

    def pause(self, subscriber: Subscriber) -> None:
        """The transport is full: write nothing until `resume`. What was written already will still be sent."""
        if subscriber.is_paused:
            return
        subscriber.is_paused = True
        subscriber.paused_rounds = 0
        self.counters.pauses += 1
        if self._is_delivering:
            # The hot collections are being iterated; `_deliver` takes it out of them afterwards.
            self._paused_meanwhile.append(subscriber)
        elif subscriber.is_live:
            self._fall_behind(subscriber, Backlog(self.ring.end))

    def resume(self, subscriber: Subscriber) -> None:
        """The transport has drained."""
        if not subscriber.is_paused:
            return
        subscriber.is_paused = False
        if subscriber in self._subscribers and not subscriber.is_live:
            self._catch_up.feed_in_turn(subscriber)

    def go_live(self, subscriber: Subscriber) -> None:
        """Deliver to the subscriber as events happen: it has received everything in the ring."""
        subscriber.backlog = None
        if self._live_meanwhile is not None:
            self._live_meanwhile.append(subscriber)
        if self._is_broadcast_to(subscriber):
            group = self._broadcasts.get(subscriber.format)
            if group is None:
                group = self._broadcasts[subscriber.format] = BroadcastGroup()
            group.add(subscriber)
        else:
            self._index.add(subscriber, subscriber.selections)
        if subscriber.on_live is not None:
            subscriber.on_live(subscriber)

    def _fall_behind(self, subscriber: Subscriber, backlog: Backlog) -> None:
        """Take a live subscriber out of the hot collections."""
        if subscriber.pending:
            # Events of the open batch are read again from the ring, if it still holds them.
            after_first = self.ring.after(subscriber.pending[0].event.id)
            backlog.cursor = 0 if after_first is None else after_first - 1
            self._drop_batch(subscriber)
        self._leave(subscriber)
        subscriber.backlog = backlog

    def _leave(self, subscriber: Subscriber) -> None:
        if self._is_broadcast_to(subscriber):
            self._broadcasts[subscriber.format].remove(subscriber)
        else:
            self._index.remove(subscriber)

    @staticmethod
    def _is_broadcast_to(subscriber: Subscriber) -> bool:
        return subscriber.is_plain and subscriber.selections.is_everything
