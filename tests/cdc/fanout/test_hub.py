"""Publishing, live delivery, and the way of a subscriber between live and behind."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from cdc.core.errors import InvalidInput
from cdc.core.flags.catalog import Catalog
from cdc.core.flags.events import EventType
from cdc.core.log.change import Commit, Op
from cdc.core.log.position import LogId, Position
from cdc.core.subscription.grant import Grant
from cdc.core.subscription.resume import ResyncReason
from cdc.core.subscription.selection import Selection, Selections
from cdc.core.wire.encoded import EncodedEvent
from cdc.fanout.backlog import SLICE_BYTES
from cdc.fanout.subscriber import CloseReason, Subscriber
from tests.cdc.core.flagent import change_of
from tests.cdc.fanout.memory import EVERYTHING, SSE, MemoryHub, keys, select
from tests.fixtures.server import until


async def live(subscriber: Subscriber) -> None:
    await until(lambda: subscriber.is_live, "going live", deadline_s=5)


# -- publishing ------------------------------------------------------------------------------------------------


async def test_every_subscriber_gets_what_it_selected_in_its_format() -> None:
    memory = MemoryHub()
    _, everything = memory.subscribed()
    _, one = memory.subscribed(select(flag_keys=["b"]))
    _, sse = memory.subscribed(EVERYTHING, SSE)
    memory.flag("a", "b")
    assert (keys(everything), keys(one)) == (["a", "b"], ["b"])
    assert bytes(sse.data).count(b"event: flag_created\n") == 2
    assert (memory.hub.subscriber_count, memory.hub.behind_count) == (3, 0)


async def test_a_commit_is_written_to_each_subscriber_at_once() -> None:
    memory = MemoryHub()
    _, everything = memory.subscribed()
    _, matched = memory.subscribed(select(flag_keys=["a", "b"]))
    for key in ("a", "b"):
        memory.flagent.flag(key)
    memory.commit()
    assert (len(everything.writes), len(matched.writes)) == (1, 1)
    assert keys(everything) == keys(matched) == ["a", "b"]


async def test_a_commit_that_was_applied_already_changes_nothing() -> None:
    memory = MemoryHub()
    _, sink = memory.subscribed()
    memory.flagent.flag("a")
    commit = memory.commit()
    memory.hub.publish([commit])
    assert keys(sink) == ["a"]
    assert memory.hub.counters.events == {EventType.FLAG_CREATED: 1}


async def test_what_is_delivered_is_counted() -> None:
    memory = MemoryHub()
    sinks = [
        memory.subscribed(select(flag_keys=["a"]) if number else EVERYTHING, stamps=number == 2)[1]
        for number in range(3)
    ]
    memory.flag("a", "b")
    counters = memory.hub.counters
    assert counters.deliveries == 4
    assert counters.sent_bytes == sum(len(sink.data) for sink in sinks)
    assert counters.events == {EventType.FLAG_CREATED: 2}
    assert counters.latency.cumulative()[-1] == 2


async def test_stamped_subscribers_of_one_delivery_share_the_time_of_sending() -> None:
    memory = MemoryHub()
    (_, one), (_, other), (_, plain) = (memory.subscribed(stamps=stamps) for stamps in (True, True, False))
    memory.flag("a")
    assert one.messages == other.messages
    assert one.messages[0]["sentAt"] > one.messages[0]["committedAt"]
    assert "sentAt" not in plain.messages[0]


async def test_a_grant_hides_what_a_flag_has_become() -> None:
    memory = MemoryHub()
    grant = Grant(tags=frozenset({"web"}))
    selection = Selection.of().within(grant)
    _, sink = memory.subscribed(Selections((selection,)), grant=grant)
    (flag,) = memory.flag("a")
    memory.flagent.tag(flag, "web")
    memory.commit()
    (link,) = memory.flagent.tables["flags_tags"]
    memory.flagent.delete("flags_tags", link)
    memory.commit()
    assert [message["type"] for message in sink.messages] == ["flag_updated", "flag_deleted"]
    assert "flag" not in sink.messages[-1]


async def test_the_position_can_be_waited_for() -> None:
    memory = MemoryHub()
    reached = asyncio.create_task(memory.hub.reached(Position(2), 5))
    memory.flag("a")
    await asyncio.sleep(0)
    assert not reached.done()
    memory.flag("b")
    assert await reached
    assert not await memory.hub.reached(Position(3), 0.01)
    assert memory.hub.here().position == 2


class Notes:
    """An observer that notes what it is called for."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def publishing(self) -> None:
        self.calls.append("publishing")

    def delivering(self) -> None:
        self.calls.append("delivering")

    def delivered(self, commits: Sequence[Commit], events: Sequence[EncodedEvent], subscribers: int) -> None:
        self.calls.append((len(commits), len(events), subscribers))


async def test_publications_can_be_observed() -> None:
    notes = Notes()
    memory = MemoryHub(observer=notes)
    memory.subscribed()
    memory.flag("a")
    assert notes.calls == ["publishing", "delivering", (1, 1, 1)]
    # Bookkeeping alone is no event.
    memory.flagent.save(min(memory.flagent.tables["flags"]))
    memory.commit()
    assert notes.calls[3:] == ["publishing"]


# -- batches ---------------------------------------------------------------------------------------------------


async def test_the_events_of_a_time_window_come_as_one_batch() -> None:
    memory = MemoryHub()
    subscriber, sink = memory.subscribed(batch_s=0.02)
    memory.flag(*"abc")
    assert (sink.messages, memory.hub.counters.deliveries) == ([], 0)
    await until(lambda: subscriber.pending is None, "the end of the window", deadline_s=5)
    assert [message["type"] for message in sink.messages] == ["batch"]
    assert keys(sink) == ["a", "b", "c"]
    assert memory.hub.counters.deliveries == 3


async def test_a_batch_ends_early_when_it_is_large() -> None:
    """Its events are kept for it, and encoding it must not take a whole window's worth at once."""
    memory = MemoryHub()
    subscriber, sink = memory.subscribed(batch_s=10)
    memory.flag(*[f"f{number}" for number in range(7)], notes="x" * 20_000)
    assert [len(message["events"]) for message in sink.messages] == [4]
    assert subscriber.pending is not None
    assert len(subscriber.pending) == 3
    memory.hub.remove(subscriber)
    assert len(keys(sink)) == 4


async def test_a_batch_that_does_not_find_room_is_read_again_and_counted_once() -> None:
    memory = MemoryHub()
    subscriber, sink = memory.subscribed(batch_s=0.02)
    memory.flag("a")
    sink.fill()
    memory.flag("b")
    await asyncio.sleep(0.05)
    assert sink.messages == []
    sink.drain()
    await live(subscriber)
    assert keys(sink) == ["a", "b"]
    assert memory.hub.counters.deliveries == 2


# -- coming and going ------------------------------------------------------------------------------------------


async def test_first_messages_come_before_the_snapshot_and_that_before_events() -> None:
    memory = MemoryHub()
    memory.flag("a")
    _, sink = memory.subscribed(first=[b'{"type":"hello"}\n'], snapshot=True)
    memory.flag("b")
    assert [message["type"] for message in sink.messages] == ["hello", "snapshot", "flag_created"]


async def test_on_live_is_called_when_it_has_caught_up() -> None:
    memory = MemoryHub()
    seen: list[Subscriber] = []
    subscriber, sink = memory.subscriber(room_bytes=0, on_live=seen.append)
    memory.hub.subscribe(subscriber, first=[b'{"type":"hello"}\n'])
    assert seen == []
    sink.drain()
    await live(subscriber)
    assert seen == [subscriber]


async def test_after_its_removal_nothing_is_written() -> None:
    memory = MemoryHub()
    subscriber, sink = memory.subscribed(batch_s=0.01)
    memory.flag("a")
    memory.hub.remove(subscriber)
    memory.hub.remove(subscriber)
    memory.flag("b")
    sink.fill()
    sink.drain()
    await asyncio.sleep(0.03)
    assert (sink.messages, sink.closed, memory.hub.subscriber_count) == ([], None, 0)
    assert (subscriber.is_live, subscriber.is_closed) == (False, True)


async def test_a_removed_subscriber_can_subscribe_again() -> None:
    memory, other = MemoryHub(), MemoryHub()
    subscriber, sink = memory.subscribed()
    memory.hub.remove(subscriber)
    other.hub.subscribe(subscriber)
    memory.flag("a")
    other.flag("b")
    assert keys(sink) == ["b"]
    assert subscriber.delivery is other.hub


async def test_a_message_that_is_not_an_event_keeps_its_place() -> None:
    memory = MemoryHub()
    subscriber, sink = memory.subscribed()
    memory.hub.send(subscriber, b'{"type":"one"}\n')
    sink.fill()
    memory.hub.send(subscriber, b'{"type":"two"}\n')
    memory.flag("a")
    memory.hub.send(subscriber, b'{"type":"three"}\n')
    assert [message["type"] for message in sink.messages] == ["one"]
    sink.drain()
    await live(subscriber)
    assert [message["type"] for message in sink.messages] == ["one", "two", "three", "flag_created"]


async def test_a_last_message_is_sent_before_the_close_unless_others_wait() -> None:
    memory = MemoryHub()
    ready, ready_sink = memory.subscribed()
    full, full_sink = memory.subscribed()
    full_sink.fill()
    for subscriber in (ready, full):
        memory.hub.close(subscriber, CloseReason.UNAUTHORIZED, "the key was revoked", b'{"type":"last"}\n')
        memory.hub.close(subscriber, CloseReason.TOO_SLOW, "once more")
    assert [message["type"] for message in ready_sink.messages] == ["last"]
    assert full_sink.messages == []
    assert ready_sink.closed == full_sink.closed == (CloseReason.UNAUTHORIZED, "the key was revoked")
    assert memory.hub.counters.disconnects == {CloseReason.UNAUTHORIZED: 2}
    assert memory.hub.subscriber_count == 0


async def test_a_subscriber_that_has_not_begun_can_be_closed() -> None:
    memory = MemoryHub()
    subscriber, sink = memory.subscriber()
    subscriber.delivery.close(subscriber, CloseReason.UNAUTHORIZED, "no credential")
    assert (sink.closed, subscriber.is_closed) == ((CloseReason.UNAUTHORIZED, "no credential"), True)


async def test_a_disconnect_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    memory = MemoryHub()
    stays, _ = memory.subscribed()
    goes, sink = memory.subscribed(select(tables=["orders"]))
    with caplog.at_level(logging.INFO, "cdc.fanout"):
        memory.hub.disconnect_where(lambda one: InvalidInput("moved") if one.selections.tables_alone else None)
    assert sink.closed == (CloseReason.RESTARTING, "moved")
    assert [(record.__dict__["action"], record.__dict__["reason"]) for record in caplog.records] == [
        ("subscriber_disconnected", "RESTARTING")
    ]
    assert (stays.is_closed, goes.is_closed) == (False, True)


# -- another selection -----------------------------------------------------------------------------------------


async def test_a_selection_changes_between_two_events() -> None:
    memory = MemoryHub()
    subscriber, sink = memory.subscribed(select(flag_keys=["a"]))
    memory.flag("a", "b")
    memory.hub.reselect(subscriber, select(flag_keys=["c"]), first=[b'{"type":"answer"}\n'], stamps=True)
    memory.flag("c")
    assert keys(sink) == ["a", "c"]
    assert [message["type"] for message in sink.messages] == ["flag_created", "answer", "flag_created"]
    assert ["sentAt" in message for message in sink.messages] == [False, False, True]


async def test_the_snapshot_of_an_added_part_holds_that_part() -> None:
    memory = MemoryHub()
    memory.flag("a", "b")
    subscriber, sink = memory.subscribed(select(flag_keys=["a"]))
    memory.add(subscriber, Selection.of(flag_keys=["b"]), snapshot=True, request_id="r")
    assert [flag["key"] for flag in sink.messages[0]["flags"]] == ["b"]
    assert sink.messages[0]["requestId"] == "r"


async def test_a_change_of_the_selection_sends_the_open_batch_first() -> None:
    memory = MemoryHub()
    subscriber, sink = memory.subscribed(select(flag_keys=["a"]), batch_s=5)
    memory.flag("a")
    memory.hub.reselect(subscriber, EVERYTHING, first=[b'{"type":"answer"}\n'], batch_s=0)
    memory.flag("b")
    assert [message["type"] for message in sink.messages] == ["batch", "answer", "flag_created"]


async def test_a_batch_that_fills_the_transport_does_not_break_a_change_of_the_selection() -> None:
    memory = MemoryHub()
    subscriber, sink = memory.subscribed(select(flag_keys=["a"]), batch_s=5, room_bytes=0)
    memory.flag("a")
    memory.hub.reselect(subscriber, EVERYTHING, first=[b'{"type":"answer"}\n'], batch_s=0)
    memory.flag("b")
    assert [message["type"] for message in sink.messages] == ["batch"]
    sink.drain()
    await live(subscriber)
    assert [message["type"] for message in sink.messages] == ["batch", "answer", "flag_created"]
    assert keys(sink) == ["a", "b"]


async def test_one_that_is_behind_cannot_change_its_selection() -> None:
    memory = MemoryHub()
    subscriber, sink = memory.subscribed()
    sink.fill()
    with pytest.raises(RuntimeError, match="live"):
        memory.hub.reselect(subscriber, EVERYTHING, first=())


# -- full, and another catalog ---------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [True, False], ids=["broadcast", "matched"])
async def test_one_that_fills_while_events_are_delivered_falls_behind_after_them(*, plain: bool) -> None:
    memory = MemoryHub()
    selections = EVERYTHING if plain else select(flag_keys=list("abc"))
    full = [memory.subscribed(selections, room_bytes=0) for _ in range(3)]
    memory.flag("a")
    assert memory.hub.behind_count == 3
    assert memory.hub.counters.pauses == 3
    memory.flag("b")
    for subscriber, sink in full:
        sink.drain(room_bytes=0)
        sink.fill()  # before its turn
        sink.drain()
        await live(subscriber)
    memory.flag("c")
    assert [keys(sink) for _, sink in full] == [["a", "b", "c"]] * 3
    assert memory.hub.counters.pauses == 6


async def test_a_subscriber_takes_turns_until_all_of_a_large_snapshot_is_sent() -> None:
    memory = MemoryHub()
    memory.flag("a", notes="x" * (3 * SLICE_BYTES))
    subscriber, sink = memory.subscribed(snapshot=True)
    await live(subscriber)
    assert max(map(len, sink.writes)) == SLICE_BYTES
    assert sink.messages[0]["flags"][0]["notes"] == "x" * (3 * SLICE_BYTES)


def another(memory: MemoryHub, log: str = "other1") -> Catalog:
    catalog = memory.flagent.catalog()
    catalog.log = LogId(log)
    return catalog


@pytest.mark.parametrize("plain", [True, False], ids=["broadcast", "matched"])
async def test_when_the_log_is_replaced_every_subscriber_starts_from_a_snapshot(*, plain: bool) -> None:
    memory = MemoryHub()
    memory.flag("a")
    subscriber, sink = memory.subscribed(EVERYTHING if plain else select(flag_keys=["a", "b"]))
    memory.hub.replace(another(memory), ResyncReason.LOG_REPLACED)
    assert not subscriber.is_live
    await asyncio.sleep(0)
    memory.flag("b")
    assert [message["type"] for message in sink.messages] == ["resync", "flag_created"]
    assert sink.messages[0]["reason"] == "log_replaced"
    assert sink.messages[1]["id"].startswith("2-0@other1.")
    assert subscriber.is_live
    assert memory.hub.counters.resyncs == {ResyncReason.LOG_REPLACED: 1}


async def test_a_resync_replaces_an_open_batch_and_what_was_waited_for() -> None:
    memory = MemoryHub()
    batching, batches = memory.subscribed(batch_s=0.01)
    waiting, waited = memory.subscribed(last_event_id=memory.ahead(9))
    memory.flag("a")
    memory.hub.replace(another(memory), ResyncReason.PRUNED)
    await asyncio.sleep(0.03)
    assert [message["type"] for message in batches.messages] == ["resync"]
    assert [message["type"] for message in waited.messages] == ["resync"]
    assert batching.is_live
    assert waiting.is_live


async def test_a_snapshot_that_is_half_sent_is_finished_before_a_resync() -> None:
    memory = MemoryHub()
    memory.flag("a", notes="x" * (2 * SLICE_BYTES))
    subscriber, sink = memory.subscribed(snapshot=True, room_bytes=0)
    assert len(sink.data) == SLICE_BYTES
    memory.hub.replace(another(memory), ResyncReason.LOG_REPLACED)
    sink.drain()
    await live(subscriber)
    assert [message["type"] for message in sink.messages] == ["snapshot", "resync"]


async def test_rows_reach_only_subscribers_of_their_table() -> None:
    memory = MemoryHub()
    _, everything = memory.subscribed()
    _, orders = memory.subscribed(select(tables=["orders"]))
    memory.commit(change_of("public", "orders", Op.INSERT, None, {"id": 1}, {"id": 1}))
    assert everything.messages == []
    assert [message["type"] for message in orders.messages] == ["row_inserted"]
