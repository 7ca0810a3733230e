"""The Python SDK in numbers, as JSON: `python -m bench.sdk.python [--flags 10000]`.

Evaluations per second of processor time, in one thread, beside a look-up in a dictionary as the floor, and beside
LaunchDarkly's server SDK with test data where that is installed (`pip install launchdarkly-server-sdk`, or
LAUNCHDARKLY_SDK=the directory of `pip install --target`); the memory of a store; the time from a new store to readable
flags, from a cache and from a bootstrap; and, with the address of a server (`--url`), the time until READY from it and
from a cache. Times are processor time, the median of several rounds, except those until READY.
"""

import argparse
import asyncio
import importlib
import itertools
import json
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sdk" / "python"))

from flagent_realtime import FilePersistence, FlagentClient, FlagStore
from flagent_realtime._cache_key import cache_key
from flagent_realtime._digest import digest_of
from flagent_realtime._flag_table import FlagEntry
from flagent_realtime._saved_flags import write_document
from flagent_realtime._selection import EVERYTHING

ROUNDS = 7
ROUND_S = 0.2
NOWHERE = "http://127.0.0.1:1"


def flag(number: int) -> dict[str, Any]:
    """A flag with two segments, each with two constraints; the same in every language."""

    def segment(id: int, country: str) -> dict[str, Any]:
        return {
            "id": id, "flagID": number, "description": "", "rank": id, "rolloutPercent": 100,
            "constraints": [
                {"id": id, "segmentID": id, "property": "country", "operator": "EQ", "value": country},
                {"id": id + 1, "segmentID": id, "property": "age", "operator": "GTE", "value": "18"},
            ],
            "distributions": [
                {"id": id + place, "segmentID": id, "variantID": 2 * number + place, "variantKey": key, "percent": 50}
                for place, key in enumerate(("on", "off"))
            ],
        }  # fmt: skip

    return {
        "id": number, "key": f"flag_{number}", "description": "a flag of the benchmark", "createdBy": None,
        "updatedBy": None, "enabled": True, "snapshotID": 1, "notes": None, "dataRecordsEnabled": False,
        "entityType": "user", "environmentId": None, "projectId": None, "dependsOn": [],
        "tags": [{"id": 1, "value": "bench"}], "updatedAt": "2026-11-23T08:00:00", "archived": False,
        "segments": [segment(3 * number, "US"), segment(3 * number + 2, "DE")],
        "variants": [
            {"id": 2 * number, "flagID": number, "key": "on", "attachment": {"value": "1"}},
            {"id": 2 * number + 1, "flagID": number, "key": "off", "attachment": None},
        ],
    }  # fmt: skip


def per_second(call: Callable[[int], object]) -> int:
    """Calls per second of processor time, the median of several rounds; the first one warms up."""
    rates: list[float] = []
    for _ in range(ROUNDS + 1):
        began, calls = time.process_time(), 0
        while time.process_time() - began < ROUND_S:
            for _ in range(500):
                call(calls)
                calls += 1
        rates.append(calls / (time.process_time() - began))
    return round(statistics.median(rates[1:]))


def milliseconds(work: Callable[[], object]) -> float:
    """Processor time of one call, the median of several."""
    times: list[float] = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return round(1000 * statistics.median(times), 1)


async def until_ready(url: str, **options: Any) -> float:
    """Milliseconds of the clock from a new client until its store is READY."""
    began = time.perf_counter()
    async with FlagentClient(url) as client:
        await FlagStore(client, **options).ready(60)
        return round(1000 * (time.perf_counter() - began), 1)


def launch_darkly(count: int) -> dict[str, Any]:
    """Evaluations of LaunchDarkly's SDK without an account; nothing where it is not installed."""
    sys.path.append(os.environ.get("LAUNCHDARKLY_SDK", ""))
    try:
        client_module = importlib.import_module("ldclient.client")
    except ModuleNotFoundError:
        print("not measured: LaunchDarkly's SDK, which is not installed", file=sys.stderr)  # noqa: T201
        return {}
    ldclient = importlib.import_module("ldclient")
    data = importlib.import_module("ldclient.integrations.test_data").TestData.data_source()
    for number in range(1, count + 1):
        rule = data.flag(f"flag_{number}").boolean_flag().if_match("country", "DE")
        data.update(rule.then_return(True).fallthrough_variation(False))
    logging.getLogger("ldclient").setLevel(logging.ERROR)
    config = ldclient.Config("sdk-key", update_processor_class=data, send_events=False)
    contexts = [
        ldclient.Context.builder(f"user-{number}").set("country", country).set("age", 30).build()
        for number, country in zip(range(999), itertools.cycle(("US", "DE", "FR")), strict=False)
    ]
    keys = [f"flag_{number}" for number in range(1, count + 1)]
    client = client_module.LDClient(config, start_wait=10)
    try:
        assert client.is_initialized()
        rate = per_second(lambda n: client.variation(keys[n % count], contexts[n % len(contexts)], False))
    finally:
        client.close()
    version = importlib.import_module("ldclient.version").VERSION
    return {"launchDarklyVersion": version, "launchDarklyEvaluationsPerSecond": rate}


def measure(count: int, url: str | None, directory: Path) -> dict[str, Any]:
    flags = [flag(number) for number in range(1, count + 1)]
    text = json.dumps({"type": "snapshot", "id": "1@bench", "position": "1", "flags": flags})
    figures: dict[str, Any] = {"python": platform.python_version(), "flags": count, "snapshotBytes": len(text)}

    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    store = FlagStore(FlagentClient(NOWHERE), bootstrap=text)
    for each in store:
        assert each.segments
    figures["storeMiB"] = round((tracemalloc.get_traced_memory()[0] - before) / 2**20, 1)
    tracemalloc.stop()

    plain = {each["key"]: each for each in flags}
    keys = list(plain)
    contexts = [{"country": country, "age": 30} for country in ("US", "DE", "FR")]
    figures["lookupsPerSecond"] = per_second(lambda n: plain[keys[n % count]])
    figures["getsPerSecond"] = per_second(lambda n: store.get(keys[n % count]))
    evaluate = store.evaluate
    figures["evaluationsPerSecond"] = per_second(
        lambda n: evaluate(keys[n % count], f"user-{n}", contexts[n % len(contexts)])
    )
    figures["oneFlagEvaluationsPerSecond"] = per_second(
        lambda n: evaluate("flag_1", f"user-{n}", contexts[n % len(contexts)])
    )
    end = store.on_exposure(lambda exposure: None)
    figures["evaluationsWithExposuresPerSecond"] = per_second(
        lambda n: evaluate(keys[n % count], f"user-{n}", contexts[n % len(contexts)])
    )
    end()
    figures |= launch_darkly(count)

    files, key = FilePersistence(directory), cache_key(NOWHERE, EVERYTHING, None)
    entries = [FlagEntry("", flag) for flag in flags]
    document = write_document(key, "1@bench", entries, digest_of(flags), datetime.now(UTC))
    files.save(key, document)
    figures["cacheToReadableMs"] = milliseconds(
        lambda: FlagStore(FlagentClient(NOWHERE), persistence=FilePersistence(directory))
    )
    figures["bootstrapToReadableMs"] = milliseconds(lambda: FlagStore(FlagentClient(NOWHERE), bootstrap=text))
    figures["saveMs"] = milliseconds(lambda: files.save(key, document))

    if url is not None:
        cached = FilePersistence(directory / "server")
        asyncio.run(until_ready(url, persistence=cached))
        pairs = [
            (asyncio.run(until_ready(url)), asyncio.run(until_ready(url, persistence=cached)))
            for _ in itertools.repeat(None, ROUNDS)
        ]
        figures["serverToReadyMs"], figures["cacheToReadyMs"] = (
            round(statistics.median(times), 1) for times in zip(*pairs, strict=True)
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--flags", type=int, default=10_000, help="flags in the store")
    parser.add_argument("--url", help="a running server, whose flags are used for the times until READY")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        figures = measure(arguments.flags, arguments.url, Path(directory))
    print(json.dumps(figures, indent=1))  # noqa: T201  the result


if __name__ == "__main__":
    main()
