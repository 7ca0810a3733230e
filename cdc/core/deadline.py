"""An adaptive deadline for answers of unknown duration.

A short deadline detects a silent peer soon, but would never let a long answer through. So it starts short, doubles
after each miss, and stays at four times the duration of the last answer.

>>> deadline = Deadline(least_s=10, most_s=60)
>>> deadline.miss(); deadline.seconds
20
>>> deadline.miss(); deadline.miss(); deadline.seconds
60
>>> deadline.meet(took_s=8); deadline.seconds
32
>>> deadline.meet(took_s=0.1); deadline.seconds
10
"""

__all__ = ["Deadline"]

_FACTOR = 4


class Deadline:
    """`seconds` is the deadline of the next answer, between `least_s` and `most_s`."""

    def __init__(self, *, least_s: float, most_s: float) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self.seconds = least_s

    def meet(self, took_s: float) -> None:
        """Record an answer that came in time."""
        self.seconds = min(self._most_s, max(self._least_s, _FACTOR * took_s))

    def miss(self) -> None:
        """Record an answer that did not come in time."""
        self.seconds = min(self._most_s, self.seconds * 2)
