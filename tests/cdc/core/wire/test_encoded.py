import json
from typing import Any

import pytest

from cdc.core.flags.events import Event, EventType
from cdc.core.flags.flag_bound import FlagBound
from cdc.core.log.change import Op
from cdc.core.log.position import EventId, Position
from cdc.core.wire.dialect import ENVELOPES, EVENTS, MESSAGES
from cdc.core.wire.encoded import EncodedEvent, encode_commit, event_object
from cdc.core.wire.format import Format
from tests.cdc.core.flagent import LOG, TIME, Observed, change_of, detail_of

HEAD = {"flagKey": "a", "flagID": 1}


def events_of_every_kind() -> list[Event]:
    observed = Observed()
    flagent = observed.flagent
    flagent.flag("a")
    events = observed.commit()
    flagent.insert("segments", flag_id=1)
    flagent.insert("variants", flag_id=1)
    flagent.insert("distributions", segment_id=2, variant_id=3)
    flagent.update("flags", 1, enabled=True)
    events += observed.commit()
    flagent.update("flags", 1, enabled=False)
    events += observed.commit()
    flagent.update("flags", 1, deleted_at=TIME)
    events += observed.commit(*(change_of("s", "t", op, {}, {"n": 1}) for op in Op))
    return events


def test_every_kind_of_event_is_covered_here() -> None:
    assert {event.type for event in events_of_every_kind()} == set(EventType)


@pytest.mark.parametrize("event", events_of_every_kind(), ids=lambda event: str(event.id))
def test_the_event_object_has_all_fields_in_a_fixed_order(event: Event) -> None:
    sent = json.loads(event_object(event))
    head: dict[str, Any] = {"type": event.type.value, "id": str(event.id)}
    about = {} if event.flag_id is None else HEAD
    flag = {} if event.flag is None else {"flag": event.flag}
    expected = head | about | {"schema": event.schema, "committedAt": TIME} | flag | detail_of(event)
    assert sent == expected
    assert list(sent) == list(expected)


@pytest.mark.parametrize("event", events_of_every_kind(), ids=lambda event: str(event.id))
def test_plain_data_is_the_flag_or_the_details(event: Event) -> None:
    sent = json.loads(EncodedEvent(event).data)
    if event.type == "flag_deleted":
        assert sent == {"key": "a", "id": 1}
    elif event.type in ("flag_created", "flag_updated", "flag_enabled", "flag_disabled"):
        assert sent == event.flag
    else:
        whole = json.loads(event_object(event))
        assert sent == {name: value for name, value in whole.items() if name not in ("type", "id", "schema")}


@pytest.mark.parametrize("envelope", [False, True])
def test_an_sse_block_names_its_event_and_id_and_ends_with_an_empty_line(envelope: bool) -> None:
    for encoded in encode_commit(events_of_every_kind(), FlagBound()):
        name, event_id, data, *rest = encoded.sse(envelope=envelope).decode().split("\n")
        assert name == f"event: {encoded.event.type}"
        assert event_id == f"id: {encoded.event.id}"
        assert data == f"data: {encoded.text if envelope else encoded.data}"
        assert rest == ["", ""]


def test_line_ends_within_a_flag_stay_within_its_data_line() -> None:
    observed = Observed()
    observed.flagent.flag("a", description="one\r\ntwo\u2028three")
    (encoded,) = encode_commit(observed.commit(), FlagBound())
    assert encoded.sse().count(b"\n") == 4
    assert b"\r" not in encoded.sse()


def test_each_encoding_is_made_once() -> None:
    (encoded, *_) = encode_commit(events_of_every_kind(), FlagBound())
    assert encoded.text is encoded.text
    assert encoded.sse() is encoded.sse()
    assert encoded.sse(envelope=True) is encoded.sse(envelope=True)


def test_events_of_a_commit_share_the_text_of_their_flag() -> None:
    commit = [event for event in events_of_every_kind() if event.id.position == 2]
    first, second, *_ = encode_commit(commit, FlagBound())
    assert first.data is second.data


def test_a_deletion_has_no_flag() -> None:
    event = Event(EventId(Position(1), 0, LOG), EventType.FLAG_DELETED, "public", TIME, "a", 1, frozenset(), None, {})
    assert event_object(event) == (
        f'{{"type":"flag_deleted","id":"1-0@{LOG}","flagKey":"a","flagID":1,"schema":"public","committedAt":"{TIME}"}}'
    )


@pytest.mark.parametrize("format", [Format(EVENTS), Format(ENVELOPES), Format(MESSAGES, is_framed=False)])
def test_framed_events_are_made_once_for_a_format_and_stamped_once_for_a_time(format: Format) -> None:
    for encoded in encode_commit(events_of_every_kind(), FlagBound()):
        plain, stamped = encoded.framed(format), encoded.framed_at(format, "2026-11-23T08:00:01Z")
        assert encoded.framed(format) is plain
        assert encoded.framed_at(format, "2026-11-23T08:00:01Z") is stamped
        assert encoded.framed_at(format, "2026-11-23T08:00:02Z") == stamped.replace(b":01Z", b":02Z")
        assert stamped.replace(b',"sentAt":"2026-11-23T08:00:01Z"', b"") == plain
        assert format.transport == "sse" or plain == encoded.text.encode() + b"\n"


def test_an_events_size_counts_what_it_carries() -> None:
    for encoded in encode_commit(events_of_every_kind(), FlagBound()):
        assert abs(encoded.size_bytes - len(encoded.sse(envelope=True))) < 512
        assert encoded.event_id == encoded.event.id


def test_an_event_without_an_id_leaves_the_client_where_it_was() -> None:
    event = EncodedEvent(events_of_every_kind()[-1], has_id=False)
    assert "id" not in json.loads(event.text)
    for envelope in (False, True):
        lines = event.sse(envelope=envelope).decode().splitlines()
        assert [line.partition(":")[0] for line in lines] == ["event", "data", ""]


def test_an_event_about_a_flag_beyond_the_bound_has_its_reduced_form_and_no_large_part() -> None:
    """The event itself too: it is kept in memory for those that return."""
    flagent = Observed()
    flag_id = flagent.flagent.flag("a")
    segment_id = flagent.flagent.insert("segments", flag_id=flag_id)
    flagent.commit()
    flagent.flagent.insert("variants", flag_id=flag_id, attachment=json.dumps({"x": "x" * 3_000}))
    flagent.flagent.update("segments", segment_id, rollout_percent=50)
    events = encode_commit(flagent.commit(), FlagBound(2_000))
    assert [event.event.type for event in events] == ["flag_updated", "segment_updated", "variant_updated"]
    for event in events:
        sent = json.loads(event.text)
        assert (sent["flag"]["id"], sent["flag"]["key"], sent["flag"]["variants"]) == (flag_id, "a", [])
        assert sent["flag"]["tooLarge"] > 3_000
        assert event.event.flag == sent["flag"]
        assert event.size_bytes < 2_000
        assert all(sibling.flag == sent["flag"] for sibling in event.siblings)
    assert json.loads(events[0].data) == json.loads(events[0].text)["flag"]
    assert json.loads(events[1].text)["segment"]["rolloutPercent"] == 50
    assert {"variantID", "variant"} & json.loads(events[2].text).keys() == {"variantID"}
