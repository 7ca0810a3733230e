"""Reads snapshots and exports, and evaluates, in processes of their own.

Whoever measures others' delays must not read sixty megabytes in between: its own turns would be measured.
"""

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from urllib.parse import urlsplit

from bench.evaluation_http.websocket import encode_message
from bench.evaluation_http.websocket import run as evaluate
from bench.size.stream import Stream

__all__ = ["Snapshot", "evaluate_for", "export_for", "readers", "take_snapshot", "take_snapshots_for"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How long one took, how many flags it had, and whether one of them had the text that was looked for."""

    took_s: float
    flags: int
    has_text: bool


@contextmanager
def readers(count: int) -> Iterator[ProcessPoolExecutor]:
    """So many processes for the functions below; they have been started."""
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        list(pool.map(time.sleep, [0.2] * count))
        yield pool


def take_snapshot(url: str, text: str) -> Snapshot:
    """Take one, and look for a text among the descriptions of its flags."""
    took_s, data = asyncio.run(_take_snapshot(url))
    flags = json.loads(data)["flags"]
    return Snapshot(took_s, len(flags), any(flag["description"] == text for flag in flags))


async def _take_snapshot(url: str) -> tuple[float, bytes]:
    began = time.perf_counter()
    async with Stream(url, "?snapshot=true") as stream:
        data = await stream.event("snapshot")
    return time.perf_counter() - began, data


def take_snapshots_for(url: str, seconds: float) -> int:
    """Take one after the other; returns how many."""
    return _repeat(lambda: asyncio.run(_take_snapshot(url)), seconds)


def export_for(url: str, seconds: float) -> int:
    """Read the export, compressed, again and again."""
    request = urllib.request.Request(f"{url}/api/v1/export/eval_cache/json", headers={"accept-encoding": "gzip"})

    def read() -> None:
        with urllib.request.urlopen(request) as response:
            response.read()

    return _repeat(read, seconds)


def evaluate_for(url: str, seconds: float) -> int:
    """Evaluate over one WebSocket with 32 requests in flight; returns how many hundreds."""
    port = urlsplit(url).port
    assert port is not None
    body = {"flagKey": "checkout.flow-1", "entityID": "u", "entityType": "user", "entityContext": {"country": "DE"}}
    frames = [encode_message(number, body) for number in range(100)]
    return _repeat(lambda: evaluate(port, frames, 32), seconds)


def _repeat(do: Callable[[], object], seconds: float) -> int:
    count, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        do()
        count += 1
    return count
