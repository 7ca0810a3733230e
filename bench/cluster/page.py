"""Writes results into docs/scale.md: `python -m bench.cluster.page bench/cluster/measured.json docs/scale.md`.

The text between `<!-- bench NAME -->` and `<!-- end -->` is generated. The chart is written to `charts/`.
"""

import json
import re
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.cluster.model import Costs, Demand, plan
from bench.cluster.simulation import simulate
from bench.fanout.chart import lines

__all__ = ["chart", "fill"]

Results = Mapping[str, Any]

_SUBSCRIBERS = (10_000, 100_000, 1_000_000, 10_000_000)
_RATES = (1, 10, 100, 1_000, 10_000)


def fill(page: str, results: Results) -> str:
    """The page with every generated section rewritten."""
    costs = Costs.of(results)
    sections = {
        "machine": _machine(results),
        "latency": _latency(results),
        "takeover": _takeover(results),
        "cost": _cost(results),
        "costs": _costs(costs),
        "everything": _plans(costs, 1.0),
        "selective": _plans(costs, 0.001),
        "simulated": _simulated(costs, results),
    }

    def replace(match: re.Match[str]) -> str:
        return f"<!-- bench {match[1]} -->\n\n{sections[match[1]]}\n\n<!-- end -->"

    return re.sub(r"<!-- bench ([\w-]+) -->.*?<!-- end -->", replace, page, flags=re.DOTALL)


def chart(results: Results) -> str:
    """Commits per second over the number of nodes. The axis is logarithmic, so the run without nodes is left out."""
    series: dict[str, dict[float, float]] = {"direct": {}, "tier": {}}
    for each in results["cost"]:
        if each["kind"] in series:
            series[each["kind"]][each["nodes"]] = each["cpu_us_per_commit"]["postgres"]
            series.setdefault(f"{each['kind']}, commits/s", {})[each["nodes"]] = each["commits_per_s"]
    names = {
        "direct": "direct: CPU",
        "tier": "tier: CPU",
        "direct, commits/s": "direct: /s",
        "tier, commits/s": "tier: /s",
    }
    return lines(
        "PostgreSQL, one core: commits per second, and its CPU per commit in µs",
        "nodes",
        "log scale",
        {names[name]: points for name, points in series.items()},
    )


def _machine(results: Results) -> str:
    about = results["machine"]
    return (
        f"Measured on {about['date'][:10]}: {about['processor']}, {about['cores']} cores, {about['memory']}; "
        f"{about['kernel']}, Python {about['python']}." + (f" {results['note']}" if "note" in results else "")
    )


def _latency(results: Results) -> str:
    found = results["latency"]
    direct = found["ms"]["direct"]
    rows = "\n".join(
        f"| {path} | {ms['p50']:.2f} ms | {ms['p99']:.2f} ms | {ms['p50'] - direct['p50']:+.2f} ms |"
        f" {found['node_cpu_us_per_commit'][path]:.0f} µs |"
        for path, ms in found["ms"].items()
    )
    return (
        f"{found['samples']} commits, each received on every path:\n\n"
        "| path | p50 | p99 | added, p50 | CPU of the node per commit |\n| --- | --- | --- | --- | --- |\n" + rows
    )


def _takeover(results: Results) -> str:
    if "takeover" not in results:
        return "No figures yet."
    return "\n".join(
        [
            "| fault of the active relay | runs | median | longest |",
            "| --- | --- | --- | --- |",
            *(
                f"| {how} | {len(times)} | {statistics.median(times):.2f} s | {max(times):.2f} s |"
                for how, times in results["takeover"].items()
            ),
        ]
    )


def _cost(results: Results) -> str:
    rows = []
    for each in results["cost"]:
        cpu = each["cpu_us_per_commit"]
        rows.append(
            f"| {each['kind']} | {each['nodes']} | {each['commits_per_s']:,.0f} |"
            f" {_or_dash(each.get('postgres_cores'))} |"
            f" {cpu['postgres']:.0f} µs | "
            + " | ".join(f"{cpu[name]:.0f} µs" if name in cpu else "" for name in ("relay", "nats", "nodes"))
            + " |"
        )
    return (
        "| source of nodes | nodes | commits/s | cores of PostgreSQL at that rate | its CPU per commit at 200/s |"
        " relay | NATS | all nodes |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        + "\n".join(rows)
        + "\n\n![Cost of nodes for PostgreSQL](charts/cluster.svg)"
    )


def _costs(costs: Costs) -> str:
    return "\n".join(
        [
            "| item | cost |",
            "| --- | --- |",
            f"| a delivery | {costs.delivery_cpu_s * 1e6:.2f} µs of CPU, {costs.delivery_bytes:.0f} bytes |",
            f"| a subscriber | {costs.subscriber_bytes:,.0f} bytes, and 4 KiB assumed for the kernel |",
            f"| a process of a node | {costs.process_bytes / 1e6:.0f} MB |",
            f"| a commit, in each process | {costs.commit_cpu_s * 1e6:.0f} µs |",
            f"| a commit, in the relay | {costs.relay_cpu_s * 1e6:.0f} µs;"
            f" 60 % of its maximum is {costs.relay_commits_per_s:,.0f}/s |",
            f"| a commit, in NATS | {costs.nats_in_cpu_s * 1e6:.0f} µs, and {costs.nats_out_cpu_s * 1e6:.1f} µs"
            f" for each process that receives it; {costs.message_bytes:,.0f} bytes |",
            f"| a commit, in PostgreSQL | {costs.postgres_cpu_s * 1e6:.0f} µs, and"
            f" {costs.postgres_listener_cpu_s * 1e6:.1f} µs for each process that listens |",
        ]
    )


def _plans(costs: Costs, share: float) -> str:
    rows = [
        "| subscribers | commits/s | processes | 8-core machines | memory | network out | NATS: cores, network |"
        " direct listeners possible | first limit |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for subscribers in _SUBSCRIBERS:
        for rate in _RATES:
            found = plan(Demand(subscribers, rate, share), costs)
            head = f"| {_power(subscribers)} | {rate:,} |"
            if not found.is_possible:
                rows.append(f"{head} | | | | | {found.direct:,} | **{found.limit}** |")
                continue
            rows.append(
                f"{head} {found.processes:,} | {found.machines:,} | {_bytes(found.memory_bytes)} |"
                f" {_bytes(found.network_bytes_per_s)}/s | {found.nats_cores:.2g},"
                f" {_bytes(found.nats_network_bytes_per_s)}/s | {found.direct:,} | {found.limit} |"
            )
    return "\n".join(rows)


def _simulated(costs: Costs, results: Results) -> str:
    hop_s = results["latency"]["ms"]["tier"]["p50"] / 1000
    rows = ["| subscribers | commits/s | p50 | p99 | busy |", "| --- | --- | --- | --- | --- |"]
    for subscribers in (1_000, 5_000, 10_000):
        for rate in (1, 5, 20, 80):
            seen = simulate(costs, subscribers, rate, hop_s=hop_s)
            if seen.busy < 0.97:
                rows.append(
                    f"| {subscribers:,} | {rate} | {seen.p50_s * 1000:.0f} ms | {seen.p99_s * 1000:.0f} ms |"
                    f" {seen.busy:.0%} |"
                )
    return "\n".join(rows)


def _or_dash(number: float | None) -> str:
    return "–" if number is None else f"{number:.2f}"


def _power(number: int) -> str:
    return f"10^{len(str(number)) - 1}"


def _bytes(number: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number / 1e3:.3g} kB"


def main() -> int:
    results = json.loads(Path(sys.argv[1]).read_text())
    page = Path(sys.argv[2])
    page.write_text(fill(page.read_text(encoding="utf-8"), results), encoding="utf-8")
    (page.parent / "charts" / "cluster.svg").write_text(chart(results), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
