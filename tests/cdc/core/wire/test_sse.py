import json

import pytest

from cdc.core.flags.flag_bound import FlagBound
from cdc.core.log.position import EventId, Position
from cdc.core.subscription.resume import ResyncReason
from cdc.core.wire import sse
from cdc.core.wire.encoded import encode_commit
from cdc.core.wire.snapshot import snapshot_text
from tests.cdc.core.flagent import LOG, Observed

HERE = EventId(Position(1042), None, LOG)


def test_the_first_block_sets_the_delay_of_reconnection() -> None:
    assert sse.retry(2500) == b"retry: 2500\n\n"


def test_connected_has_no_id_line() -> None:
    assert sse.connected(HERE, is_fresh=True, age_ms=12) == (
        b'event: connected\ndata: {"position":"1042","id":"1042@k7q2mx","fresh":true,"ageMs":12}\n\n'
    )


def test_a_keep_alive_moves_the_id_and_dispatches_nothing() -> None:
    assert sse.keep_alive(HERE, is_fresh=True, age_ms=12) == (
        b": keep-alive position=1042 fresh=true ageMs=12\nid: 1042@k7q2mx\n\n"
    )
    assert sse.keep_alive(HERE, is_fresh=False, age_ms=99, digest="2:0000abcd") == (
        b": keep-alive position=1042 fresh=false ageMs=99 digest=2:0000abcd\nid: 1042@k7q2mx\n\n"
    )


def test_a_snapshot_carries_its_id() -> None:
    text = snapshot_text(Position(1042), [("public", {"key": "a"})], FlagBound())
    assert sse.snapshot(HERE, text) == (
        b'event: snapshot\nid: 1042@k7q2mx\ndata: {"position":"1042","flags":[{"key":"a"}]}\n\n'
    )


def test_a_snapshot_of_several_schemas_says_where_each_flag_is() -> None:
    text = snapshot_text(Position(7), [("one", {"key": "a"}), ("two", {"key": "a"})], FlagBound(), with_schema=True)
    assert text == '{"position":"7","flags":[{"key":"a","schema":"one"},{"key":"a","schema":"two"}]}'


def test_a_resync_says_why_and_from_where() -> None:
    text = snapshot_text(Position(1042), [], FlagBound())
    assert sse.resync(HERE, ResyncReason.PRUNED, text) == (
        b'event: resync\nid: 1042@k7q2mx\ndata: {"reason":"pruned","snapshot":{"position":"1042","flags":[]}}\n\n'
    )


def test_goodbye_is_a_comment_after_a_delay() -> None:
    assert sse.closing(3000) == b"retry: 3000\n: closing\n\n"


def test_a_batch_has_the_id_of_its_last_event() -> None:
    observed = Observed()
    observed.flagent.flag("a")
    observed.flagent.flag("b")
    events = encode_commit(observed.commit(), FlagBound())
    name, event_id, data, *rest = sse.batch(iter(events)).decode().split("\n")
    assert (name, event_id, rest) == ("event: batch", f"id: {events[-1].event_id}", ["", ""])
    sent = json.loads(data.removeprefix("data: "))
    assert sent == {"events": [json.loads(event.text) for event in events]}


def test_a_stamp_is_the_last_field_of_the_data() -> None:
    block = sse.with_sent_at(b'event: x\ndata: {"a":1}\n\n', "2026-11-23T08:00:00Z")
    assert block == b'event: x\ndata: {"a":1,"sentAt":"2026-11-23T08:00:00Z"}\n\n'


def test_a_block_without_an_object_takes_no_stamp() -> None:
    with pytest.raises(ValueError, match="object"):
        sse.with_sent_at(sse.keep_alive(HERE, is_fresh=True, age_ms=1), "2026-11-23T08:00:00Z")
