"""The one place where plain, stamped and batched delivery differ."""

from typing import Any

import pytest

from cdc.core.flags.flag_bound import FlagBound
from cdc.core.subscription.grant import Grant
from cdc.core.wire.encoded import EncodedEvent, encode_commit
from cdc.fanout.counters import Counters
from cdc.fanout.event_writer import sent_at_now, write_events
from tests.cdc.core.flagent import Observed
from tests.cdc.fanout.memory import EVERYTHING, MemoryHub, MemorySink, keys

AT = "2026-11-23T08:00:01.000000Z"


@pytest.fixture
def events() -> list[EncodedEvent]:
    observed = Observed()
    for key in "ab":
        observed.flagent.flag(key)
    return encode_commit(observed.commit(), FlagBound())


def written(
    events: list[EncodedEvent], sent_at: str | None = None, **options: Any
) -> tuple[MemorySink, Counters, list[str]]:
    subscriber, sink = MemoryHub().subscriber(EVERYTHING, **options)
    counters = Counters()
    write_events(subscriber, events, counters, sent_at)
    assert len(sink.writes) == 1
    assert counters.sent_bytes == len(sink.data)
    return sink, counters, [message["type"] for message in sink.messages]


def test_plain_events_come_one_by_one_in_one_write(events: list[EncodedEvent]) -> None:
    sink, counters, types = written(events, AT)
    assert types == ["flag_created", "flag_created"]
    assert "sentAt" not in sink.messages[0]
    assert counters.deliveries == 2


def test_stamps_are_added_where_they_are_asked_for(events: list[EncodedEvent]) -> None:
    sink, counters, types = written(events, AT, stamps=True)
    assert types == ["flag_created", "flag_created"]
    assert {message["sentAt"] for message in sink.messages} == {AT}
    assert counters.deliveries == 2


def test_without_a_time_the_present_is_stamped(events: list[EncodedEvent]) -> None:
    before = sent_at_now()
    sink, _, _ = written(events, stamps=True)
    assert before <= sink.messages[0]["sentAt"] == sink.messages[1]["sentAt"] <= sent_at_now()


@pytest.mark.parametrize("stamps", [True, False])
def test_a_batch_is_one_message_that_counts_its_events(events: list[EncodedEvent], stamps: bool) -> None:
    sink, counters, types = written(events, AT, batch_s=0.1, stamps=stamps)
    assert types == ["batch"]
    assert keys(sink) == ["a", "b"]
    assert sink.messages[0].get("sentAt") == (AT if stamps else None)
    assert counters.deliveries == 2


@pytest.mark.parametrize("batch_s", [0.0, 0.1])
def test_a_grant_hides_what_a_flag_has_become(batch_s: float) -> None:
    observed = Observed()
    flag = observed.flagent.flag("a")
    link = observed.flagent.tag(flag, "web")
    observed.commit()
    observed.flagent.delete("flags_tags", min(observed.flagent.tables["flags_tags"]))
    assert link
    events = encode_commit(observed.commit(), FlagBound())
    sink, _, _ = written(events, grant=Grant(tags=frozenset({"web"})), batch_s=batch_s)
    shown = sink.messages[0]["events"] if batch_s else sink.messages
    assert [(event["type"], "flag" in event) for event in shown] == [("flag_deleted", False)]
