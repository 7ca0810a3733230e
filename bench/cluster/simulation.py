"""One process of a node, event by event: what its subscribers would see. Pure; the same for the same seed.

Commits arrive at random (or one at a time, each when the one before has been told to all). Each costs what a commit
costs, then its subscribers are told one after the other. What arrives meanwhile waits.
"""

import random
import statistics
from dataclasses import dataclass

from bench.cluster.model import Costs

__all__ = ["SimulationResult", "simulate"]


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """Seconds from the commit to a receipt, over all receipts; and which part of the time the process is busy."""

    p50_s: float
    p99_s: float
    busy: float


def simulate(
    costs: Costs, subscribers: int, commits_per_s: float, *, hop_s: float, commits: int = 400, seed: int = 0
) -> SimulationResult:
    """`hop_s` is from the commit to the process, one way, when nothing waits; a rate of 0 is one at a time."""
    rng = random.Random(seed)
    committed_at = free_at = worked_s = 0.0
    # Of each commit a hundred receipts evenly taken: the times of all lie on a straight line between first and last.
    taken = min(subscribers, 100)
    receipts: list[float] = []
    for _ in range(commits):
        committed_at = free_at if commits_per_s == 0 else committed_at + rng.expovariate(commits_per_s)
        begun = max(committed_at + hop_s, free_at)
        told = subscribers * costs.delivery_s
        free_at = begun + costs.commit_cpu_s + told
        worked_s += free_at - begun
        receipts += [
            begun + costs.commit_cpu_s + told * (number + 0.5) / taken - committed_at for number in range(taken)
        ]
    quantiles = statistics.quantiles(receipts, n=100)
    return SimulationResult(statistics.median(receipts), quantiles[98], worked_s / free_at)
