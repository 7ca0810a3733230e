"""Local evaluations of the Python SDK per second of processor time, with the flags of javascript.mjs.

Run: .venv/bin/python bench/sdk/python.py   The median of several rounds, as JSON.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "sdk" / "python"))

from flagent_realtime import Flag
from flagent_realtime._evaluation import evaluate_flag

FLAGS = 10_000
ROUNDS = 7
ROUND_S = 0.3


def flag(n: int) -> dict[str, Any]:
    """Two segments, each with two constraints and two distributions."""

    def segment(number: int, country: str) -> dict[str, Any]:
        constraints = [("country", "EQ", country), ("age", "GTE", "18")]
        return {
            "id": number,
            "rank": number,
            "rolloutPercent": 100,
            "constraints": [{"property": name, "operator": op, "value": value} for name, op, value in constraints],
            "distributions": [{"variantID": 2 * n + i, "percent": 50} for i in (0, 1)],
        }

    variants = [{"id": 2 * n, "key": "on", "attachment": {"value": "1"}}, {"id": 2 * n + 1, "key": "off"}]
    segments = [segment(3 * n, "US"), segment(3 * n + 2, "DE")]
    return {"id": n, "key": f"flag_{n}", "enabled": True, "segments": segments, "variants": variants}


def per_second(call: Callable[[int], object]) -> int:
    """The median of calls per second of processor time."""
    rates = []
    for _ in range(ROUNDS):
        began, calls = time.process_time(), 0
        while time.process_time() - began < ROUND_S:
            for _ in range(500):
                call(calls)
                calls += 1
        rates.append(calls / (time.process_time() - began))
    return round(statistics.median(rates))


def main() -> None:
    """Measure, and print JSON."""
    flags = {f"flag_{n}": Flag.from_json(flag(n)) for n in range(1, FLAGS + 1)}
    context: dict[str, Any] = {"country": "DE", "age": "42"}

    def evaluate(key: str, n: int) -> object:
        return evaluate_flag(flags[key], flags.get, entity_id=f"user{n % 1000}", entity_context=context)

    figures = {
        "python": sys.version.split()[0],
        "evaluatedAtRandom": per_second(lambda n: evaluate(f"flag_{n * 7919 % FLAGS + 1}", n)),
        "evaluatedSame": per_second(lambda n: evaluate("flag_77", n)),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
