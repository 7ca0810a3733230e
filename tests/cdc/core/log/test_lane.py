"""Streams, and how their logs are read."""

from cdc.core.log.lane import FLAGS, Stream


def test_each_kind_of_stream_has_a_log_of_its_own_kind() -> None:
    streams = (FLAGS, Stream("orders", 1, "notify"), Stream("clicks", 2, "horizon"))
    assert [(stream.log_kind, stream.is_polled) for stream in streams] == [
        ("flags", False),
        ("stream", False),
        ("horizon", True),
    ]
