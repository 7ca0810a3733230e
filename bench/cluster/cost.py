"""What nodes cost PostgreSQL when they listen to it, and when they are behind the tier.

PostgreSQL has one core, everything else is on another. Each configuration is measured twice: at an even rate that all
can follow, for the processor time of a commit; and as fast as four sessions commit, for the commits per second. The
writers are loops inside PostgreSQL. The nodes are stand-ins with a node's load on PostgreSQL or on NATS
(`listeners.py`, `consumers.py`), because the machine has no room for fifty real ones.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from bench.cluster.programs import Database, client, copied_to, database, nats_cluster, relay
from bench.fanout.process import Cores, Process

__all__ = ["measure_cost"]

_PACED_RATE = 200.0
_SESSIONS = 4
_STREAM = "cost"
_CATCH_UP_S = 60.0


async def measure_cost(counts: Sequence[int], seconds: float) -> list[dict[str, Any]]:
    """One record per kind and number of nodes; kind `none` is PostgreSQL without nodes."""
    cores = Cores()
    records = []
    with database(in_memory=True) as postgres:
        postgres.pin(cores.server)
        await postgres.write(_SESSIONS, 1.0)  # warm
        records.append(await _measure(postgres, "none", 0, seconds, {}))
        for count in counts:
            command = [sys.executable, "-m", "bench.cluster.listeners", postgres.url, str(count)]
            with Process(command, cores.load) as listeners:
                await _ready(listeners)
                records.append(await _measure(postgres, "direct", count, seconds, {"nodes": [listeners]}))
        with ExitStack() as stack:
            address, servers = stack.enter_context(nats_cluster(1, cores.load))
            async with (
                relay(postgres.url, address, _STREAM, cores.load, replicas=1) as copying,
                client(address) as nats_client,
            ):
                for count in counts:
                    command = [sys.executable, "-m", "bench.cluster.consumers", address, _STREAM, str(count)]
                    with Process(command, cores.load) as consumers:
                        await _ready(consumers)
                        processes = {"nodes": [consumers], "relay": [copying], "nats": servers}
                        records.append(await _measure(postgres, "tier", count, seconds, processes))
                    # Let the relay catch up, so that its backlog does not count for the next configuration.
                    async with asyncio.timeout(_CATCH_UP_S):
                        while await copied_to(nats_client, _STREAM) < postgres.newest():
                            await asyncio.sleep(0.1)
                state = (await nats_client.jetstream().stream_info(_STREAM)).state
                records[-1]["message_bytes"] = state.bytes / state.messages
    return records


async def _ready(process: Process) -> None:
    assert process.popen.stdout is not None
    line = await asyncio.to_thread(process.popen.stdout.readline)
    if line.strip() != b"ready":
        raise SystemExit(f"the stand-ins did not start\n{process.stderr_tail()}")


async def _measure(
    postgres: Database, kind: str, count: int, seconds: float, processes: dict[str, list[Process]]
) -> dict[str, Any]:
    before = {name: sum(process.cpu_s() for process in group) for name, group in processes.items()}
    cpu, position, begun = postgres.cpu_s(), postgres.newest(), time.monotonic()
    await postgres.write(1, seconds, _PACED_RATE)
    took_s, commits = time.monotonic() - begun, postgres.newest() - position
    record: dict[str, Any] = {
        "kind": kind,
        "nodes": count,
        "paced_per_s": commits / took_s,
        "cpu_us_per_commit": {
            "postgres": (postgres.cpu_s() - cpu) / commits * 1e6,
            **{
                name: (sum(process.cpu_s() for process in group) - before[name]) / commits * 1e6
                for name, group in processes.items()
            },
        },
    }
    cpu, position, begun = postgres.cpu_s(), postgres.newest(), time.monotonic()
    await postgres.write(_SESSIONS, seconds)
    took_s = time.monotonic() - begun
    record["commits_per_s"] = (postgres.newest() - position) / took_s
    record["postgres_cores"] = (postgres.cpu_s() - cpu) / took_s
    return record
