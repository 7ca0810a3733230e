"""How long an answer may take whose length nobody knows before.

A short time finds out soon that the other end has gone silent, and would never let a long answer through. So it begins
short, is doubled after each answer that did not come in time, and stays well above what the last one took.

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

_ABOVE = 4


class Deadline:
    """All in seconds; `seconds` is what the next answer may take."""

    def __init__(self, *, least_s: float, most_s: float) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self.seconds = least_s

    def meet(self, took_s: float) -> None:
        self.seconds = min(self._most_s, max(self._least_s, _ABOVE * took_s))

    def miss(self) -> None:
        self.seconds = min(self._most_s, self.seconds * 2)
