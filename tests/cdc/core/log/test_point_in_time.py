"""Moments as they are asked about."""

from datetime import UTC, datetime

import pytest

from cdc.core.errors import InvalidInput
from cdc.core.log.point_in_time import AtPosition, AtTime, parse_point_in_time
from cdc.core.log.position import EventId, LogId, Position


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (7, AtPosition(Position(7))),
        ("0", AtPosition(Position(0))),
        ("1042", AtPosition(Position(1042))),
        ("1042@k7q2mx", AtPosition(Position(1042), EventId(Position(1042), None, LogId("k7q2mx")))),
        ("1042-3@k7q2mx", AtPosition(Position(1042), EventId(Position(1042), 3, LogId("k7q2mx")))),
        ("2026-11-23T12:00:00Z", AtTime(datetime(2026, 11, 23, 12, tzinfo=UTC))),
        ("2026-11-23t12:00:00.5z", AtTime(datetime(2026, 11, 23, 12, 0, 0, 500_000, tzinfo=UTC))),
        ("2026-11-23 12:00:00.123456789-02:30", AtTime(datetime(2026, 11, 23, 14, 30, 0, 123_456, tzinfo=UTC))),
        ("2026-11-23T12:00:00+01:00", AtTime(datetime(2026, 11, 23, 11, tzinfo=UTC))),
        # As it arrives when a query string was put together without encoding the plus sign.
        ("2026-11-23T12:00:00 01:00", AtTime(datetime(2026, 11, 23, 11, tzinfo=UTC))),
    ],
)
def test_a_moment_is_a_position_an_id_or_a_time(value: object, moment: object) -> None:
    assert parse_point_in_time("at", value) == moment


@pytest.mark.parametrize(
    "value",
    [
        "", "yesterday", "-1", -1, 2**63, str(2**63), "9" * 20, "9" * 19 + "@k7q2mx", True, 1.5, None, [1], {}, "²",
        "2026-11-23", "2026-11-23T12:00:00", "2026-13-23T12:00:00Z", "2026-11-23T12:00:60Z",
        "0001-01-01T00:00:00+10:00", "2026-11-23T12:00:00+99:00", "0000-01-01T00:00:00Z", "1042-3", "x" * 10_000,
    ],
)  # fmt: skip
def test_anything_else_is_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"^at is .* but must be a position such as 1042") as refused:
        parse_point_in_time("at", value)
    assert (refused.value.name, refused.value.code) == ("at", "invalid_moment")
    assert len(str(refused.value)) < 250
