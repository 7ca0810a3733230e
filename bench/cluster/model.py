"""A capacity model: nodes, cores and bytes, from measured costs and without any I/O.

A node's process has one core. It applies every commit to its catalog and passes every delivery to the kernel. Three
limits bound the number of its subscribers, and the lowest applies:

- *deliveries*: the process is busy for at most `BUSY` of the time;
- *spread*: an event reaches the last of its subscribers within `SPREAD_S` of the first;
- *connections*: what the settings allow and the benchmarks have measured, `CONNECTIONS`.

Two limits do not grow with the number of nodes: PostgreSQL's commits per second, and the one relay.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

__all__ = ["BUSY", "CONNECTIONS", "Costs", "Demand", "Plan", "plan"]

BUSY = 0.6
SPREAD_S = 0.1
CONNECTIONS = 10_000

# A node's machine: as many processes as cores, and a network of 10 Gbit/s, of which it uses at most the share `BUSY`.
CORES = 8
NETWORK_BYTES_PER_S = 10e9 / 8

# Interval of a process's probes of its own listener.
PROBE_S = 5.0

# What the kernel keeps for an idle connection; an assumption, as it is not the server's memory.
SOCKET_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of processor time (`…_cpu_s`), elapsed seconds (`…_s`) and bytes; all measured, see `of`."""

    delivery_cpu_s: float
    delivery_s: float
    delivery_bytes: float
    subscriber_bytes: float
    process_bytes: float
    commit_cpu_s: float
    relay_cpu_s: float
    nats_in_cpu_s: float
    nats_out_cpu_s: float
    message_bytes: float
    postgres_cpu_s: float
    postgres_listener_cpu_s: float
    postgres_commits_per_s: float
    relay_commits_per_s: float

    @classmethod
    def of(cls, results: Mapping[str, Any]) -> Self:
        """The costs in the results of `python -m bench.cluster`, with those of the fan-out benchmark under `fanout`."""
        fanout, latency = results["fanout"], results["latency"]
        records = {(each["kind"], each["nodes"]): each for each in results["cost"]}
        direct = sorted(
            (nodes, each["cpu_us_per_commit"]["postgres"])
            for (kind, nodes), each in records.items()
            if kind in ("none", "direct")
        )
        tier = sorted(
            (nodes, each["cpu_us_per_commit"]["nats"]) for (kind, nodes), each in records.items() if kind == "tier"
        )
        alone, listener = line(direct)
        first, more = line(tier)
        relays = [each["cpu_us_per_commit"]["relay"] for (kind, _), each in records.items() if kind == "tier"]
        relay_cpu_s = sum(relays) / len(relays) / 1e6
        return cls(
            delivery_cpu_s=fanout["cpu_us_per_delivery"] / 1e6,
            delivery_s=1 / fanout["deliveries_per_s"],
            delivery_bytes=fanout["bytes_per_delivery"],
            subscriber_bytes=fanout["kb_per_subscriber"] * 1000,
            process_bytes=latency["node_memory_bytes"]["tier"],
            commit_cpu_s=latency["node_cpu_us_per_commit"]["tier"] / 1e6,
            relay_cpu_s=relay_cpu_s,
            nats_in_cpu_s=first / 1e6,
            nats_out_cpu_s=more / 1e6,
            message_bytes=max(each.get("message_bytes", 0) for each in records.values()),
            postgres_cpu_s=alone / 1e6,
            postgres_listener_cpu_s=listener / 1e6,
            postgres_commits_per_s=records["none", 0]["commits_per_s"],
            # The rate with a backlog; where that is not measured, an estimate from the cost of single commits.
            relay_commits_per_s=BUSY * results["backlog"]["per_s"] if "backlog" in results else BUSY / relay_cpu_s,
        )


def line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Least squares: the value at 0 and the slope.

    >>> line([(0, 1.0), (10, 3.0), (50, 11.0)])
    (1.0, 0.2)
    """
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    return round(mean_y - slope * mean_x, 12), round(slope, 12)


@dataclass(frozen=True, slots=True)
class Demand:
    """The load to plan for. `share` is the part of all events that each subscriber receives: 1 for everything."""

    subscribers: int
    commits_per_s: float
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The resources for a demand.

    `limit` names the first limit; where it is PostgreSQL or the relay, more nodes do not help. `direct` is the number
    of processes that could listen to a PostgreSQL with `CORES` cores at this rate.
    """

    processes: int
    machines: int
    memory_bytes: float
    network_bytes_per_s: float
    nats_cores: float
    nats_network_bytes_per_s: float
    postgres_cores: float
    direct: int
    limit: str

    @property
    def is_possible(self) -> bool:
        return self.limit not in ("PostgreSQL's commits", "the relay", "a node's commits")


def plan(demand: Demand, costs: Costs) -> Plan:
    rate, subscribers = demand.commits_per_s, demand.subscribers
    left = BUSY - rate * costs.commit_cpu_s
    receipts = subscribers * demand.share
    bounds = {
        "connections": subscribers / CONNECTIONS,
        "spread": receipts * costs.delivery_s / SPREAD_S,
        "deliveries": receipts * rate * costs.delivery_cpu_s / left if left > 0 else math.inf,
    }
    limit = max(bounds, key=lambda name: bounds[name])
    processes = math.ceil(bounds[limit]) if math.isfinite(bounds[limit]) else 0
    network = receipts * rate * costs.delivery_bytes
    by_network = math.ceil(network / (NETWORK_BYTES_PER_S * BUSY))
    machines = max(math.ceil(processes / CORES), by_network)
    if by_network > math.ceil(processes / CORES):
        limit = "network"
    if rate > costs.postgres_commits_per_s:
        limit = "PostgreSQL's commits"
    elif rate > costs.relay_commits_per_s:
        limit = "the relay"
    elif left <= 0:
        limit = "a node's commits"
    return Plan(
        processes,
        machines,
        processes * costs.process_bytes + subscribers * (costs.subscriber_bytes + SOCKET_BYTES),
        network,
        rate * (costs.nats_in_cpu_s + processes * costs.nats_out_cpu_s),
        rate * processes * costs.message_bytes,
        rate * (costs.postgres_cpu_s + costs.postgres_listener_cpu_s),
        _direct(rate, costs),
        limit,
    )


def _direct(rate: float, costs: Costs) -> int:
    """How many processes PostgreSQL can wake, for each commit and for each process's probe notifications."""
    wake = costs.postgres_listener_cpu_s
    # wake / PROBE_S * n^2 + rate * wake * n + rate * postgres_cpu_s = BUSY * CORES
    a, b, c = wake / PROBE_S, rate * wake, rate * costs.postgres_cpu_s - BUSY * CORES
    return 0 if c >= 0 else int((-b + math.sqrt(b * b - 4 * a * c)) / (2 * a))
