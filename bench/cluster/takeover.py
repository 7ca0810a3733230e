"""How long no commit is copied when the active relay dies, freezes or is cut off, and another stands by."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import psycopg
from nats.aio.client import Client
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.cluster.parties import Database, client, copied_to, database, nats_cluster
from bench.fanout.process import Cores, Process
from cdc.cli.torture.proxy import Proxy

__all__ = ["measure_takeover"]

_STREAM = "takeover"

_DEADLINE_S = 30.0


class _Relay:
    """A real one, whose way to the database leads through a proxy of its own."""

    def __init__(self, postgres: Database, address: str, core: int) -> None:
        self._place = conninfo_to_dict(postgres.url)
        self._environment = {
            "FLAGENT_CDC_NATS_URL": address,
            "FLAGENT_CDC_NATS_STREAM": _STREAM,
            "FLAGENT_CDC_LOG_LEVEL": "error",
        }
        self._core = core
        self._proxy = Proxy(str(self._place["host"]), int(str(self._place["port"])))
        self._process: Process | None = None

    async def start(self) -> None:
        await self._proxy.start()
        self.restart()

    def restart(self) -> None:
        url = make_conninfo("", **{**self._place, "host": "127.0.0.1", "port": self._proxy.port, "sslmode": "disable"})
        environment = {**self._environment, "FLAGENT_CDC_DATABASE_URL": url}
        self._process = Process([sys.executable, "-m", "cdc", "relay"], self._core, environment=environment)

    def end(self, how: str) -> None:
        assert self._process is not None
        match how:
            case "killed":
                self._process.popen.kill()
            case "frozen":
                self._process.popen.send_signal(signal.SIGSTOP)
            case "cut off":
                self._proxy.stall()

    def mend(self, how: str) -> None:
        assert self._process is not None
        match how:
            case "killed":
                self._process.stop()
                self.restart()
            case "frozen":
                self._process.popen.send_signal(signal.SIGCONT)
            case "cut off":
                self._proxy.resume()

    async def close(self) -> None:
        if self._process is not None:
            self._process.popen.kill()
            self._process.stop()
        await self._proxy.close()


async def measure_takeover(times: int) -> dict[str, Any]:
    """Seconds from the end of the active relay until a commit made after it is in the stream, by how it ended."""
    cores = Cores()
    found: dict[str, list[float]] = {"killed": [], "frozen": [], "cut off": []}
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(database())
        address, _ = stack.enter_context(nats_cluster(1, cores.load))
        plain = await stack.enter_async_context(client(address))
        active, standby = (_Relay(postgres, address, cores.load) for _ in range(2))
        for each in (active, standby):
            stack.push_async_callback(each.close)
        await active.start()
        await _copied(plain, postgres)
        await standby.start()
        for _ in range(times):
            for how, times_s in found.items():
                await _both_stand(postgres)
                ended = active
                times_s.append(await _ended(partial(ended.end, how), plain, postgres))
                ended.mend(how)
                active, standby = standby, active
    return found


async def _both_stand(postgres: Database) -> None:
    """Wait until two relays have a session of candidates: one holds the place, the other asks for it."""
    deadline = time.monotonic() + _DEADLINE_S
    async with await psycopg.AsyncConnection.connect(postgres.url, autocommit=True) as connection:
        question = "select count(*) from pg_stat_activity where application_name = 'flagent-cdc relay'"
        while (row := await (await connection.execute(question)).fetchone()) != (2,):
            if time.monotonic() > deadline:
                raise SystemExit(f"of two relays {row} stand")
            await asyncio.sleep(0.05)


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
        if await copied_to(plain, _STREAM) >= newest:
            return
        await asyncio.sleep(0.02)
    raise SystemExit(f"no relay has copied the commit {newest}")
