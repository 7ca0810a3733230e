import argparse
import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from bench.cluster.backlog import measure_backlog
from bench.cluster.cost import measure_cost
from bench.cluster.latency import measure_latency
from bench.cluster.takeover import measure_takeover
from bench.fanout.machine import describe


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description="Measures the NATS tier.")
    parser.add_argument("what", nargs="*", choices=["latency", "cost", "backlog", "takeover", []], help="default: all")
    parser.add_argument("--samples", type=int, default=1000, help="commits for the latency (default: %(default)s)")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 10, 50], help="default: 1 10 50")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="seconds per phase of the cost (default: %(default)s)"
    )
    parser.add_argument("--times", type=int, default=3, help="takeovers of each kind (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="add the figures to this JSON file")
    arguments = parser.parse_args()
    results = json.loads(arguments.output.read_text()) if arguments.output and arguments.output.exists() else {}
    results["machine"] = describe()
    parts: dict[str, Callable[[], Coroutine[None, None, Any]]] = {
        "latency": lambda: measure_latency(arguments.samples),
        "cost": lambda: measure_cost(arguments.nodes, arguments.seconds),
        "backlog": lambda: measure_backlog(arguments.seconds),
        "takeover": lambda: measure_takeover(arguments.times),
    }
    for name in arguments.what or parts:
        results[name] = asyncio.run(parts[name]())
        if arguments.output:
            # After each part, because a later one may fail.
            arguments.output.write_text(json.dumps(results, indent=2) + "\n")
        print(name, json.dumps(results[name], indent=2), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
