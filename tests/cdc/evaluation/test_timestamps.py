"""The time of results."""

from datetime import UTC, datetime

from cdc.evaluation.timestamps import Timestamps


def test_it_is_the_time_of_the_call_in_utc() -> None:
    instants = [0, 999_999, 1_000_000, 1_795_000_000_123_456_789, 1_795_000_000_999_999_999, 4_102_444_800_000_000_000]
    timestamps = Timestamps(iter(instants).__next__)
    expected = [
        datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        + f".{nanoseconds // 10**6 % 1000:03d}Z"
        for nanoseconds in instants
    ]
    assert [timestamps() for _ in instants] == expected


def test_a_clock_that_goes_back_is_followed() -> None:
    timestamps = Timestamps(iter([5_000_000_000, 1_000_000_000]).__next__)
    assert (timestamps(), timestamps()) == ("1970-01-01T00:00:05.000Z", "1970-01-01T00:00:01.000Z")
