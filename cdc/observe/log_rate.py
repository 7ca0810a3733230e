"""A rate limit on log lines: an outsider who can cause a line can cause a million.

Each place in the source that logs has its own limit, so that a flood from one hides nothing of the others, and the
memory is bounded by the source. What is suppressed is counted: the next line from there says how many were, and the
metric `flagent_cdc_log_lines_suppressed_total` counts all. DEBUG has no limit: it is for someone who watches.
"""

import logging

__all__ = ["LINES", "LogRateLimit"]

_Place = tuple[str, int]


class _Window:
    """The lines of one place since `began_at`."""

    __slots__ = ("began_at", "count", "suppressed")

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.count = 0
        self.suppressed = 0


class LogRateLimit(logging.Filter):
    """Lets `lines` of each place pass in `period_s`, by the time of the records.

    The last one that passes has the field `limited`, the first one after others were suppressed `suppressed`, their
    number.
    """

    def __init__(self, lines: int = 60, period_s: float = 60.0) -> None:
        super().__init__()
        self.suppressed = 0
        self._lines = lines
        self._period_s = period_s
        self._windows: dict[_Place, _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno <= logging.DEBUG:
            return True
        window = self._windows.setdefault((record.pathname, record.lineno), _Window(record.created))
        # A clock that was set back begins a new window as well.
        if not 0 <= record.created - window.began_at < self._period_s:
            window.began_at, window.count = record.created, 0
        window.count += 1
        if window.count > self._lines:
            window.suppressed += 1
            self.suppressed += 1
            return False
        if window.suppressed:
            record.suppressed, window.suppressed = window.suppressed, 0
        if window.count == self._lines:
            record.limited = f"no more lines from here for {self._period_s:.0f} s"
        return True


LINES = LogRateLimit()
"""The limit of this process's application log."""
