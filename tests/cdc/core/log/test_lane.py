"""Streams, and how their logs are read."""

from cdc.core.log.lane import FLAGS, Lane


def test_each_kind_of_lane_has_its_kind_of_log() -> None:
    lanes = (FLAGS, Lane("orders", 1, "commit"), Lane("clicks", 2, "read"))
    assert [(lane.log_kind, lane.is_polled) for lane in lanes] == [
        ("flags", False),
        ("commit", False),
        ("read", True),
    ]
