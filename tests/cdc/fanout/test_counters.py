from datetime import UTC, datetime

from cdc.fanout.counters import Counters

NOW = datetime(2026, 11, 23, 8, 0, 1, tzinfo=UTC)


def test_a_new_hub_has_counted_nothing() -> None:
    counters = Counters()
    assert (counters.deliveries, counters.sent_bytes, counters.pauses) == (0, 0, 0)
    assert not counters.events
    assert not counters.resyncs
    assert not counters.disconnects
    assert counters.latency.cumulative()[-1] == 0


def test_latency_is_from_the_commit_to_the_writes() -> None:
    counters = Counters()
    counters.observe_latency(["2026-11-23T08:00:00.500000Z", "2026-11-23T08:00:00.750000Z"], NOW)
    assert counters.latency.cumulative()[-1] == 2
    assert counters.latency.sum == 0.75


def test_a_database_whose_clock_is_ahead_makes_no_latency_negative() -> None:
    counters = Counters()
    counters.observe_latency(["2026-11-23T08:00:05.000000Z"], NOW)
    assert counters.latency.sum == 0
    counters.observe_latency(["2999-01-01T00:00:00.000000Z"])
    assert counters.latency.sum == 0
