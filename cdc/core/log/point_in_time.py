"""A point in time that a request asks about: a position in the log, or a time.

>>> parse_point_in_time("at", "1042"), str(parse_point_in_time("at", "1042-3@k7q2mx").id)
(AtPosition(position=1042, id=None), '1042-3@k7q2mx')
>>> parse_point_in_time("at", "2026-11-23T12:00:00+01:00").time.isoformat()
'2026-11-23T11:00:00+00:00'
"""

import re
from datetime import UTC, datetime
from typing import NamedTuple

from ..errors import InvalidEventId, InvalidInput
from .position import EventId, Position

__all__ = ["AtPosition", "AtTime", "PointInTime", "parse_point_in_time"]

_MAX_POSITION = 2**63 - 1
_SHOWN = 64

# RFC 3339, section 5.6. A plus sign that was not percent-encoded arrives as a blank.
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+ -])(\d\d:\d\d))", re.ASCII)


class AtPosition(NamedTuple):
    """After the whole commit at `position`, or the last one before it; without an `id`, of whichever log there is."""

    position: Position
    id: EventId | None = None


class AtTime(NamedTuple):
    """After the last commit that was made at or before `time`, in UTC."""

    time: datetime


PointInTime = AtPosition | AtTime


def parse_point_in_time(name: str, value: object) -> PointInTime:
    """Read a position, an event id or an RFC 3339 time; raises `InvalidInput` that names the parameter."""
    point: PointInTime | None = _position(value) if isinstance(value, int) and not isinstance(value, bool) else None
    if isinstance(value, str):
        point = _position(int(value)) if _is_number(value) else _event_id(value) or _time(value)
    if point is None:
        shown = repr(value if not isinstance(value, str) or len(value) <= _SHOWN else value[:_SHOWN] + "…")
        raise InvalidInput(
            f"{name} is {shown[: _SHOWN + 3]}, but must be a position such as 1042, an event id,"
            " or a time such as 2026-11-23T12:00:00Z (RFC 3339)",
            name=name,
            code="invalid_moment",
        )
    return point


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 19


def _position(number: int) -> AtPosition | None:
    return AtPosition(Position(number)) if 0 <= number <= _MAX_POSITION else None


def _event_id(text: str) -> AtPosition | None:
    try:
        id = EventId.parse(text)
    except InvalidEventId:
        return None
    return AtPosition(id.position, id) if id.position <= _MAX_POSITION else None


def _time(text: str) -> AtTime | None:
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    date, clock, fraction, sign, offset = match.groups()
    zone = "+00:00" if offset is None else ("-" if sign == "-" else "+") + offset
    try:
        # Microseconds are all that the log knows; a leap second and the year 0 are no times for Python.
        return AtTime(datetime.fromisoformat(f"{date}T{clock}.{(fraction or '0')[:6]:0<6}{zone}").astimezone(UTC))
    except (ValueError, OverflowError):
        return None
