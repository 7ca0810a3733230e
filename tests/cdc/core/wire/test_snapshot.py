import json

from cdc.core.log.position import Position
from cdc.core.subscription.resume import ResyncReason
from cdc.core.wire.snapshot import resync_text, snapshot_text

FLAGS = [("one", {"id": 1, "key": "ü"}), ("two", {"id": 1, "key": "b"})]


def test_a_snapshot_lists_flags_in_their_order_at_a_position() -> None:
    assert snapshot_text(Position(2**60), FLAGS) == (
        '{"position":"1152921504606846976","flags":[{"id":1,"key":"ü"},{"id":1,"key":"b"}]}'
    )


def test_the_schema_is_added_last_if_there_are_several() -> None:
    flags = json.loads(snapshot_text(Position(7), FLAGS, with_schema=True))["flags"]
    assert [list(flag.items())[-1] for flag in flags] == [("schema", "one"), ("schema", "two")]
    assert "schema" not in FLAGS[0][1]


def test_a_snapshot_may_be_empty() -> None:
    assert snapshot_text(Position(0), []) == '{"position":"0","flags":[]}'


def test_a_resync_contains_the_text_of_its_snapshot() -> None:
    snapshot = snapshot_text(Position(7), FLAGS)
    for reason in ResyncReason:
        text = resync_text(reason, snapshot)
        assert json.loads(text) == {"reason": str(reason), "snapshot": json.loads(snapshot)}
        assert snapshot in text


def test_the_reasons_on_the_wire_are_stable() -> None:
    assert [str(reason) for reason in ResyncReason] == ["pruned", "ahead", "overflow", "unknown_id", "log_replaced"]
