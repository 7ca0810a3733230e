"""How a subscriber that is behind becomes live: in turns, from where it left off, and never silently."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import pytest

from cdc.core.freshness import Freshness
from cdc.core.log.change import Change, Commit, Op
from cdc.core.log.position import EventId, Position
from cdc.core.subscription.resume import ResyncReason
from cdc.core.subscription.selection import Selection, Selections
from cdc.core.wire.encoded import EncodedEvent
from cdc.core.wire.fields import Overflow
from cdc.core.wire.rows import RowsPiece
from cdc.fanout.history import History
from cdc.fanout.limits import HubLimits
from cdc.fanout.observer import NullObserver
from cdc.fanout.row_sender import RowsFailure, WriteRows
from cdc.fanout.subscriber import CloseReason, Subscriber
from tests.cdc.core.flagent import LOG, change_of
from tests.cdc.fanout.memory import EVERYTHING, SSE, MemoryHub, MemorySink, keys, select
from tests.fixtures.server import until

NEW = Selection.of(flag_keys=["new"])


async def test_however_many_catch_up_one_has_its_turn_between_two_looks_at_the_sockets() -> None:
    memory = MemoryHub()
    hub = memory.hub
    begin = memory.here
    for number in range(3000):
        memory.flagent.flag(f"f{number}", description="long", notes="x" * 400)
    memory.commit()
    assert hub.ring.end >= 3000
    returning = [memory.subscribed(EVERYTHING, SSE, last_event_id=begin) for _ in range(20)]
    most, before = 0, hub.counters.sent_bytes
    while any(not subscriber.is_live for subscriber, _ in returning):
        await asyncio.sleep(0)  # one round of the loop
        most, before = max(most, hub.counters.sent_bytes - before), hub.counters.sent_bytes
    assert 0 < most < 256 * 1024
    received = [sink.data for _, sink in returning]
    assert [data.count(b"event: flag_created\n") for data in received] == [3000] * 20
    for subscriber, sink in returning:
        assert sink.closed is None
        hub.remove(subscriber)


@pytest.mark.parametrize("is_added", [False, True], ids=["resumed", "added"])
async def test_a_selection_of_many_clauses_examines_fewer_events_in_a_turn(is_added: bool) -> None:
    memory = MemoryHub()
    begin = memory.here
    for number in range(3000):
        memory.flagent.flag(f"f{number}")
    memory.commit()
    clauses = Selections(tuple(Selection.of(schemas=[f"s{number}"]) for number in range(32)))
    if is_added:
        subscriber, sink = memory.subscribed(Selections(clauses.clauses[:-1]))
        memory.add(subscriber, clauses.clauses[-1], last_event_id=begin)
    else:
        subscriber, sink = memory.subscribed(clauses, last_event_id=begin)
    most, before, rounds = 0, 0, 0
    while subscriber.backlog is not None:
        most, before = max(most, subscriber.backlog.cursor - before), subscriber.backlog.cursor
        await asyncio.sleep(0)  # one round of the loop
        rounds += 1
    assert 0 < most <= 1024 // 32
    assert rounds >= 3000 // 32
    assert sink.messages == []
    memory.hub.remove(subscriber)


async def test_a_large_snapshot_is_sent_in_turns() -> None:
    memory = MemoryHub()
    memory.flag(*[f"f{number}" for number in range(10)], notes="x" * 200_000)
    subscriber, sink = memory.subscribed(snapshot=True)
    most = before = 0
    while not subscriber.is_live:
        most, before = max(most, len(sink.data) - before), len(sink.data)
        await asyncio.sleep(0)  # one round of the loop
    assert 0 < most < 256 * 1024
    assert len(sink.messages[0]["flags"]) == 10
    memory.hub.remove(subscriber)


async def live(*subscribers: Subscriber) -> None:
    await until(lambda: all(subscriber.is_live for subscriber in subscribers), "going live", deadline_s=5)


# -- from the ring ---------------------------------------------------------------------------------------------


async def test_what_was_missed_comes_before_what_happens_now() -> None:
    memory = MemoryHub()
    memory.flag("a")
    last = memory.here
    memory.flag("b", "c")
    subscriber, sink = memory.subscribed(last_event_id=last)
    memory.flag("d")
    await live(subscriber)
    assert keys(sink) == ["b", "c", "d"]
    assert memory.hub.counters.deliveries == 3


@pytest.mark.parametrize(
    ("last_event_id", "reason"), [("junk", "unknown_id"), ("1@another", "log_replaced")], ids=["unknown", "other log"]
)
async def test_an_id_that_means_nothing_here_is_answered_with_a_snapshot(last_event_id: str, reason: str) -> None:
    memory = MemoryHub()
    memory.flag("a")
    subscriber, sink = memory.subscribed(last_event_id=last_event_id)
    (message,) = sink.messages
    assert (message["type"], message["reason"]) == ("resync", reason)
    assert [flag["key"] for flag in message["snapshot"]["flags"]] == ["a"]
    assert subscriber.is_live
    assert memory.hub.counters.resyncs == {ResyncReason(reason): 1}


async def test_behind_the_ring_and_without_a_historian_it_is_resynchronised() -> None:
    memory = MemoryHub(HubLimits(ring_events=8))
    begin = memory.here
    memory.flag(*"abcdefghijkl")
    _, sink = memory.subscribed(last_event_id=begin)
    assert [message["reason"] for message in sink.messages] == ["pruned"]


# -- from the log ----------------------------------------------------------------------------------------------


class Past(NullObserver):
    """A historian that keeps all events that a hub delivers, and answers when it may."""

    def __init__(self) -> None:
        self.events: list[EncodedEvent] = []
        self.may_answer = asyncio.Event()
        self.asked: list[EventId] = []
        self.answer: ResyncReason | Exception | None = None

    def delivered(self, commits: Sequence[Commit], events: Sequence[EncodedEvent], subscribers: int) -> None:
        self.events += events

    async def __call__(self, after: EventId) -> History | ResyncReason:
        self.asked.append(after)
        await self.may_answer.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        first = next((n for n, event in enumerate(self.events) if after.is_before(event.event_id)), len(self.events))
        return History(list(self.events), self.events[-1].event_id, first)


def with_past(**limits: int) -> tuple[MemoryHub, Past]:
    past = Past()
    return MemoryHub(HubLimits(**limits), historian=past, observer=past), past


async def test_what_the_ring_no_longer_holds_comes_from_the_log_then_from_the_ring() -> None:
    memory, past = with_past(ring_events=8)
    begin = memory.here
    memory.flag(*"abcdefghijkl")
    subscriber, sink = memory.subscribed(last_event_id=begin)
    memory.flag("while it is read")
    assert sink.messages == []
    past.may_answer.set()
    await live(subscriber)
    memory.flag("live")
    assert keys(sink) == [*"abcdefghijkl", "while it is read", "live"]
    assert [str(id) for id in past.asked] == [begin]


@pytest.mark.parametrize(
    ("answer", "reason"), [(ResyncReason.OVERFLOW, "overflow"), (RuntimeError("unforeseen"), "pruned")]
)
async def test_a_log_that_gives_no_history_is_answered_with_a_resync(
    answer: ResyncReason | Exception, reason: str
) -> None:
    memory, past = with_past(ring_events=8)
    past.answer = answer
    past.may_answer.set()
    begin = memory.here
    memory.flag(*"abcdefghijkl")
    subscriber, sink = memory.subscribed(last_event_id=begin)
    await live(subscriber)
    assert [message["reason"] for message in sink.messages] == [reason]


async def test_a_subscriber_that_leaves_while_the_log_is_read_is_forgotten() -> None:
    memory, past = with_past(ring_events=8)
    begin = memory.here
    memory.flag(*"abcdefghijkl")
    subscriber, sink = memory.subscribed(last_event_id=begin)
    await asyncio.sleep(0)
    memory.hub.remove(subscriber)
    past.may_answer.set()
    await asyncio.sleep(0.01)
    assert (sink.messages, memory.hub.subscriber_count, subscriber.is_live) == ([], 0, False)


# -- ahead -----------------------------------------------------------------------------------------------------

QUICK = HubLimits(ahead_wait_s=0.05, ahead_proof_s=0.3)


async def test_a_server_that_lags_waits_for_the_id() -> None:
    memory = MemoryHub()
    subscriber, sink = memory.subscribed(last_event_id=memory.ahead(2))
    memory.flag("a")
    assert not subscriber.is_live
    memory.flag("b", "c")
    await live(subscriber)
    assert keys(sink) == ["c"]


async def test_a_server_that_is_current_calls_an_impossible_id_ahead() -> None:
    memory = MemoryHub(QUICK)
    subscriber, sink = memory.subscribed(last_event_id=memory.ahead(5))
    await live(subscriber)
    assert [message["reason"] for message in sink.messages] == ["ahead"]


async def test_a_server_that_cannot_prove_itself_current_sends_the_client_on() -> None:
    memory = MemoryHub(QUICK)
    memory.freshness = Freshness(False, 60_000)
    subscriber, sink = memory.subscribed(last_event_id=memory.ahead(5))
    await until(lambda: sink.closed is not None, "the close", deadline_s=5)
    assert sink.closed == (
        CloseReason.BEHIND,
        "server is behind your last event id; reconnect, ideally to another instance",
    )
    assert (subscriber.is_closed, sink.messages) == (True, [])
    assert memory.hub.counters.disconnects == {CloseReason.BEHIND: 1}


# -- a part that is added to a live selection ------------------------------------------------------------------


def following_old(memory: MemoryHub, **options: Any) -> tuple[Subscriber, MemorySink, str]:
    """A live subscriber of the flag `old`, who has missed two events of `new`; and the id before them."""
    subscriber, sink = memory.subscribed(select(flag_keys=["old"]), **options)
    (old,) = memory.flag("old")
    begin = memory.here
    (new,) = memory.flag("new")
    memory.flagent.update("flags", new, description="2")
    memory.commit()
    memory.flagent.update("flags", old, description="2")
    memory.commit()
    return subscriber, sink, begin


async def test_an_added_part_gets_what_it_missed_and_the_rest_nothing_twice() -> None:
    memory = MemoryHub()
    subscriber, sink, begin = following_old(memory)
    memory.add(subscriber, NEW, last_event_id=begin)
    assert keys(sink) == ["old", "old", "new", "new"]
    assert subscriber.is_live


async def test_an_added_part_is_stamped_where_stamps_are_asked_for() -> None:
    memory = MemoryHub()
    subscriber, sink, begin = following_old(memory, stamps=True)
    memory.add(subscriber, NEW, last_event_id=begin)
    assert all("sentAt" in message for message in sink.messages)
    assert keys(sink) == ["old", "old", "new", "new"]


async def test_an_added_part_is_batched_where_batches_are_asked_for() -> None:
    memory = MemoryHub()
    subscriber, sink, begin = following_old(memory, batch_s=0.01, stamps=True)
    await until(lambda: len(sink.messages) == 1, "the first batch", deadline_s=5)
    memory.add(subscriber, NEW, last_event_id=begin)
    assert [message["type"] for message in sink.messages] == ["batch", "batch"]
    assert [event["flagKey"] for event in sink.messages[1]["events"]] == ["new", "new"]
    assert "sentAt" in sink.messages[1]


async def test_an_added_part_is_counted_in_deliveries() -> None:
    memory = MemoryHub()
    subscriber, sink, begin = following_old(memory)
    assert memory.hub.counters.deliveries == 2
    memory.add(subscriber, NEW, last_event_id=begin)
    assert memory.hub.counters.deliveries == 4
    assert memory.hub.counters.sent_bytes == len(sink.data)


async def test_an_added_part_with_an_id_that_is_ahead_waits_for_it() -> None:
    memory = MemoryHub()
    subscriber, sink, _ = following_old(memory)
    memory.add(subscriber, NEW, last_event_id=memory.ahead(2))
    old, new = (memory.flagent.tables["flags"][id] for id in sorted(memory.flagent.tables["flags"]))
    for number in range(2):
        memory.flagent.update("flags", new["id"], description=f"known {number}")
        memory.flagent.update("flags", old["id"], description=f"not known {number}")
        memory.commit()
    await live(subscriber)
    memory.flagent.update("flags", new["id"], description="later")
    memory.commit()
    assert "reason" not in str(sink.messages)
    # What the client knows of the new part is not repeated, and what happened to the old one meanwhile is not lost.
    texts = [message["flag"]["description"] for message in sink.messages[2:]]
    assert texts == ["not known 0", "not known 1", "later"]


async def test_an_added_part_that_is_ahead_of_a_current_server_is_resynchronised_with_everything() -> None:
    memory = MemoryHub(QUICK)
    subscriber, sink, _ = following_old(memory)
    memory.add(subscriber, NEW, last_event_id=memory.ahead(9))
    assert not subscriber.is_live
    await live(subscriber)
    assert sink.messages[-1]["reason"] == "ahead"
    assert [flag["key"] for flag in sink.messages[-1]["snapshot"]["flags"]] == ["old", "new"]


async def test_an_added_part_behind_the_ring_is_read_from_the_log() -> None:
    memory, past = with_past(ring_events=8)
    subscriber, sink, begin = following_old(memory)
    memory.flag(*"abcdefghijkl")
    memory.add(subscriber, NEW, last_event_id=begin)
    memory.flagent.update("flags", min(memory.flagent.tables["flags"]), description="while it is read")
    memory.commit()
    past.may_answer.set()
    await live(subscriber)
    assert keys(sink) == ["old", "old", "new", "new", "old"]


async def test_an_added_part_with_an_unknown_id_is_resynchronised_with_everything() -> None:
    memory = MemoryHub()
    subscriber, sink, _ = following_old(memory)
    memory.add(subscriber, NEW, last_event_id="junk")
    assert sink.messages[-1]["reason"] == "unknown_id"
    assert [flag["key"] for flag in sink.messages[-1]["snapshot"]["flags"]] == ["old", "new"]


# -- rows ------------------------------------------------------------------------------------------------------

ORDERS = Selection.of(tables=["orders"])


def order(number: int) -> Change:
    return change_of("public", "orders", Op.INSERT, None, {"id": number}, {"id": number})


class Rows:
    """A row sender that sends two pieces, and runs `between` between them."""

    def __init__(self, between: Callable[[], Awaitable[None]], end: Callable[[], EventId | RowsFailure]) -> None:
        self._between = between
        self._end = end

    async def __call__(self, subscriber: Subscriber, names: Collection[str], write: WriteRows) -> EventId | RowsFailure:
        assert set(names) == {"orders"}
        await write(b'{"type":"rows","piece":1}\n')
        await self._between()
        await write(b'{"type":"rows","piece":2}\n')
        return self._end()


def kinds(sink: MemorySink) -> list[str]:
    return [str(m.get("piece") or m.get("flagKey") or m.get("key", {}).get("id") or m["type"]) for m in sink.messages]


async def test_rows_come_first_and_then_the_changes_after_them() -> None:
    async def between() -> None:
        memory.commit(order(1))
        memory.commit(order(2))

    memory = MemoryHub(row_sender=Rows(between, lambda: EventId(Position(memory.flagent.position - 1), None, LOG)))
    subscriber, sink = memory.subscribed(select(tables=["orders"]), snapshot=True)
    await live(subscriber)
    memory.commit(order(3))
    assert kinds(sink) == ["1", "2", "2", "3"]


async def test_rows_that_are_ahead_of_this_server_are_waited_for() -> None:
    async def between() -> None: ...

    memory = MemoryHub(row_sender=Rows(between, lambda: EventId(Position(memory.flagent.position + 1), None, LOG)))
    subscriber, sink = memory.subscribed(select(tables=["orders"]), snapshot=True)
    await until(lambda: len(sink.messages) == 2, "the rows", deadline_s=5)
    await asyncio.sleep(0)
    assert not subscriber.is_live
    memory.commit(order(1))
    await live(subscriber)
    memory.commit(order(2))
    assert kinds(sink) == ["1", "2", "2"]


async def test_what_is_subscribed_already_loses_nothing_while_the_rows_of_an_added_table_are_sent() -> None:
    async def between() -> None:
        memory.flag("meanwhile")
        memory.commit(order(1))

    memory = MemoryHub(row_sender=Rows(between, lambda: EventId(Position(memory.flagent.position), None, LOG)))
    subscriber, sink = memory.subscribed()
    memory.flag("before")
    memory.add(subscriber, ORDERS, snapshot=True)
    await live(subscriber)
    memory.flag("after")
    memory.commit(order(2))
    assert kinds(sink) == ["before", "1", "2", "meanwhile", "after", "2"]


async def test_a_first_selection_of_a_table_continues_after_its_rows_whatever_was_committed_meanwhile() -> None:
    """The ring no longer holds where the subscription began, and need not: before it nothing was selected."""

    async def between() -> None:
        for number in range(40):
            memory.commit(order(number))

    asked: list[EventId] = []

    async def historian(after: EventId) -> History | ResyncReason:
        asked.append(after)
        return ResyncReason.OVERFLOW

    rows = Rows(between, lambda: EventId(Position(memory.flagent.position - 1), None, LOG))
    memory = MemoryHub(HubLimits(ring_events=8), row_sender=rows, historian=historian)
    subscriber, sink = memory.subscribed(Selections(()))
    memory.add(subscriber, ORDERS, snapshot=True)
    await live(subscriber)
    assert (kinds(sink), asked, memory.hub.counters.resyncs) == (["1", "2", "39"], [], {})


async def test_rows_that_fail_end_the_stream_with_the_cause() -> None:
    async def between() -> None: ...

    failure = RowsFailure("the table is gone", RowsPiece("backfill_failed", '{"code":"unknown_table"}'))
    memory = MemoryHub(row_sender=Rows(between, lambda: failure))
    subscriber, sink = memory.subscribed(select(tables=["orders"]), snapshot=True)
    await until(lambda: sink.closed is not None, "the close", deadline_s=5)
    assert sink.closed == (CloseReason.RESTARTING, "the table is gone")
    assert sink.messages[-1]["type"] == "backfill_failed"
    assert subscriber.is_closed


async def test_a_piece_of_rows_is_read_when_the_one_before_has_been_taken() -> None:
    asked = []

    async def between() -> None:
        asked.append(1)

    memory = MemoryHub(row_sender=Rows(between, lambda: EventId(Position(memory.flagent.position), None, LOG)))
    subscriber, sink = memory.subscribed(
        select(tables=["orders"]), snapshot=True, room_bytes=0, first=[b'{"type":"hello"}\n']
    )
    await asyncio.sleep(0.01)
    assert (asked, kinds(sink)) == ([], ["hello"])
    sink.drain()
    await live(subscriber)
    assert (asked, kinds(sink)) == ([1], ["hello", "1", "2"])


# -- a full transport ------------------------------------------------------------------------------------------


async def test_a_slow_subscriber_delays_no_other_and_loses_nothing() -> None:
    memory = MemoryHub()
    slow, slow_sink = memory.subscribed(room_bytes=0)
    _, quick_sink = memory.subscribed()
    memory.flag(*"abc")
    assert (keys(slow_sink), keys(quick_sink)) == (["a"], ["a", "b", "c"])
    slow_sink.drain()
    await live(slow)
    memory.flag("d")
    assert keys(slow_sink) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("disconnects", [False, True], ids=["resync", "disconnect"])
async def test_one_that_the_ring_no_longer_reaches_starts_anew_or_is_disconnected(*, disconnects: bool) -> None:
    memory = MemoryHub(HubLimits(ring_events=8))
    overflow = Overflow.DISCONNECT if disconnects else Overflow.RESYNC
    subscriber, sink = memory.subscribed(overflow=overflow)
    sink.fill()
    memory.flag(*"abcdefghijkl")
    sink.drain()
    if disconnects:
        await until(lambda: sink.closed is not None, "the close", deadline_s=5)
        assert sink.closed == (
            CloseReason.TOO_SLOW,
            "client is too slow; reconnect with the last event id received",
        )
        assert memory.hub.subscriber_count == 0
    else:
        await live(subscriber)
        assert [message["reason"] for message in sink.messages] == ["overflow"]
        assert len(sink.messages[0]["snapshot"]["flags"]) == 12
