"""The time of results: ISO-8601 in UTC with milliseconds and `Z`."""

import time
from collections.abc import Callable

__all__ = ["Timestamps"]


class Timestamps:
    """Returns the time of the call; `now_ns` is in nanoseconds since the epoch.

    Formatting a time takes as long as an evaluation, so the text is kept for its millisecond, and most of it for its
    second.

    >>> times = Timestamps(iter([0, 1_500_000, 1_900_000, 1_000_000_000]).__next__)
    >>> times(), times(), times(), times()
    ('1970-01-01T00:00:00.000Z', '1970-01-01T00:00:00.001Z', '1970-01-01T00:00:00.001Z', '1970-01-01T00:00:01.000Z')
    """

    __slots__ = ("_millisecond", "_now_ns", "_second", "_text", "_until_second")

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._millisecond = self._second = -1
        self._text = self._until_second = ""

    def __call__(self) -> str:
        millisecond = self._now_ns() // 1_000_000
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            second, part = divmod(millisecond, 1000)
            if second != self._second:
                self._second = second
                self._until_second = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._text = f"{self._until_second}{part:03d}Z"
        return self._text
