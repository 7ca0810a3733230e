"""Commits per second that a relay copies while it works off a backlog: its maximum rate."""

import asyncio
import signal
import time
from typing import Any

from bench.cluster.programs import client, copied_to, database, nats_cluster, relay
from bench.fanout.process import Cores

__all__ = ["measure_backlog"]

_STREAM = "backlog"
_SESSIONS = 4
_DEADLINE_S = 60.0


async def measure_backlog(seconds: float) -> dict[str, Any]:
    """Freeze the relay for `seconds`, while four sessions commit as fast as they can, and let it catch up."""
    cores = Cores()
    with database() as postgres, nats_cluster(1, cores.load) as (address, _):
        postgres.pin(cores.server)
        async with (
            relay(postgres.url, address, _STREAM, cores.load, replicas=1) as copying,
            client(address) as nats_client,
        ):
            await postgres.write(1, 0.0)
            copying.popen.send_signal(signal.SIGSTOP)
            await postgres.write(_SESSIONS, seconds)
            first, newest = await copied_to(nats_client, _STREAM), postgres.newest()
            copying.popen.send_signal(signal.SIGCONT)
            # The relay must first notice that it was frozen and be elected again, so the count starts with its first
            # commit.
            async with asyncio.timeout(_DEADLINE_S):
                while (begin := await copied_to(nats_client, _STREAM)) == first:
                    await asyncio.sleep(0.005)
                begun = time.monotonic()
                while (here := await copied_to(nats_client, _STREAM)) < newest:
                    await asyncio.sleep(0.005)
    return {"commits": newest - first, "per_s": (here - begin) / (time.monotonic() - begun)}
