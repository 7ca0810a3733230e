"""Latency from commit to receipt, directly and through the tier: the same commits on the same machine in one run."""

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from typing import Any

import psycopg

from bench.cluster.programs import database, nats_cluster, node, relay
from bench.fanout.process import Cores
from bench.latency import subscriber

__all__ = ["measure_latency"]

_DEADLINE_S = 20.0
_WARM_UP = 100
_PACED_RATE = 200.0
_PACED_S = 5.0


async def measure_latency(samples: int) -> dict[str, Any]:
    """Milliseconds by path: `direct`, `tier` (one NATS server), `tier of three` (three replicas); and what a commit
    costs each node without subscribers, in microseconds of processor time."""
    cores = Cores()
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(database())
        single, _ = stack.enter_context(nats_cluster(1, cores.load))
        triple, _ = stack.enter_context(nats_cluster(3, cores.load))
        await stack.enter_async_context(relay(postgres.url, single, "one", cores.load, replicas=1))
        await stack.enter_async_context(relay(postgres.url, triple, "three", cores.load, replicas=3))
        environments = {
            "direct": {"FLAGENT_CDC_DATABASE_URL": postgres.url},
            "tier": {"FLAGENT_CDC_SOURCE": single, "FLAGENT_CDC_NATS_STREAM": "one"},
            "tier of three": {"FLAGENT_CDC_SOURCE": triple, "FLAGENT_CDC_NATS_STREAM": "three"},
        }
        nodes = {
            path: await stack.enter_async_context(node(cores.server, environment))
            for path, environment in environments.items()
        }
        receipts: dict[str, asyncio.Queue[tuple[float, str]]] = {path: asyncio.Queue() for path in nodes}
        subscribers = [
            asyncio.create_task(subscriber(f"{url}/api/v1/events/stream", receipts[path]))
            for path, (url, _) in nodes.items()
        ]
        try:
            for queue in receipts.values():
                async with asyncio.timeout(_DEADLINE_S):
                    await queue.get()
            found = await _sample(postgres.url, samples, receipts)
        finally:
            for task in subscribers:
                task.cancel()
            await asyncio.gather(*subscribers, return_exceptions=True)
        before = {path: process.cpu_s() for path, (_, process) in nodes.items()}
        position = postgres.newest()
        await postgres.write(1, _PACED_S, _PACED_RATE)
        commits = postgres.newest() - position
        cpu_us = {path: (process.cpu_s() - before[path]) / commits * 1e6 for path, (_, process) in nodes.items()}
        memory = {path: process.memory_bytes() for path, (_, process) in nodes.items()}
    return {
        "samples": samples,
        "ms": {
            path: {"p50": statistics.median(values), "p99": statistics.quantiles(values, n=100)[98]}
            for path, values in found.items()
        },
        "node_cpu_us_per_commit": cpu_us,
        "node_memory_bytes": memory,
    }


async def _sample(
    url: str, samples: int, receipts: dict[str, "asyncio.Queue[tuple[float, str]]"]
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {path: [] for path in receipts}
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for number in range(_WARM_UP + samples):
            text = str(number)
            begun = time.perf_counter()
            await connection.execute("update flags set description = %s where key = 'bench0'", (text,))
            for path, queue in receipts.items():
                try:
                    at, received = await asyncio.wait_for(queue.get(), _DEADLINE_S)
                except TimeoutError:
                    raise SystemExit(f"{path}: no event within {_DEADLINE_S:g} s after commit {number}") from None
                if received != text:
                    raise SystemExit(f"{path}: lost or reordered: expected {text!r}, received {received!r}")
                if number >= _WARM_UP:
                    found[path].append((at - begun) * 1000)
    return found
