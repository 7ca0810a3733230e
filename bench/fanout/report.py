"""Tables of a run, and what the targets of the project say to it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.fanout.profile import GROUPS as PROFILE_GROUPS

__all__ = ["Verdict", "tables", "verdicts"]

Result = Mapping[str, Any]

_COLUMNS: dict[str, list[tuple[str, str, str]]] = {
    # scenario: (figure, heading, format)
    "fanout": [
        ("cpu_us", "CPU per delivery", "{:.2f} µs"),
        ("deliveries_per_s", "deliveries/s", "{:,.0f}"),
        ("p50_ms", "p50", "{:.1f} ms"),
        ("p99_ms", "p99", "{:.1f} ms"),
        ("memory_kb", "memory per subscriber", "{:.1f} KB"),
        ("connects_per_s", "connects/s", "{:,.0f}"),
        ("wire_bytes", "bytes per delivery", "{:.0f}"),
    ],
    "burst": [
        ("events", "events", "{:.0f}"),
        ("cpu_us", "CPU per delivery", "{:.3f} µs"),
        ("deliveries_per_s", "deliveries/s", "{:,.0f}"),
        ("p50_ms", "p50", "{:,.0f} ms"),
        ("p99_ms", "p99", "{:,.0f} ms"),
        ("everywhere_s", "all delivered after", "{:.2f} s"),
        ("after_last_sent_s", "after the last commit", "{:.2f} s"),
    ],
    "storm": [
        ("handshakes_s", "handshakes alone", "{:.2f} s"),
        ("handshakes_cpu_us", "CPU each", "{:.0f} µs"),
        ("snapshots_s", "with snapshot", "{:.2f} s"),
        ("snapshots_p99_s", "p99", "{:.2f} s"),
        ("snapshots_cpu_us", "CPU each", "{:.0f} µs"),
        ("snapshots_bytes", "bytes each", "{:,.0f}"),
        ("snapshots_refusals", "refused", "{:.0f}"),
        ("snapshots_refused_again", "refused twice", "{:.0f}"),
    ],
    "selective": [
        ("cpu_ms", "CPU per change", "{:.3f} ms"),
        ("alone_cpu_ms", "without subscribers", "{:.3f} ms"),
        ("p50_ms", "p50", "{:.2f} ms"),
        ("p99_ms", "p99", "{:.2f} ms"),
    ],
    "slow": [
        ("without_p50_ms", "p50 without them", "{:.1f} ms"),
        ("without_p99_ms", "p99 without", "{:.1f} ms"),
        ("with_p50_ms", "p50 with", "{:.1f} ms"),
        ("with_p99_ms", "p99 with", "{:.1f} ms"),
        ("memory_per_slow_kb", "memory per slow subscriber", "{:.0f} KB"),
        ("slow_disconnected", "disconnected", "{:.0f}"),
        ("slow_resynced", "resynchronised", "{:.0f}"),
        ("slow_current", "up to date at the end", "{:.0f}"),
    ],
    "catchup": [
        ("events", "events", "{:,.0f}"),
        ("one_s", "one subscriber", "{:.1f} s"),
        ("one_events_per_s", "events/s", "{:,.0f}"),
        ("many_s", "all of them", "{:.1f} s"),
        ("many_events_per_s", "events/s", "{:,.0f}"),
        ("many_cpu_us", "CPU per event", "{:.2f} µs"),
        ("many_memory_mb", "server's memory", "{:.0f} MB"),
        ("rest_p50_ms", "p50 of others, at rest", "{:.1f} ms"),
        ("rest_worst_ms", "worst", "{:.1f} ms"),
        ("meanwhile_p50_ms", "p50 meanwhile", "{:.1f} ms"),
        ("meanwhile_worst_ms", "worst", "{:.1f} ms"),
    ],
    "profile": [(group, group, "{:.2f} µs") for group in PROFILE_GROUPS] + [("cpu_us", "by its clock", "{:.2f} µs")],
}


def tables(scenario: str, result: Result) -> str:
    """Markdown."""
    if scenario == "scale":
        return _scale(result)
    columns = [
        column for column in _COLUMNS[scenario] if any(column[0] in figures for figures in result["servers"].values())
    ]
    lines = [_row(["server", *(heading for _, heading, _ in columns)]), _row(["---"] * (len(columns) + 1))]
    for server, figures in result["servers"].items():
        if "failed" in figures:
            lines.append(_row([server, f"FAILED: {figures['failed']}"] + [""] * (len(columns) - 1)))
        else:
            cells = [form.format(figures[name]) if name in figures else "" for name, _, form in columns]
            lines.append(_row([server, *cells]))
    return "\n".join(lines)


def _scale(result: Result) -> str:
    lines = []
    headings = ("CPU per delivery", "p99", "memory per subscriber", "connects/s")
    lines += [_row(["subscribers", "server", *headings]), _row(["---"] * 6)]
    for count, servers in result["points"].items():
        for server, figures in servers.items():
            if "failed" in figures:
                lines.append(_row([count, server, f"FAILED: {figures['failed']}", "", "", ""]))
                continue
            cells = [
                f"{figures['cpu_us']:.2f} µs",
                f"{figures['p99_ms']:.1f} ms",
                f"{figures['memory_kb']:.1f} KB",
                f"{figures['connects_per_s']:,.0f}",
            ]
            lines.append(_row([f"{int(count):,}", server, *cells]))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target: `value` must be at most `limit`, or at least where `at_least`."""

    text: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{'met   ' if self.met else 'MISSED'}  {self.text}: {self.value:.3g} (target {sign} {self.limit:g})"


def verdicts(scenario: str, mode: str, result: Result) -> list[Verdict]:
    """The targets that this run can judge; empty without our own server, or where it failed."""
    servers = {name: figures for name, figures in result.get("servers", {}).items() if "failed" not in figures}
    ours = servers.pop("flagent-cdc", None)
    return list(_judge(scenario, mode, ours, servers)) if ours else []


def _judge(scenario: str, mode: str, ours: Result, others: Mapping[str, Result]) -> Iterator[Verdict]:
    sse = mode == "sse"

    def ratio(name: str, figure: str) -> float:
        return float(ours[figure] / others[name][figure])

    match scenario:
        case "fanout":
            if "nchan" in others:
                yield Verdict("CPU per delivery, × Nchan", ratio("nchan", "cpu_us"), 0.75 if sse else 0.85)
            if "c-loop" in others:
                yield Verdict("CPU per delivery, × C loop", ratio("c-loop", "cpu_us"), 1.4 if sse else 1.55)
                yield Verdict("p99 to receipt, × C loop", ratio("c-loop", "p99_ms"), 1.6)
            if "naive" in others:
                yield Verdict(
                    "CPU per delivery, times better than naive", 1 / ratio("naive", "cpu_us"), 12 if sse else 8, True
                )
                yield Verdict("connects/s, × naive", ratio("naive", "connects_per_s"), 4 if sse else 2, True)
            yield Verdict("memory per idle subscriber, KB", ours["memory_kb"], 4)
        case "burst":
            if "nchan" in others:
                yield Verdict("CPU per delivery, × Nchan", ratio("nchan", "cpu_us"), 0.15)
                yield Verdict("all events delivered, × Nchan", ratio("nchan", "everywhere_s"), 1)
        case "storm":
            yield Verdict("with snapshot, × handshakes alone", ours["snapshots_s"] / ours["handshakes_s"], 2)
            yield Verdict("refused after their Retry-After", ours["snapshots_refused_again"], 0)
        case "selective":
            yield Verdict("CPU per change, ms", ours["cpu_ms"], 1)
        case "slow":
            yield Verdict("p99 with slow subscribers, × without", ours["with_p99_ms"] / ours["without_p99_ms"], 1.3)
