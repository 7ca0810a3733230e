"""How many commits per second a relay copies that finds itself behind: the most that it can do."""

import asyncio
import signal
import time
from typing import Any

from bench.cluster.parties import client, copied_to, database, nats_cluster, relay
from bench.fanout.process import Cores

__all__ = ["measure_backlog"]

_STREAM = "backlog"
_SESSIONS = 4
_DEADLINE_S = 60.0


async def measure_backlog(seconds: float) -> dict[str, Any]:
    """The relay is frozen while four sessions commit as fast as they can for so long, and then thaws."""
    cores = Cores()
    with database() as postgres, nats_cluster(1, cores.load) as (address, _):
        postgres.pin(cores.server)
        async with relay(postgres.url, address, _STREAM, cores.load, replicas=1) as copying, client(address) as plain:
            await postgres.write(1, 0.0)
            copying.popen.send_signal(signal.SIGSTOP)
            await postgres.write(_SESSIONS, seconds)
            first, newest = await copied_to(plain, _STREAM), postgres.newest()
            copying.popen.send_signal(signal.SIGCONT)
            # It must first find out that it was away, and take its place again: counted is from the first commit on.
            async with asyncio.timeout(_DEADLINE_S):
                while (begin := await copied_to(plain, _STREAM)) == first:
                    await asyncio.sleep(0.005)
                begun = time.monotonic()
                while (here := await copied_to(plain, _STREAM)) < newest:
                    await asyncio.sleep(0.005)
    return {"commits": newest - first, "per_s": (here - begin) / (time.monotonic() - begun)}
