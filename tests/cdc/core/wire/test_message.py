import json
from typing import Any

import pytest

from cdc.core.errors import InvalidMessage
from cdc.core.flags.events import EventType
from cdc.core.log.position import EventId
from cdc.core.subscription.selection import Selection
from cdc.core.wire.message import Evaluate, EvaluateBatch, Ping, Subscribe, Unsubscribe, parse_message


def refused(message: Any) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        parse_message(message if isinstance(message, str) else json.dumps(message))
    return caught.value


def test_the_seeds_subscription_is_understood() -> None:
    text = '{"type": "subscribe", "flags": ["flag1", "flag2"], "tags": ["payment"], "subscribeAll": false}'
    selection = Selection.of(flag_keys=["flag1", "flag2"], tags=["payment"])
    assert parse_message(text) == Subscribe(None, (selection,), False, None, None, None)


def test_a_subscription_may_say_everything() -> None:
    message = {
        "type": "subscribe",
        "requestId": "r1",
        "flags": ["a"],
        "flagIDs": [7],
        "tags": ["web"],
        "subscribeAll": True,
        "segments": True,
        "tables": ["shop.orders"],
        "types": ["flag_updated"],
        "schemas": ["public"],
        "snapshot": True,
        "lastEventId": "1042-0@k7q2mx",
        "batchMs": 50,
        "stamps": True,
    }
    selection = Selection.of(
        everything=True,
        flag_keys=["a"],
        flag_ids=[7],
        tags=["web"],
        segments=True,
        tables=["shop.orders"],
        types=[EventType.FLAG_UPDATED],
        schemas=["public"],
    )
    expected = Subscribe("r1", (selection,), True, EventId.parse("1042-0@k7q2mx"), 50, True)
    assert parse_message(json.dumps(message)) == expected


@pytest.mark.parametrize("message", [{}, {"flags": None}, {"lastEventId": "", "requestId": None}, {"flags": []}])
def test_a_subscription_to_nothing_in_particular_is_to_everything(message: dict[str, Any]) -> None:
    parsed = parse_message(json.dumps({"type": "subscribe", **message}))
    assert parsed == Subscribe(None, (Selection.of(),), False, None, None, None)


def test_not_all_and_nothing_else_is_refused() -> None:
    error = refused({"type": "subscribe", "flags": [], "subscribeAll": False})
    assert (error.name, str(error).split(";")[0]) == (
        "subscribeAll",
        "nothing is selected while subscribeAll is false",
    )


def test_unsubscribing_takes_selectors_or_everything() -> None:
    assert parse_message('{"type":"unsubscribe"}') == Unsubscribe(None, None)
    assert parse_message('{"type":"unsubscribe","flags":["a"],"requestId":"x"}') == Unsubscribe(
        "x", Selection.of(flag_keys=["a"])
    )
    assert parse_message('{"type":"unsubscribe","subscribeAll":true}') == Unsubscribe(None, Selection.of())


def test_a_ping_is_a_ping() -> None:
    assert parse_message('{"type":"ping","requestId":"p"}') == Ping("p")
    assert parse_message('{"type":"ping"}') == Ping(None)


def test_an_evaluation_keeps_its_own_fields_for_the_evaluation_to_check() -> None:
    body = {"flagKey": "a", "entityContext": {"age": 25}, "entityID": "u"}
    message = {"type": "evaluate", "requestId": "e", "minPosition": "1042", **body}
    assert parse_message(json.dumps(message)) == Evaluate("e", body, 1042)  # type: ignore[arg-type]
    assert parse_message('{"type":"evaluate","minPosition":7}') == Evaluate(None, {}, 7)  # type: ignore[arg-type]
    batch = {"entities": [{"entityID": "u"}], "flagIDs": [1], "flagTagsOperator": "ALL"}
    assert parse_message(json.dumps({"type": "evaluate_batch", **batch})) == EvaluateBatch(None, batch, None)


def test_a_refusal_names_the_request() -> None:
    assert refused({"type": "subscribe", "requestId": "r9", "flags": 1}).request_id == "r9"
    assert refused({"type": "nonsense", "requestId": "r9"}).request_id == "r9"
    assert refused({"type": "ping", "requestId": 5}).request_id is None
    assert refused("{").request_id is None


@pytest.mark.parametrize(
    ("message", "code", "name", "text"),
    [
        ("{", "invalid_json", "", "not valid JSON"),
        ('{"type":"evaluate","entityContext":{"a":NaN}}', "invalid_json", "", "NaN is not allowed"),
        ('{"type":"evaluate","entityContext":{"a":1e999}}', "invalid_json", "", "1e999 is too large"),
        ("[" * 100_000, "invalid_message", "", "deeper than 16"),
        ("[" * 10 + "]" * 10, "invalid_message", "", "must be a JSON object"),
        ('{"a":' * 17 + "1" + "}" * 17, "invalid_message", "", "deeper than 16"),
        ("{}", "unknown_type", "type", "type is null, but must be one of subscribe, unsubscribe, ping,"),
        ('{"type":["ping"]}', "unknown_type", "type", 'type is ["ping"], but'),
        ({"type": "ping", "requestId": ""}, "invalid_parameter", "requestId", "1 to 128 characters"),
        ({"type": "ping", "requestId": "r" * 129}, "invalid_parameter", "requestId", "1 to 128 characters"),
        ({"type": "ping", "flags": []}, "unknown_field", "flags", "ping has no field flags; it has type, requestId"),
        ({"type": "subscribe", "flag": ["a"]}, "unknown_field", "flag", "it has type, requestId, flags, flagIDs,"),
        ({"type": "subscribe", "x" * 99: 1}, "unknown_field", "x" * 64 + "…", "no field xxxx"),
        ('{"type":"ping","\\ud800":1}', "unknown_field", "\\ud800", "no field"),
        ({"type": "subscribe", "flags": "a"}, "invalid_parameter", "flags", 'flags is "a", but must be a list'),
        ({"type": "subscribe", "flags": [1]}, "invalid_parameter", "flags", "flags is 1, but must be a string"),
        ({"type": "subscribe", "flags": [""]}, "invalid_parameter", "flags", "1 to 256 characters"),
        ({"type": "subscribe", "tags": ["t" * 257]}, "invalid_parameter", "tags", "1 to 256 characters"),
        ({"type": "subscribe", "tables": [None]}, "invalid_parameter", "tables", "tables is null"),
        ({"type": "subscribe", "schemas": [{}]}, "invalid_parameter", "schemas", "schemas is {}"),
        ({"type": "subscribe", "flagIDs": ["7"]}, "invalid_parameter", "flagIDs", "an integer from 1 to 2147483647"),
        ({"type": "subscribe", "flagIDs": [True]}, "invalid_parameter", "flagIDs", "flagIDs is true"),
        ({"type": "subscribe", "flagIDs": [0]}, "invalid_parameter", "flagIDs", "flagIDs is 0"),
        ({"type": "subscribe", "types": ["flag.updated"]}, "invalid_parameter", "types", "one of flag_created, "),
        ({"type": "subscribe", "types": [[]]}, "invalid_parameter", "types", "types is []"),
        ({"type": "subscribe", "subscribeAll": "yes"}, "invalid_parameter", "subscribeAll", "true or false"),
        ({"type": "subscribe", "segments": 1}, "invalid_parameter", "segments", "true or false"),
        ({"type": "subscribe", "snapshot": 0}, "invalid_parameter", "snapshot", "true or false"),
        ({"type": "subscribe", "stamps": []}, "invalid_parameter", "stamps", "true or false"),
        ({"type": "subscribe", "batchMs": 10_001}, "invalid_parameter", "batchMs", "from 0 to 10000"),
        ({"type": "subscribe", "batchMs": -1}, "invalid_parameter", "batchMs", "batchMs is -1"),
        ({"type": "subscribe", "batchMs": 1.5}, "invalid_parameter", "batchMs", "batchMs is 1.5"),
        ({"type": "subscribe", "lastEventId": "1042"}, "invalid_event_id", "lastEventId", "1042"),
        ({"type": "subscribe", "lastEventId": 1042}, "invalid_event_id", "lastEventId", "1042"),
        ({"type": "subscribe", "flags": ["a"] * 1001}, "too_many_selectors", "", "at most 1000"),
        ({"type": "evaluate", "minPosition": "x"}, "invalid_parameter", "minPosition", "position that the server sent"),
        ({"type": "evaluate", "minPosition": -1}, "invalid_parameter", "minPosition", "minPosition is -1"),
        ({"type": "evaluate", "minPosition": True}, "invalid_parameter", "minPosition", "minPosition is true"),
        ({"type": "evaluate", "minPosition": "9" * 19 + "9"}, "invalid_parameter", "minPosition", "999"),
    ],
)
def test_bad_messages_are_refused_by_name(message: Any, code: str, name: str, text: str) -> None:
    error = refused(message)
    assert (error.code, error.name) == (code, name)
    assert text in str(error)
    assert len(str(error)) < 400
