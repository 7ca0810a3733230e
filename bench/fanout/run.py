"""The command `python -m bench.fanout`."""

import argparse
import json
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.fanout import machine
from bench.fanout.report import tables, verdicts
from bench.fanout.scenario import SCENARIOS
from bench.fanout.subject import SERVERS, Options

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scenarios; returns 1 if a server lost an event, however fast it was."""
    parser = argparse.ArgumentParser(prog="python -m bench.fanout", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"{', '.join(SCENARIOS)} (default: fanout)")
    parser.add_argument("--mode", choices=["sse", "ws"], default="sse")
    parser.add_argument("--subscribers", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=5, help="events in each round of fanout, slow and scale")
    parser.add_argument("--burst-events", type=int, default=1000)
    parser.add_argument("--catchup-events", type=int, default=100_000)
    parser.add_argument("--catchup-subscribers", type=int, default=20)
    parser.add_argument("--storm-flags", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1, help="worker processes of flagent-cdc, all on one core")
    parser.add_argument("--window", type=int, default=512, help="concurrent connection attempts")
    parser.add_argument("--compress", action="store_true", help="subscribers accept gzip, permessage-deflate")
    parser.add_argument("--servers", default=",".join(SERVERS), help="default: %(default)s")
    parser.add_argument("--output", type=Path, help="add the results to this JSON file")
    chosen = parser.parse_args(arguments)
    scenarios = chosen.scenarios or ["fanout"]
    for name in scenarios:
        if name not in SCENARIOS:
            parser.error(f"unknown scenario {name!r}; choose from {', '.join(SCENARIOS)}")
    options = Options(
        **{
            name: getattr(chosen, name)
            for name in (
                "mode", "subscribers", "rounds", "events", "burst_events", "catchup_events", "catchup_subscribers",
                "storm_flags", "workers", "window", "compress",
            )
        },
        servers=chosen.servers.split(","),
    )  # fmt: skip
    # On SIGTERM it still stops the programs it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # The driver, and the PostgreSQL it starts, stay off the server's core.
    os.sched_setaffinity(0, options.cores.others)
    about = machine.describe()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    if len(options.cores.all) < 2:
        print("warning: with a single core, server and load disturb each other")
    failed = False
    for name in scenarios:
        print(
            f"\n{name}, {options.mode}{', compressed' if options.compress else ''}: {SCENARIOS[name].__doc__}",
            flush=True,
        )
        began = time.monotonic()
        result = SCENARIOS[name](options)
        print(f"\n{result['subscribers']} subscribers, {time.monotonic() - began:.0f} s\n\n{tables(name, result)}\n")
        for verdict in verdicts(name, options.mode, result):
            print(verdict)
        sys.stdout.flush()
        every = [result["servers"]] if "servers" in result else list(result["points"].values())
        failed |= any("failed" in figures for servers in every for figures in servers.values())
        if chosen.output:
            record = {
                "scenario": name,
                "mode": options.mode,
                "compress": options.compress,
                "workers": options.workers,
                "command": re.sub(r" --output[ =]\S+", "", "python -m bench.fanout " + " ".join(sys.argv[1:])),
                "machine": about,
                **result,
            }
            # A run replaces the earlier one of the same kind.
            earlier = json.loads(chosen.output.read_text()) if chosen.output.exists() else []
            same = ("scenario", "mode", "compress", "workers")
            kept = [other for other in earlier if any(other[part] != record[part] for part in same)]
            chosen.output.write_text(json.dumps([*kept, record], indent=1) + "\n")
    return 1 if failed else 0
