"""The rollout of a segment: which buckets get which variant."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from .bucket import BUCKETS

__all__ = ["Rollout", "compile_rollout"]

_BUCKETS_PER_PERCENT = BUCKETS // 100


@dataclass(frozen=True, slots=True)
class Rollout:
    """Buckets count from 1: those up to `limit` are included, and get the first variant whose threshold is not below.

    `variant_ids` has one entry more than `thresholds`: the last variant gets the rest, which also covers shares that
    sum to less than 100 or are all 0. An empty rollout has no variants and the limit 0.
    """

    limit: int
    thresholds: tuple[int, ...]
    variant_ids: tuple[int, ...]

    def pick(self, number: int) -> int | None:
        """The index of the variant for a bucket (1 to 1000), None if the bucket is not included."""
        return bisect_left(self.thresholds, number) if number <= self.limit else None


_EMPTY = Rollout(0, (), ())


def compile_rollout(rollout_percent: int, shares: Iterable[tuple[int, int]]) -> Rollout:
    """Compile the rollout of a segment; `shares` are (percent, variant id).

    Shares are ordered by percent, then by variant id, so a small change of a split may move nearly every entity: the
    results must equal Flagent's, which does so. A rollout above 100 acts as 100.
    """
    ordered = sorted(shares)
    if rollout_percent <= 0 or not ordered:
        return _EMPTY
    thresholds: list[int] = []
    total = highest = 0
    for percent, _ in ordered[:-1]:
        total += percent * _BUCKETS_PER_PERCENT
        # A negative share, written by hand, must not break the order that bisection requires.
        highest = max(highest, total)
        thresholds.append(highest)
    limit = min(rollout_percent * _BUCKETS_PER_PERCENT, BUCKETS)
    return Rollout(limit, tuple(thresholds), tuple(variant_id for _, variant_id in ordered))
