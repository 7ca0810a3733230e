"""Streams, and how their logs are read."""

from cdc.core.log.lane import FLAGS, Lane


def test_each_kind_of_stream_has_a_log_of_its_own_kind() -> None:
    lanes = (FLAGS, Lane("orders", 1, "notify"), Lane("clicks", 2, "horizon"))
    assert [(lane.log_kind, lane.is_polled) for lane in lanes] == [
        ("flags", False),
        ("stream", False),
        ("horizon", True),
    ]
