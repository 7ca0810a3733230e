"""Writes results into docs/performance.md: `python -m bench.fanout.document RESULTS.json docs/performance.md`.

The text between `<!-- bench NAME -->` and `<!-- end -->` is generated; NAME is `machine`, a scenario with its mode
(`fanout-sse`, `burst-ws-compressed`), or `charts-` and a scenario. Sections without a result stay unchanged. Charts
are written to `charts/` beside the page.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.fanout.chart import bars, lines, stacked
from bench.fanout.profile import GROUPS
from bench.fanout.report import tables, verdicts

__all__ = ["charts", "fill"]

Record = Mapping[str, Any]


def name_of(record: Record) -> str:
    workers = f"-{record['workers']}-workers" if record["workers"] > 1 else ""
    return f"{record['scenario']}-{record['mode']}{'-compressed' if record['compress'] else ''}{workers}"


def section(record: Record) -> str:
    count = record["subscribers"]
    shown = f"{count:,}" if isinstance(count, int) else f"from {count[0]:,} to {count[-1]:,}"
    judged = verdicts(record["scenario"], record["mode"], record)
    parts = [f"`{record['command']}`: {shown} subscribers.", tables(record["scenario"], record)]
    if judged:
        rows = "\n".join(
            f"| {verdict.text} | {verdict.value:.3g} | {'≥' if verdict.at_least else '≤'} {verdict.limit:g} |"
            f" {'met' if verdict.met else '**missed**'} |"
            for verdict in judged
        )
        parts.append(f"| metric | measured | target | |\n| --- | --- | --- | --- |\n{rows}")
    return "\n\n".join(parts)


def machine_section(records: Sequence[Record]) -> str:
    about = records[-1]["machine"]
    dates = sorted({record["machine"]["date"][:10] for record in records})
    return (
        f"Measured on {' and '.join(dates)}: {about['processor']}, {about['cores']} cores, {about['memory']}; "
        f"{about['kernel']} (TCP {about['tcp']}), Python {about['python']}, nginx {about['nginx']}."
    )


def fill(page: str, records: Sequence[Record]) -> str:
    """The page with the sections of these records replaced."""
    sections = {name_of(record): section(record) for record in records}
    sections["machine"] = machine_section(records)
    for file, (scenario, title, _) in charts(records).items():
        image = f"![{title}](charts/{file})"
        sections[f"charts-{scenario}"] = "\n\n".join(filter(None, [sections.get(f"charts-{scenario}"), image]))

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        return f"<!-- bench {name} -->\n\n{sections[name]}\n\n<!-- end -->" if name in sections else match.group(0)

    return re.sub(r"<!-- bench (\S+) -->.*?<!-- end -->", replace, page, flags=re.S)


def charts(records: Sequence[Record]) -> dict[str, tuple[str, str, str]]:
    """File name to scenario, title and SVG."""
    found: dict[str, tuple[str, str, str]] = {}

    def by_mode(scenario: str, figure: str) -> dict[str, dict[str, float]]:
        groups = {}
        for record in records:
            if record["scenario"] == scenario and record["workers"] == 1:
                values = {
                    server: figures[figure]
                    for server, figures in record["servers"].items()
                    if figure in figures and "failed" not in figures
                }
                mode = {"sse": "SSE", "ws": "WebSocket"}[record["mode"]]
                groups[mode + (", compressed" if record["compress"] else "")] = values
        return {name: values for name, values in sorted(groups.items()) if values}

    def add(scenario: str, name: str, title: str, unit: str, groups: Mapping[str, Mapping[str, float]]) -> None:
        if groups:
            found[f"{name}.svg"] = (scenario, title, bars(title, unit, groups))

    def pairs(scenario: str, figures: Mapping[str, str]) -> dict[str, dict[str, float]]:
        """Figures of flagent-cdc side by side, each under its name."""
        groups: dict[str, dict[str, float]] = {}
        for figure, shown in figures.items():
            for mode, values in by_mode(scenario, figure).items():
                if "flagent-cdc" in values:
                    groups.setdefault(mode, {})[shown] = values["flagent-cdc"]
        return groups

    add("fanout", "fanout", "CPU per delivery, one event at a time", "µs", by_mode("fanout", "cpu_us"))
    add("fanout", "latency", "Commit to receipt, p99", "ms", by_mode("fanout", "p99_ms"))
    add("fanout", "memory", "Memory per idle subscriber", "KB", by_mode("fanout", "memory_kb"))
    add("fanout", "connects", "Connects per second", "/s", by_mode("fanout", "connects_per_s"))
    add("burst", "burst", "CPU per delivery in a burst", "µs", by_mode("burst", "cpu_us"))
    add("burst", "burst-time", "Time to deliver the whole burst", "s", by_mode("burst", "everywhere_s"))
    add(
        "selective",
        "selective",
        "CPU per change",
        "ms",
        pairs("selective", {"cpu_ms": "10 000 connected", "alone_cpu_ms": "no subscribers"}),
    )
    add(
        "catchup",
        "catchup",
        "Events per second",
        "/s",
        pairs("catchup", {"one_events_per_s": "one", "many_events_per_s": "all"}),
    )
    add(
        "catchup",
        "catchup-others",
        "Delivery to live subscribers during catch-up",
        "ms",
        pairs("catchup", {"rest_p50_ms": "at rest", "meanwhile_p50_ms": "p50", "meanwhile_worst_ms": "worst"}),
    )
    add(
        "storm",
        "storm",
        "Time until all clients have reconnected",
        "s",
        pairs("storm", {"handshakes_s": "handshakes", "snapshots_s": "snapshots"}),
    )
    add(
        "slow",
        "slow",
        "p99 of the other subscribers",
        "ms",
        pairs("slow", {"without_p99_ms": "without", "with_p99_ms": "with"}),
    )
    # Beside the naive server's bar the others would be invisible.
    for name, title, servers in (
        ("profile", "One delivery", ("flagent-cdc", "c-loop")),
        ("profile-naive", "One delivery, naive", ("naive",)),
    ):
        rows = {
            f"{server}, {record['mode'].upper()}": {group: figures[group] for group in GROUPS}
            for server in servers
            for record in sorted(records, key=name_of)
            if record["scenario"] == "profile"
            and "failed" not in (figures := record["servers"].get(server, {"failed": "not measured"}))
        }
        if rows:
            found[f"{name}.svg"] = ("profile", title, stacked(title, "µs", rows))
    for record in records:
        if record["scenario"] == "scale":
            for figure, title, unit in (
                ("cpu_us", "CPU per delivery", "µs"),
                ("memory_kb", "Memory per subscriber", "KB"),
                ("connects_per_s", "Connects per second", "/s"),
            ):
                series: dict[str, dict[float, float]] = {}
                for count, servers in record["points"].items():
                    for server, figures in servers.items():
                        if "failed" not in figures:
                            series.setdefault(server, {})[float(count)] = figures[figure]
                chart = lines(title, "subscribers", unit, series)
                found[f"{name_of(record)}-{figure.removesuffix('_us')}.svg"] = ("scale", title, chart)
    return found


def main(results: Path, page: Path) -> None:
    records = json.loads(results.read_text())
    page.write_text(fill(page.read_text(), records))
    folder = page.parent / "charts"
    folder.mkdir(exist_ok=True)
    for name, (_, _, text) in charts(records).items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
