"""The capacity model agrees with the measurements, and the page with both."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.cluster.model import BUSY, CONNECTIONS, Costs, Demand, line, plan
from bench.cluster.page import chart, fill
from bench.cluster.simulation import simulate

ROOT = Path(__file__).parent.parent.parent
RESULTS: dict[str, Any] = json.loads((ROOT / "bench" / "cluster" / "measured.json").read_text())
COSTS = Costs.of(RESULTS)
FANOUT = RESULTS["fanout"]
KINDS = [(each["kind"], each["nodes"]) for each in RESULTS["cost"]]


def cost_of(kind: str, nodes: int) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in RESULTS["cost"] if (each["kind"], each["nodes"]) == (kind, nodes))
    return found


def test_one_event_to_ten_thousand_takes_as_long_as_measured() -> None:
    result = simulate(COSTS, 10_000, 0, hop_s=RESULTS["latency"]["ms"]["direct"]["p50"] / 1000)
    assert result.p50_s * 1000 == pytest.approx(FANOUT["p50_ms"], rel=0.2)
    assert result.p99_s * 1000 == pytest.approx(FANOUT["p99_ms"], rel=0.2)


def test_a_single_subscriber_receives_as_soon_as_measured() -> None:
    for path in ("direct", "tier"):
        ms = RESULTS["latency"]["ms"][path]["p50"]
        result = simulate(COSTS, 1, 1, hop_s=ms / 1000)
        assert result.p50_s * 1000 == pytest.approx(ms, rel=0.3)


def test_the_costs_between_the_fitted_ends_are_those_measured() -> None:
    """Lines fitted to the ends alone pass near the points between them."""
    direct = {nodes: cost_of(kind, nodes)["cpu_us_per_commit"]["postgres"] for kind, nodes in KINDS if kind != "tier"}
    tier = {nodes: cost_of(kind, nodes)["cpu_us_per_commit"]["nats"] for kind, nodes in KINDS if kind == "tier"}
    checked = 0
    for measured in (direct, tier):
        first, *between, last = sorted(measured)
        at_zero, slope = line([(first, measured[first]), (last, measured[last])])
        for nodes in between:
            assert at_zero + nodes * slope == pytest.approx(measured[nodes], rel=0.35)
            checked += 1
    assert checked


def test_with_a_relay_postgres_pays_the_same_for_one_node_and_for_many() -> None:
    most = max(nodes for _, nodes in KINDS)
    one, many = (cost_of("tier", nodes)["cpu_us_per_commit"]["postgres"] for nodes in (1, most))
    assert many == pytest.approx(one, rel=0.25)
    assert cost_of("direct", most)["cpu_us_per_commit"]["postgres"] > 1.2 * many


def test_a_process_is_never_planned_beyond_its_bounds() -> None:
    for subscribers in (1, 10_000, 123_456, 10**7):
        for rate in (1, 10, 100, 700):
            for share in (1.0, 0.01, 0.001):
                found = plan(Demand(subscribers, rate, share), COSTS)
                each = subscribers / found.processes
                assert each <= CONNECTIONS
                busy = rate * (COSTS.commit_cpu_s + each * share * COSTS.delivery_cpu_s)
                assert busy <= BUSY * 1.001
                assert found.machines * 8 >= found.processes


def test_more_of_anything_never_takes_less() -> None:
    def processes(subscribers: int, rate: float, share: float) -> int:
        return plan(Demand(subscribers, rate, share), COSTS).processes

    for subscribers, rate, share in [(10_000, 1.0, 1.0), (10**6, 50.0, 0.01), (10**5, 500.0, 0.001)]:
        here = processes(subscribers, rate, share)
        assert processes(subscribers * 2, rate, share) >= here
        assert processes(subscribers, rate * 1.2, share) >= here
        assert processes(subscribers, rate, min(1.0, share * 2)) >= here


@pytest.mark.parametrize(
    ("demand", "limit"),
    [
        (Demand(100_000, 1, 0.001), "connections"),
        (Demand(100_000, 1, 1.0), "spread"),
        (Demand(100_000, 100, 1.0), "deliveries"),
        (Demand(10_000, 1_000_000), "PostgreSQL's commits"),
    ],
)
def test_the_first_limit_is_named(demand: Demand, limit: str) -> None:
    assert plan(demand, COSTS).limit == limit


def test_a_busy_process_delays_every_subscriber() -> None:
    calm, busy = (simulate(COSTS, 10_000, rate, hop_s=0.001, commits=2_000) for rate in (1, 7))
    assert calm.busy < 0.2 < 0.7 < busy.busy
    assert busy.p99_s > 2 * calm.p99_s


def test_the_page_and_the_chart_are_current() -> None:
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert fill(page, RESULTS) == page, "run: python -m bench.cluster.page bench/cluster/measured.json docs/scale.md"
    assert (ROOT / "docs" / "charts" / "cluster.svg").read_text(encoding="utf-8") == chart(RESULTS)
