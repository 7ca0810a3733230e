"""The rate limit of log lines: each place has its own, and what is suppressed is counted."""

import logging

import pytest

from cdc.observe.log_rate import LogRateLimit


def record(at: float, place: int = 1, level: int = logging.WARNING) -> logging.LogRecord:
    made = logging.LogRecord("api", level, "/source.py", place, "a sentence", (), None)
    made.created = at
    return made


def test_so_many_lines_of_a_place_pass_in_a_period() -> None:
    limit = LogRateLimit(lines=3, period_s=60)
    assert [limit.filter(record(at)) for at in (0, 1, 2, 3, 59)] == [True, True, True, False, False]
    assert limit.suppressed == 2


def test_the_last_line_says_so_and_the_next_one_how_many_are_missing() -> None:
    limit = LogRateLimit(lines=2, period_s=60)
    lines = [record(at) for at in (0, 1, 2, 3, 60, 61)]
    passed = [each for each in lines if limit.filter(each)]
    assert [vars(each).get("limited") for each in passed] == [None, "no more lines from here for 60 s"] * 2
    assert [vars(each).get("suppressed") for each in passed] == [None, None, 2, None]


def test_a_flood_from_one_place_hides_nothing_of_another() -> None:
    limit = LogRateLimit(lines=1)
    assert [limit.filter(record(0, place)) for place in (1, 1, 2, 1, 3)] == [True, False, True, False, True]


def test_a_clock_that_is_set_back_does_not_silence_the_log() -> None:
    limit = LogRateLimit(lines=1, period_s=60)
    assert limit.filter(record(1_000_000))
    assert limit.filter(record(0))


@pytest.mark.parametrize(("level", "passed"), [(logging.DEBUG, 9), (logging.INFO, 2), (logging.ERROR, 2)])
def test_every_level_but_debug_is_limited(level: int, passed: int) -> None:
    limit = LogRateLimit(lines=2)
    assert sum(limit.filter(record(0, level=level)) for _ in range(9)) == passed
