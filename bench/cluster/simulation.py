"""A simulation of one node process, event by event. Pure; the same for the same seed.

Commits arrive at random, or one at a time, each when the one before has been delivered to all. The process applies a
commit, then delivers it to one subscriber after the other. Commits that arrive meanwhile wait.
"""

import random
import statistics
from dataclasses import dataclass

from bench.cluster.model import Costs

__all__ = ["SimulationResult", "simulate"]


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """Seconds from commit to receipt, over all receipts, and the part of the time that the process is busy."""

    p50_s: float
    p99_s: float
    busy: float


def simulate(
    costs: Costs, subscribers: int, commits_per_s: float, *, hop_s: float, commits: int = 400, seed: int = 0
) -> SimulationResult:
    """`hop_s` is the time from a commit to an idle process; a rate of 0 commits one at a time."""
    rng = random.Random(seed)
    committed_at = free_at = worked_s = 0.0
    # A hundred evenly spaced receipts per commit: all times lie on a straight line between the first and the last.
    samples = min(subscribers, 100)
    receipts: list[float] = []
    for _ in range(commits):
        committed_at = free_at if commits_per_s == 0 else committed_at + rng.expovariate(commits_per_s)
        begun = max(committed_at + hop_s, free_at)
        delivery_s = subscribers * costs.delivery_s
        free_at = begun + costs.commit_cpu_s + delivery_s
        worked_s += free_at - begun
        receipts += [
            begun + costs.commit_cpu_s + delivery_s * (number + 0.5) / samples - committed_at
            for number in range(samples)
        ]
    quantiles = statistics.quantiles(receipts, n=100)
    return SimulationResult(statistics.median(receipts), quantiles[98], worked_s / free_at)
