"""How long no commit is copied when the active relay dies, or freezes, and another stands by."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import nats.js.errors
from nats.aio.client import Client

from bench.cluster.parties import Database, client, database, nats_cluster
from bench.fanout.process import Cores, Process

__all__ = ["measure_takeover"]

_STREAM = "takeover"

# A relay that was started or thawed stands by after this.
_STARTED_S = 5.0
_DEADLINE_S = 30.0


async def measure_takeover(times: int) -> dict[str, Any]:
    """Seconds from the end of the active relay until a commit made after it is in the stream, by how it ended."""
    cores = Cores()
    with database() as postgres, nats_cluster(1, cores.load) as (address, _):
        environment = {
            "FLAGENT_CDC_DATABASE_URL": postgres.url,
            "FLAGENT_CDC_NATS_URL": address,
            "FLAGENT_CDC_NATS_STREAM": _STREAM,
            "FLAGENT_CDC_LOG_LEVEL": "error",
        }

        def start() -> Process:
            return Process([sys.executable, "-m", "cdc", "relay"], cores.load, environment=environment)

        async with client(address) as plain:
            active = start()
            await _copied(plain, postgres)
            standby = start()
            try:
                await asyncio.sleep(_STARTED_S)
                found: dict[str, list[float]] = {"killed": [], "frozen": []}
                for _ in range(times):
                    found["killed"].append(await _ended(active.popen.kill, plain, postgres))
                    active.stop()
                    active, standby = standby, start()
                    await asyncio.sleep(_STARTED_S)
                    frozen = active.popen
                    found["frozen"].append(await _ended(lambda: frozen.send_signal(signal.SIGSTOP), plain, postgres))  # noqa: B023
                    frozen.send_signal(signal.SIGCONT)
                    active, standby = standby, active
                    await asyncio.sleep(_STARTED_S)
            finally:
                for process in (active, standby):
                    process.stop()
    return found


async def _ended(end: Callable[[], None], plain: Client, postgres: Database) -> float:
    begun = time.monotonic()
    end()
    await _copied(plain, postgres)
    return time.monotonic() - begun


async def _copied(plain: Client, postgres: Database) -> None:
    """Make a commit and wait until the stream has it, or an origin that covers it."""
    await postgres.write(1, 0.0)
    newest = postgres.newest()
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        if await _position(plain) >= newest:
            return
        await asyncio.sleep(0.02)
    raise SystemExit(f"no relay has copied the commit {newest}")


async def _position(plain: Client) -> int:
    """Of the stream's last message, 0 while there is none."""
    jetstream = plain.jetstream()
    try:
        last = (await jetstream.stream_info(_STREAM)).state.last_seq
    except nats.js.errors.NotFoundError:
        return 0
    message = await jetstream.get_msg(_STREAM, seq=last) if last else None
    return int((message.headers or {})["Flagent-Cdc-Position"]) if message else 0
