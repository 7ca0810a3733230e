"""A histogram with fixed buckets."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

__all__ = ["LATENCY_BOUNDS_S", "Histogram"]

LATENCY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds from the latency of a commit on an idle machine to a restart of the database."""


class Histogram:
    """`counts` has one number per bucket, not cumulative: values up to each bound, and last those above all bounds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = LATENCY_BOUNDS_S) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[int]:
        """The number of values up to each bound, and last the number of all values.

        >>> histogram = Histogram((1, 2))
        >>> for value in (0.5, 1, 1.5, 9):
        ...     histogram.observe(value)
        >>> histogram.cumulative(), histogram.sum
        ([2, 3, 4], 12.0)
        """
        return list(accumulate(self.counts))
