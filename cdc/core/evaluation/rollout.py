"""Who of a segment's entities gets which variant."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from .bucket import BUCKETS

__all__ = ["Rollout", "compile_rollout"]

_BUCKETS_PER_PERCENT = BUCKETS // 100


@dataclass(frozen=True, slots=True)
class Rollout:
    """Buckets, counted from 1: those up to `limit` are in, and take the first variant whose threshold is not below.

    `variant_ids` has one entry more than `thresholds`: the last variant takes what is left, which also covers shares
    that add up to less than 100 or are all 0. Where nobody is let in there are no variants and the limit is 0.
    """

    limit: int
    thresholds: tuple[int, ...]
    variant_ids: tuple[int, ...]

    def pick(self, number: int) -> int | None:
        """The index of the variant for this bucket (1 to 1000), None where the bucket is not let in."""
        return bisect_left(self.thresholds, number) if number <= self.limit else None


_NOBODY = Rollout(0, (), ())


def compile_rollout(rollout_percent: int, shares: Iterable[tuple[int, int]]) -> Rollout:
    """Prepare a segment's rollout; `shares` are (percent, variant id).

    Shares are laid out by percent ascending and then by variant id, so a small change of a split may move nearly every
    entity: Flagent does so, and the answers must be Flagent's. A rollout above 100 acts as 100.
    """
    ordered = sorted(shares)
    if rollout_percent <= 0 or not ordered:
        return _NOBODY
    thresholds: list[int] = []
    total = highest = 0
    for percent, _ in ordered[:-1]:
        total += percent * _BUCKETS_PER_PERCENT
        # A negative share, written by hand, must not break the order that the search relies on.
        highest = max(highest, total)
        thresholds.append(highest)
    limit = min(rollout_percent * _BUCKETS_PER_PERCENT, BUCKETS)
    return Rollout(limit, tuple(thresholds), tuple(variant_id for _, variant_id in ordered))
