"""How long no commit is copied after the active relay dies, freezes or is isolated, with a second relay on standby."""

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

from bench.cluster.programs import Database, client, copied_to, database, nats_cluster
from bench.fanout.process import Cores, Process
from cdc.cli.torture.proxy import Proxy

__all__ = ["measure_takeover"]

_STREAM = "takeover"

_DEADLINE_S = 30.0


class _Relay:
    """A real relay, connected to the database through its own proxy."""

    def __init__(self, postgres: Database, address: str, core: int) -> None:
        self._origin = conninfo_to_dict(postgres.url)
        self._environment = {
            "FLAGENT_CDC_NATS_URL": address,
            "FLAGENT_CDC_NATS_STREAM": _STREAM,
            "FLAGENT_CDC_LOG_LEVEL": "error",
        }
        self._core = core
        self._proxy = Proxy(str(self._origin["host"]), int(str(self._origin["port"])))
        self._process: Process | None = None

    async def start(self) -> None:
        await self._proxy.start()
        self.restart()

    def restart(self) -> None:
        url = make_conninfo("", **{**self._origin, "host": "127.0.0.1", "port": self._proxy.port, "sslmode": "disable"})
        environment = {**self._environment, "FLAGENT_CDC_DATABASE_URL": url}
        self._process = Process([sys.executable, "-m", "cdc", "relay"], self._core, environment=environment)

    def fail(self, how: str) -> None:
        assert self._process is not None
        match how:
            case "killed":
                self._process.popen.kill()
            case "frozen":
                self._process.popen.send_signal(signal.SIGSTOP)
            case "isolated":
                self._proxy.stall()

    def recover(self, how: str) -> None:
        assert self._process is not None
        match how:
            case "killed":
                self._process.stop()
                self.restart()
            case "frozen":
                self._process.popen.send_signal(signal.SIGCONT)
            case "isolated":
                self._proxy.resume()

    async def close(self) -> None:
        if self._process is not None:
            self._process.popen.kill()
            self._process.stop()
        await self._proxy.close()


async def measure_takeover(times: int) -> dict[str, Any]:
    """Seconds from the failure of the active relay until a later commit is in the JetStream stream, by failure."""
    cores = Cores()
    found: dict[str, list[float]] = {"killed": [], "frozen": [], "isolated": []}
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(database())
        address, _ = stack.enter_context(nats_cluster(1, cores.load))
        nats_client = await stack.enter_async_context(client(address))
        active, standby = (_Relay(postgres, address, cores.load) for _ in range(2))
        for each in (active, standby):
            stack.push_async_callback(each.close)
        await active.start()
        await _commit_and_await_copy(nats_client, postgres)
        await standby.start()
        for _ in range(times):
            for how, times_s in found.items():
                await _await_two_candidates(postgres)
                failed = active
                times_s.append(await _takeover_s(partial(failed.fail, how), nats_client, postgres))
                failed.recover(how)
                active, standby = standby, active
    return found


async def _await_two_candidates(postgres: Database) -> None:
    """Wait until two relays have an election session: one is active, the other is a candidate."""
    deadline = time.monotonic() + _DEADLINE_S
    async with await psycopg.AsyncConnection.connect(postgres.url, autocommit=True) as connection:
        count = "select count(*) from pg_stat_activity where application_name = 'flagent-cdc relay'"
        while (row := await (await connection.execute(count)).fetchone()) != (2,):
            if time.monotonic() > deadline:
                raise SystemExit(f"the number of relays with an election session is {row}, not 2")
            await asyncio.sleep(0.05)


async def _takeover_s(fail: Callable[[], None], nats_client: Client, postgres: Database) -> float:
    begun = time.monotonic()
    fail()
    await _commit_and_await_copy(nats_client, postgres)
    return time.monotonic() - begun


async def _commit_and_await_copy(nats_client: Client, postgres: Database) -> None:
    """Make a commit and wait until the JetStream stream has it, or an origin that covers it."""
    await postgres.write(1, 0.0)
    newest = postgres.newest()
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        if await copied_to(nats_client, _STREAM) >= newest:
            return
        await asyncio.sleep(0.02)
    raise SystemExit(f"no relay has copied commit {newest}")
