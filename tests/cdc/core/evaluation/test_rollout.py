"""The rollout of a segment, and the split of its buckets between variants."""

import pytest

from cdc.core.evaluation.rollout import Rollout, compile_rollout


def variants(rollout: Rollout) -> dict[int | None, int]:
    """How many of the 1000 buckets each variant gets; None for those that are not included."""
    counts: dict[int | None, int] = {}
    for number in range(1, 1001):
        index = rollout.pick(number)
        variant = None if index is None else rollout.variant_ids[index]
        counts[variant] = counts.get(variant, 0) + 1
    return counts


@pytest.mark.parametrize(
    ("percent", "shares", "expected"),
    [
        (100, [(100, 1)], {1: 1000}),
        (50, [(100, 1)], {1: 500, None: 500}),
        (1, [(100, 1)], {1: 10, None: 990}),
        (150, [(100, 1)], {1: 1000}),
        (100, [(30, 1), (70, 2)], {1: 300, 2: 700}),
        (50, [(30, 1), (70, 2)], {1: 300, 2: 200, None: 500}),
        (100, [(0, 1), (100, 2)], {2: 1000}),
        (100, [(10, 1), (10, 2)], {1: 100, 2: 900}),
        (100, [(0, 1), (0, 2)], {2: 1000}),
        (100, [(-20, 1), (20, 2), (100, 3)], {3: 1000}),
    ],
)
def test_buckets_are_split_by_percent(
    percent: int, shares: list[tuple[int, int]], expected: dict[int | None, int]
) -> None:
    assert variants(compile_rollout(percent, shares)) == expected


@pytest.mark.parametrize(("percent", "shares"), [(0, [(100, 1)]), (-5, [(100, 1)]), (100, [])])
def test_a_rollout_may_include_no_bucket(percent: int, shares: list[tuple[int, int]]) -> None:
    rollout = compile_rollout(percent, shares)
    assert (rollout.limit, rollout.variant_ids) == (0, ())
    assert variants(rollout) == {None: 1000}


def test_shares_are_ordered_by_percent_then_by_variant() -> None:
    assert compile_rollout(100, [(50, 3), (25, 9), (25, 2)]).variant_ids == (2, 9, 3)
    assert compile_rollout(100, [(25, 2), (50, 3), (25, 9)]) == compile_rollout(100, [(25, 9), (25, 2), (50, 3)])
