"""Dates and times as numbers that compare as PostgreSQL's: infinite, before Christ, and after the year 9999 too.

Python's own types end at the years 1 and 9999. A date becomes a count of days, a time one of microseconds, both from
2000-01-01; infinities become those of `float`, which compare with integers exactly.

Source: PostgreSQL manual, "Date/Time Types" (ranges, `infinity`) and "Date/Time Output" (ISO 8601, `BC` at the end).

>>> read_date("2000-01-02"), read_date("0001-01-01 BC") < read_date("0001-01-01"), read_date("infinity")
(1, True, inf)
>>> read_time("2000-01-01T00:00:01+00:00"), read_time("2000-01-01 01:00+01")
(1000000, 0)
"""

import math
import re
from functools import lru_cache

__all__ = ["read_date", "read_time"]

_INFINITE = {"infinity": math.inf, "-infinity": -math.inf}

_DATE = re.compile(r"(\d{4,7})-(\d\d)-(\d\d)( BC)?", re.ASCII)
_TIME = re.compile(
    r"(\d{4,7})-(\d\d)-(\d\d)"
    r"(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?"
    r"(Z|([+-])(\d\d)(?::?(\d\d)(?::?(\d\d))?)?)?)?( BC)?",
    re.ASCII,
)

_MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND

# 4713-11-24 BC, where Julian days begin, and the ends of the ranges; all of them are days from 2000-01-01.
_FIRST_DAY = -2_451_545
_LAST_DATE = 2_145_031_948
_END_OF_TIME = 106_751_983 * _DAY


@lru_cache(maxsize=4096)
def read_date(text: str) -> float:
    """Days from 2000-01-01; raises `ValueError` for another form, and for what PostgreSQL cannot store."""
    if text in _INFINITE:
        return _INFINITE[text]
    found = _DATE.fullmatch(text)
    if found is None:
        raise ValueError("not a date of the form 2026-11-30")
    day = _days(int(found[1]), int(found[2]), int(found[3]), is_bc=found[4] is not None)
    if not _FIRST_DAY <= day <= _LAST_DATE:
        raise ValueError("a date that PostgreSQL cannot store")
    return day


@lru_cache(maxsize=4096)
def read_time(text: str, *, zone: bool = True) -> float:
    """Microseconds from 2000-01-01 in UTC; without a zone in the text, the time is in UTC. Raises `ValueError`.

    Without `zone` a zone in the text is refused: PostgreSQL would ignore it.
    """
    if text in _INFINITE:
        return _INFINITE[text]
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("not a time of the form 2026-11-30T10:00:00.5+00:00")
    year, month, day, hours, minutes, seconds, fraction, named, sign, *offset, bc = found.groups()
    if named is not None and not zone:
        raise ValueError("a time with a zone, for a column without one")
    clock = [int(part or 0) for part in (hours, minutes, seconds)]
    if clock[0] > 23 or clock[1] > 59 or clock[2] > 59:
        raise ValueError("a time of day from 00:00:00 to 23:59:59.999999")
    away = [int(part or 0) for part in offset]
    if away[0] > 15 or away[1] > 59 or away[2] > 59:
        raise ValueError("an offset from UTC of less than 16 hours")
    distance = _seconds(away) * (-1 if sign == "-" else 1)
    at = _days(int(year), int(month), int(day), is_bc=bc is not None) * _DAY
    at += (_seconds(clock) - distance) * _SECOND + int((fraction or "").ljust(6, "0"))
    if not _FIRST_DAY * _DAY <= at < _END_OF_TIME:
        raise ValueError("a time that PostgreSQL cannot store")
    return at


def _seconds(parts: list[int]) -> int:
    return (parts[0] * 60 + parts[1]) * 60 + parts[2]


def _days(year: int, month: int, day: int, *, is_bc: bool) -> int:
    """Days from 2000-01-01 in the Gregorian calendar, extended to the past; the year 1 BC is the year 0."""
    if year == 0 or not 1 <= month <= 12:
        raise ValueError("no such date")
    year = 1 - year if is_bc else year
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= day <= _MONTH_DAYS[month - 1] + (month == 2 and is_leap):
        raise ValueError("no such date")
    # Years that begin in March end with the leap day.
    year, month = (year - 1, month + 9) if month <= 2 else (year, month - 3)
    era, of_era = divmod(year, 400)
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + (153 * month + 2) // 5 + day - 1 - 730_425
