"""Dates and times beyond those of Python."""

import math

import pytest

from cdc.core.row_filter.instant import read_date, read_time


def test_dates_are_days_from_the_year_2000() -> None:
    assert [read_date(text) for text in ("2000-01-01", "2000-03-01", "1999-12-31", "1970-01-01")] == [0, 60, -1, -10957]
    assert (read_date("4714-11-24 BC"), read_date("5874897-12-31")) == (-2451545, 2145031948)
    assert read_date("0001-01-01") - read_date("0001-12-31 BC") == 1
    assert (read_date("infinity"), read_date("-infinity")) == (math.inf, -math.inf)


def test_times_are_microseconds_in_utc() -> None:
    same = ("2000-01-01T00:00:01.5+00:00", "2000-01-01 02:00:01.500000+02", "1999-12-31T20:00:01.5-04:00")
    assert {read_time(text) for text in same} == {1_500_000}
    assert read_time("2000-01-01") == read_time("2000-01-01 00:00Z") == 0
    assert read_time("294276-12-31T23:59:59.999999") == 9223371331199999999
    assert read_time("0044-03-15 10:00:00+00:00 BC") < read_time("0001-01-01")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "today",
        "2026-02-29",
        "2026-13-01",
        "2026-00-01",
        "0000-01-01",
        "26-01-01",
        "4714-11-23 BC",
        "5874898-01-01",
    ],
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"date"):
        read_date(text)


@pytest.mark.parametrize(
    "text",
    [
        "now",
        "2026-01-01T24:00",
        "2026-01-01T10:60",
        "2026-01-01T10:00:60",
        "2026-01-01T10:00:00.1234567",
        "2026-01-01T10:00+16",
        "294277-01-01",
        "2026-01-01 10:00 Europe/Berlin",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|date|UTC"):
        read_time(text)


def test_a_zone_is_refused_where_it_would_be_ignored() -> None:
    with pytest.raises(ValueError, match="zone"):
        read_time("2026-01-01T10:00+02", zone=False)
