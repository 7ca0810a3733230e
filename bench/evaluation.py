"""`python -m bench.evaluation`: evaluations per second and core, over 1 000 flags.

Every flag has two segments and three constraints. The same random requests are evaluated in turn by

- `decide`: the core alone, with the prepared flag;
- `evaluate`: with the look-up of the flag;
- `evaluate + render`: with the result as a JSON object;
- `evaluator`: the whole shell, from a request object as parsed from JSON, with the catalog, the clock and the checks;
- the baseline: the slow transcription of the rules, which prepares nothing, for the first requests only;
- a server, over one REST connection and over one WebSocket (`bench.evaluation_wire`), for the first requests only. The
  CPU seconds there are the server's.

Each round keeps the variants of its results and digests them after the clock has stopped. All rounds must agree with
each other, and the first requests with the baseline, segments included: a wrong result fails the run, however fast.
"""

import argparse
import json
import os
import platform
import random
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.evaluation_wire import passes as wire_passes
from bench.evaluation_wire import running_server
from cdc.core.evaluation import EvaluationRequest, decide, evaluate, render_evaluation
from cdc.evaluation.evaluator import Evaluator
from tests.cdc.core.evaluation import transcription
from tests.cdc.core.flagent import Flagent

COUNTRIES = ["US", "CA", "GB", "DE", "FR", "JP"]
TIERS = ["free", "pro", "team"]
TARGET_PER_S = 200_000


def flags_in_a_database(count: int, with_expressions: bool, dice: random.Random) -> Flagent:
    """Flags with two segments: one for a country and an age, one for some tiers or for a regular expression."""
    database = Flagent()
    for number in range(count):
        flag_id = database.flag(f"flag-{number}", enabled=True, snapshot_id=number)
        variants = [database.insert("variants", flag_id=flag_id, key=key) for key in ("control", "treatment")]
        third = ("mail", "EREG", r"[a-z0-9]+@example\.(com|org)") if with_expressions else ("tier", "IN", "pro, team")
        for rank, tests in enumerate([[("country", "EQ", dice.choice(COUNTRIES)), ("age", "GTE", "18")], [third]]):
            rollout = dice.choice([20, 50, 100])
            segment_id = database.insert("segments", flag_id=flag_id, rank=rank, rollout_percent=rollout)
            for name, operator, value in tests:
                columns = {"property": name, "operator": operator, "value": value}
                database.insert("constraints", segment_id=segment_id, **columns)
            percent = dice.choice([10, 30, 50])
            for variant_id, share in zip(variants, (percent, 100 - percent), strict=True):
                database.insert("distributions", segment_id=segment_id, variant_id=variant_id, percent=share)
    return database


def random_requests(count: int, flags: int, dice: random.Random) -> list[dict[str, Any]]:
    return [
        {
            "flagKey": f"flag-{dice.randrange(flags)}",
            "entityID": f"user-{dice.randrange(10_000_000)}",
            "entityContext": {
                "country": dice.choice(COUNTRIES),
                "age": str(dice.randrange(10, 80)),
                "tier": dice.choice(TIERS),
                "mail": f"user{dice.randrange(1000)}@example.{dice.choice(['com', 'org', 'net'])}",
            },
        }
        for _ in range(count)
    ]


@dataclass(frozen=True, slots=True)
class Round:
    wall_s: float
    cpu_s: float
    digest: int


def measure(evaluate_all: Callable[[], Sequence[object]], cpu_clock: Callable[[], float] = time.process_time) -> Round:
    """Time one pass over the requests; like a server, it keeps little of each result."""
    wall, cpu = time.perf_counter(), cpu_clock()
    results = evaluate_all()
    wall_s, cpu_s = time.perf_counter() - wall, cpu_clock() - cpu
    return Round(wall_s, cpu_s, digest_of(results))


def digest_of(results: Sequence[object]) -> int:
    digest = 0
    for result in results:
        digest = zlib.crc32(repr(result).encode(), digest)
    return digest


def segment_and_variant(result: dict[str, Any]) -> tuple[int | None, int | None]:
    return result["segmentID"], result["variantID"]


def report(name: str, requests: int, rounds: Sequence[Round]) -> dict[str, Any]:
    """Print and return the median round and the spread, in evaluations per second."""
    per_cpu = sorted(requests / one.cpu_s for one in rounds)
    per_wall = sorted(requests / one.wall_s for one in rounds)
    middle = len(rounds) // 2
    line = {
        "what": name,
        "per_s": round(per_wall[middle]),
        "per_cpu_s": round(per_cpu[middle]),
        "lowest_per_cpu_s": round(per_cpu[0]),
        "highest_per_cpu_s": round(per_cpu[-1]),
        "cpu_us_each": round(1e6 / per_cpu[middle], 2),
        "requests": requests,
        "rounds": len(rounds),
    }
    print(json.dumps(line))
    return line


def over_the_wire(database: Flagent, requests: Sequence[dict[str, Any]], rounds: int, expected: int) -> bool:
    """Evaluate the same requests on a server; False if any result differs from the expected one."""
    with running_server(database) as server:
        passes = wire_passes(server, requests)
        taken: dict[str, list[Round]] = {name: [] for name in passes}
        for number in range(rounds + 1):  # the first warms up
            for name, evaluate_all in passes.items():
                one = measure(evaluate_all, server.process.cpu_s)
                if number:
                    taken[name].append(one)
        for name, of_one in taken.items():
            report(name, len(requests), of_one)
    return {one.digest for of_one in taken.values() for one in of_one} == {expected}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Evaluations per second and CPU second.")
    parser.add_argument("--flags", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--wire-requests", type=int, default=5_000, help="0 skips the server")
    parser.add_argument("--expressions", action="store_true", help="make one of the three constraints an EREG")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    dice = random.Random(options.seed)
    database = flags_in_a_database(options.flags, options.expressions, dice)
    catalog = database.catalog()
    raw = random_requests(options.requests, options.flags, dice)
    requests = [EvaluationRequest.parse(request) for request in raw]
    evaluator = Evaluator(lambda: catalog)
    source = evaluator._source(None)
    prepared = [
        (flag, request.entity.id or "", request.entity.context or {})
        for request in requests
        if (flag := source.by_key(request.flag_key or "")) is not None
    ]
    slow_flags = {flag["key"]: flag for _, flag in catalog.flags()}
    slow_raw = raw[: options.requests // 20]

    passes: dict[str, Callable[[], Sequence[object]]] = {
        "decide": lambda: [decide(flag, entity_id, context).variant_id for flag, entity_id, context in prepared],
        "evaluate": lambda: [evaluate(source, request, new_entity_id=str).decision.variant_id for request in requests],
        "evaluate + render": lambda: [
            render_evaluation(evaluate(source, request, new_entity_id=str), "")["variantID"] for request in requests
        ],
        "evaluator": lambda: [evaluator.evaluate(request)["variantID"] for request in raw],
    }
    print(
        json.dumps(
            {
                "python": platform.python_version(),
                "machine": platform.machine(),
                "processors": len(os.sched_getaffinity(0)),
                "flags": options.flags,
                "seed": options.seed,
                "expressions": options.expressions,
            }
        )
    )
    slow = measure(
        lambda: [
            segment_and_variant(transcription.evaluate([slow_flags[request["flagKey"]]], request))
            for request in slow_raw
        ]
    )
    rounds: dict[str, list[Round]] = {name: [] for name in passes}
    for evaluate_all in passes.values():  # warm up: expressions are compiled, caches filled
        measure(evaluate_all)
    for _ in range(options.rounds):  # in turn, so that a disturbance of the machine affects all
        for name, evaluate_all in passes.items():
            rounds[name].append(measure(evaluate_all))
    lines = {name: report(name, options.requests, rounds[name]) for name in passes}
    baseline = report("transcription (baseline)", len(slow_raw), [slow])
    print(json.dumps({"decide_times_baseline": round(lines["decide"]["per_cpu_s"] / baseline["per_cpu_s"])}))
    first = digest_of([segment_and_variant(evaluator.evaluate(request)) for request in slow_raw])
    digests = {one.digest for name in passes for one in rounds[name]}
    if len(digests) != 1 or first != slow.digest:
        print("the results differ from round to round or from the baseline", file=sys.stderr)
        return 1
    wire_raw = raw[: options.wire_requests]
    expected = digest_of([evaluator.evaluate(request)["variantID"] for request in wire_raw])
    if wire_raw and not over_the_wire(database, wire_raw, options.rounds, expected):
        print("the server's results differ from the core's", file=sys.stderr)
        return 1
    print(json.dumps({"digest": f"{digests.pop():08x}", "results_agree": True}))
    if not options.expressions and lines["decide"]["per_cpu_s"] < TARGET_PER_S:
        print(f"decide is below the target of {TARGET_PER_S} evaluations per CPU second", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
