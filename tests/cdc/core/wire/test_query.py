import pytest

from cdc.core.errors import InvalidInput
from cdc.core.flags.events import EventType
from cdc.core.log.position import EventId
from cdc.core.subscription.selection import Selection
from cdc.core.wire.fields import Overflow
from cdc.core.wire.query import StreamRequest, parse_stream_query


def test_no_parameter_asks_for_everything() -> None:
    assert parse_stream_query([]) == StreamRequest(Selection.of())


def test_every_parameter_is_understood() -> None:
    pairs = [
        ("flag", "a"),
        ("flag", "b"),
        ("flagID", "7"),
        ("tag", "web"),
        ("type", "flag_updated"),
        ("schema", "public"),
        ("table", "shop.orders"),
        ("segments", "true"),
        ("snapshot", "1"),
        ("lastEventId", "1042@k7q2mx"),
        ("batchMs", "50"),
        ("envelope", "true"),
        ("stamps", "false"),
        ("overflow", "disconnect"),
    ]
    selection = Selection.of(
        flag_keys=["a", "b"],
        flag_ids=[7],
        tags=["web"],
        segments=True,
        tables=["shop.orders"],
        types=[EventType.FLAG_UPDATED],
        schemas=["public"],
    )
    expected = StreamRequest(selection, True, EventId.parse("1042@k7q2mx"), 50, True, False, Overflow.DISCONNECT)
    assert parse_stream_query(pairs) == expected


def test_the_header_wins_over_the_parameter() -> None:
    request = parse_stream_query([("lastEventId", "stale")], last_event_id="9-1@k7q2mx")
    assert request.last_event_id == EventId.parse("9-1@k7q2mx")
    assert parse_stream_query([("lastEventId", "")]).last_event_id is None


@pytest.mark.parametrize(
    ("name", "value", "code", "text"),
    [
        ("flags", "a", "unknown_parameter", "there is no parameter flags; there are flag, flagID, tag, type,"),
        ("flag", "", "invalid_parameter", "1 to 256 characters"),
        ("flagID", "x", "invalid_parameter", 'flagID is "x", but must be an integer from 1 to 2147483647'),
        ("flagID", "-1", "invalid_parameter", "integer"),
        ("flagID", "99999999999", "invalid_parameter", "integer"),
        ("flagID", "٣", "invalid_parameter", "integer"),
        ("tag", "t" * 300, "invalid_parameter", "1 to 256 characters"),
        ("type", "update", "invalid_parameter", "one of flag_created, flag_updated,"),
        ("segments", "yes", "invalid_parameter", "one of true, false, 1, 0"),
        ("snapshot", "", "invalid_parameter", "one of true, false, 1, 0"),
        ("batchMs", "50ms", "invalid_parameter", "from 0 to 10000"),
        ("batchMs", "10001", "invalid_parameter", "from 0 to 10000"),
        ("overflow", "drop", "invalid_parameter", "one of resync, disconnect"),
        ("lastEventId", "1042", "invalid_event_id", "1042"),
    ],
)
def test_bad_parameters_are_refused_by_name(name: str, value: str, code: str, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_stream_query([(name, value)])
    assert (caught.value.name, caught.value.code) == (name, code)
    assert text in str(caught.value)


def test_a_parameter_that_counts_once_must_not_come_twice() -> None:
    with pytest.raises(InvalidInput, match="batchMs is given more than once"):
        parse_stream_query([("batchMs", "1"), ("batchMs", "2")])


def test_too_many_selectors_are_refused() -> None:
    with pytest.raises(InvalidInput, match="1001 flags, ids, tags and tables") as caught:
        parse_stream_query([("flag", str(number)) for number in range(1001)])
    assert caught.value.code == "too_many_selectors"
