import json

from cdc.core.flags.flag_bound import FlagBound
from cdc.core.log.position import Position
from cdc.core.subscription.resume import ResyncReason
from cdc.core.wire.snapshot import resync_text, snapshot_text

FLAGS = [("one", {"id": 1, "key": "ü"}), ("two", {"id": 1, "key": "b"})]


def test_a_snapshot_lists_flags_in_their_order_at_a_position() -> None:
    assert snapshot_text(Position(2**60), FLAGS, FlagBound()) == (
        '{"position":"1152921504606846976","flags":[{"id":1,"key":"ü"},{"id":1,"key":"b"}]}'
    )


def test_the_schema_is_added_last_if_there_are_several() -> None:
    flags = json.loads(snapshot_text(Position(7), FLAGS, FlagBound(), with_schema=True))["flags"]
    assert [list(flag.items())[-1] for flag in flags] == [("schema", "one"), ("schema", "two")]
    assert "schema" not in FLAGS[0][1]


def test_a_flag_beyond_the_bound_is_in_a_snapshot_in_its_reduced_form() -> None:
    large = {"id": 2, "key": "large", "notes": "x" * 500}
    text = snapshot_text(Position(7), [*FLAGS, ("two", large)], FlagBound(400), with_schema=True)
    assert json.loads(text)["flags"][-1] == {"id": 2, "key": "large", "notes": None, "tooLarge": 533, "schema": "two"}


def test_a_snapshot_may_be_empty() -> None:
    assert snapshot_text(Position(0), [], FlagBound()) == '{"position":"0","flags":[]}'


def test_a_resync_contains_the_text_of_its_snapshot() -> None:
    snapshot = snapshot_text(Position(7), FLAGS, FlagBound())
    for reason in ResyncReason:
        text = resync_text(reason, snapshot)
        assert json.loads(text) == {"reason": str(reason), "snapshot": json.loads(snapshot)}
        assert snapshot in text


def test_the_reasons_on_the_wire_are_stable() -> None:
    assert [str(reason) for reason in ResyncReason] == ["pruned", "ahead", "overflow", "unknown_id", "log_replaced"]
