"""The faults: processes killed, links disconnected or stalled, sessions terminated, abusive clients."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import httpx2
import psycopg

from cdc.cli.torture.abuse import abuse
from cdc.cli.torture.port import lasting_port
from cdc.cli.torture.proxy import Proxy
from cdc.cli.torture.writer import Writer
from cdc.database.queries import query
from cdc.embedded.server import EmbeddedPostgres

__all__ = ["Faults", "Server"]

# A start takes two seconds of processor time, and the machine may be busy.
_START_S = 60.0

# Small and short, so that a short run has evictions, replays from the change log and many keep-alives. Retention is
# off, so that the test prunes nothing of a given database.
_SETTINGS = {
    "FLAGENT_SSE_KEEP_ALIVE": "500ms",
    "FLAGENT_WS_PING_INTERVAL": "500ms",
    "FLAGENT_CDC_PROBE_INTERVAL": "500ms",
    "FLAGENT_CDC_RING_EVENTS": "500",
    "FLAGENT_CDC_RETENTION_MAX_AGE": "off",
    "FLAGENT_CDC_RETENTION_MAX_BYTES": "off",
}


class Server:
    """`flagent-cdc serve` in a child process, which is killed and started again on the same port."""

    def __init__(self, url: str, log: Path) -> None:
        self._url = url
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.port = lasting_port()

    def start(self) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLAGENT_")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - this program, no shell
                [sys.executable, "-m", "cdc", "serve", "--port", str(self.port)],
                env={**inherited, **_SETTINGS, "FLAGENT_CDC_DATABASE_URL": self._url},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    async def stop(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(number)
            try:
                await asyncio.to_thread(process.wait, 20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kill(self) -> None:
        """Kill the process at the end of a run, without a graceful stop."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    async def ready(self) -> None:
        """Wait until the server is ready; raises `TimeoutError`."""
        async with asyncio.timeout(_START_S), httpx2.AsyncClient() as client:
            while True:
                with suppress(httpx2.HTTPError):
                    if (await client.get(f"http://127.0.0.1:{self.port}/readyz")).status_code == 200:
                        return
                await asyncio.sleep(0.1)


class Faults:
    """Injects one fault after the other, in random order; every kind comes once before any is repeated."""

    def __init__(
        self,
        rng: random.Random,
        url: str,
        servers: Sequence[Server],
        database_link: Proxy,
        client_links: Sequence[Proxy],
        writers: Sequence[Writer],
        postgres: EmbeddedPostgres | None,
    ) -> None:
        self._rng = rng
        self._url = url
        self._servers = servers
        self._database_link = database_link
        self._client_links = client_links
        self._writers = writers
        self._postgres = postgres
        self._must_end = asyncio.Event()
        self.done: Counter[str] = Counter()

    async def finish(self, running: asyncio.Task[None]) -> None:
        """End `run` after the present fault, which is repaired first."""
        self._must_end.set()
        await running

    async def run(self, every_s: float) -> None:
        """Inject faults until `finish`; each one is repaired before the next."""
        kinds: Mapping[str, Callable[[], Awaitable[object]]] = {
            "server killed": self._kill_server,
            "server stopped": self._stop_server,
            "writers' sessions terminated": self._terminate_writers,
            "database link stalled": self._stall_database,
            "database link disconnected": self._disconnect_database,
            "client links disconnected": self._disconnect_clients,
            "client link stalled": self._stall_client,
            "abusive clients": self._abuse,
        }
        if self._postgres is not None:
            kinds = {
                **kinds,
                "all sessions terminated": self._terminate_sessions,
                "PostgreSQL killed": self._kill_postgres,
                "PostgreSQL restarted": self._restart_postgres,
            }
        while True:
            for name in self._rng.sample(sorted(kinds), len(kinds)):
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._must_end.wait(), self._rng.uniform(0.5, 1.5) * every_s)
                    return
                await kinds[name]()
                self.done[name] += 1

    async def _kill_server(self) -> None:
        await self._restart(self._rng.choice(self._servers), signal.SIGKILL)

    async def _stop_server(self) -> None:
        await self._restart(self._rng.choice(self._servers), signal.SIGTERM)

    async def _restart(self, server: Server, number: signal.Signals) -> None:
        await server.stop(number)
        await asyncio.sleep(self._rng.uniform(0, 1))
        server.start()
        await server.ready()

    async def _terminate_writers(self) -> None:
        for writer in self._writers:
            if writer.backend_pid and self._rng.random() < 0.7:
                await asyncio.to_thread(self._administer, "end_session", writer.backend_pid)

    async def _terminate_sessions(self) -> None:
        await asyncio.to_thread(self._administer, "end_our_sessions", 0)

    def _administer(self, name: str, pid: int) -> None:
        # The session may have ended already, or the database may be down: then another fault had the same effect.
        with (
            suppress(psycopg.OperationalError),
            psycopg.connect(self._url, autocommit=True, connect_timeout=5) as admin,
        ):
            admin.execute(query(name), {"pid": pid})

    async def _stall_database(self) -> None:
        await self._stall(self._database_link)

    async def _stall_client(self) -> None:
        await self._stall(self._rng.choice(self._client_links))

    async def _stall(self, link: Proxy) -> None:
        link.stall()
        await asyncio.sleep(self._rng.uniform(0.5, 4))
        link.resume()

    async def _disconnect_database(self) -> None:
        self._database_link.disconnect()

    async def _disconnect_clients(self) -> None:
        for link in self._client_links:
            link.disconnect()

    async def _abuse(self) -> None:
        await abuse(self._rng.choice(self._servers).port, self._rng)

    async def _kill_postgres(self) -> None:
        assert self._postgres is not None
        await asyncio.to_thread(self._postgres.kill)
        await asyncio.sleep(self._rng.uniform(0, 1))
        await asyncio.to_thread(self._postgres.start)

    async def _restart_postgres(self) -> None:
        assert self._postgres is not None
        await asyncio.to_thread(self._postgres.stop)
        await asyncio.to_thread(self._postgres.start)
