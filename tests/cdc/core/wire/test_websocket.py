import json

from cdc.core.flags.flag_bound import FlagBound
from cdc.core.log.position import EventId, Position
from cdc.core.subscription.resume import ResyncReason
from cdc.core.subscription.selection import Selection, Selections
from cdc.core.wire import websocket
from cdc.core.wire.encoded import encode_commit
from cdc.core.wire.snapshot import snapshot_text
from tests.cdc.core.flagent import LOG, Observed

HERE = EventId(Position(1042), None, LOG)
STANDING = {"position": "1042", "id": "1042@k7q2mx", "fresh": True, "ageMs": 1}


def test_answers_to_subscriptions_say_what_has_changed_and_how_much_there_is() -> None:
    change = Selection.of(flag_keys=["a"])
    selections = Selections().add(Selection.of(flag_keys=["b", "c"])).add(Selection.of(schemas=["s"]))
    size = {"selectors": 3, "clauses": 2}
    added = json.loads(websocket.subscribed("r1", HERE, [change], selections, is_fresh=True, age_ms=1, heartbeat_ms=9))
    assert added == {
        "type": "subscribed", "requestId": "r1", **STANDING, "heartbeatMs": 9, "added": change.to_json(), **size
    }  # fmt: skip
    removed = json.loads(websocket.unsubscribed("r1", HERE, change, selections, is_fresh=True, age_ms=1))
    assert removed == {"type": "unsubscribed", "requestId": "r1", **STANDING, "removed": change.to_json(), **size}
    assert [list(sent)[:2] for sent in (added, removed)] == [["type", "requestId"]] * 2
    everything = json.loads(websocket.unsubscribed("r1", HERE, None, Selections(), is_fresh=True, age_ms=1))
    assert (everything["removed"], everything["selectors"], everything["clauses"]) == (None, 0, 0)


def test_a_snapshot_names_its_request_if_there_was_one() -> None:
    text = snapshot_text(Position(1042), [("public", {"key": "a"})], FlagBound())
    expected = {"type": "snapshot", "id": "1042@k7q2mx", "position": "1042", "flags": [{"key": "a"}]}
    assert json.loads(websocket.snapshot(HERE, text)) == expected
    assert json.loads(websocket.snapshot_head(HERE, 'r"1') + text[1:]) == {**expected, "requestId": 'r"1'}


def test_a_resync_says_why_and_from_where() -> None:
    assert json.loads(websocket.resync(HERE, ResyncReason.AHEAD, snapshot_text(Position(1042), [], FlagBound()))) == {
        "type": "resync",
        "id": "1042@k7q2mx",
        "reason": "ahead",
        "snapshot": {"position": "1042", "flags": []},
    }


def test_a_batch_has_the_id_of_its_last_event() -> None:
    observed = Observed()
    observed.flagent.flag("a")
    observed.flagent.flag("b")
    events = encode_commit(observed.commit(), FlagBound())
    assert json.loads(websocket.batch(iter(events))) == {
        "type": "batch",
        "id": str(events[-1].event_id),
        "events": [json.loads(event.text) for event in events],
    }


def test_a_heartbeat_carries_the_digest_where_it_is_known() -> None:
    assert json.loads(websocket.heartbeat(HERE, is_fresh=True, age_ms=1)) == {"type": "heartbeat", **STANDING}
    sent = json.loads(websocket.heartbeat(HERE, is_fresh=True, age_ms=1, digest="1:00000000"))
    assert sent == {"type": "heartbeat", **STANDING, "digest": "1:00000000"}


def test_small_answers() -> None:
    assert websocket.pong("r1") == '{"type":"pong","requestId":"r1"}'
    assert websocket.error("invalid_json", "what?", None) == (
        '{"type":"error","code":"invalid_json","message":"what?","requestId":null}'
    )
    assert websocket.evaluation_result("r1", Position(7), '{"flagID":1}') == (
        '{"type":"evaluation_result","requestId":"r1","position":"7","result":{"flagID":1}}'
    )
    assert websocket.evaluation_results("r1", Position(7), []) == (
        '{"type":"evaluation_result","requestId":"r1","position":"7","results":[]}'
    )


def test_a_stamp_is_the_last_field() -> None:
    sent = websocket.with_sent_at(websocket.pong("r1"), "2026-11-23T08:00:00Z")
    assert sent == '{"type":"pong","requestId":"r1","sentAt":"2026-11-23T08:00:00Z"}'
