"""The programs of a run, each pinned to a core: PostgreSQL, NATS, relays and nodes."""

import asyncio
import ctypes
import os
import sys
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import nats.js.errors
import psycopg
from nats.aio.client import Client

from bench.fanout.process import Process
from bench.port import free_port
from cdc.admin.installation import migrate
from cdc.database.queries import flagent_tables
from cdc.embedded.server import EmbeddedPostgres

__all__ = ["Database", "client", "copied_to", "database", "nats_cluster", "node", "relay"]

_TICKS = os.sysconf("SC_CLK_TCK")
_LIBC = ctypes.CDLL(None, use_errno=True)
_START_S = 40.0

_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

# Commits as fast as PostgreSQL allows or, with a rate, evenly spaced. The loop runs inside the server, so that a
# client's processor time does not limit it.
_WRITER = """
create procedure bench_write(in_key text, in_seconds float, in_rate float) language plpgsql as $$
declare
    begun timestamptz := clock_timestamp();
    n     integer := 0;
begin
    loop
        update flags set description = clock_timestamp()::text where key = in_key;
        commit;
        n := n + 1;
        exit when clock_timestamp() > begun + make_interval(secs => in_seconds);
        if in_rate > 0 then
            perform pg_sleep(greatest(0, n / in_rate - extract(epoch from clock_timestamp() - begun)));
        end if;
    end loop;
end
$$
"""


class Database:
    """An embedded PostgreSQL, migrated, with ten flags and a procedure that changes them."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.url = server.url
        self._cluster = server.cluster

    def prepare(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(flagent_tables())
            migrate(self.url, report=lambda _: None)
            connection.execute(
                "insert into flags (key, description, enabled, created_at)"
                " select 'bench' || n, '', false, now() from generate_series(0, 9) n"
            )
            connection.execute(_WRITER)

    @property
    def _pid(self) -> int:
        return int((self._cluster / "postmaster.pid").read_text().split()[0])

    def pin(self, core: int) -> None:
        """Pin the server and all later sessions to a core."""
        for pid in (self._pid, *self._children()):
            os.sched_setaffinity(pid, {core})

    def _children(self) -> list[int]:
        return [
            int(child)
            for task in Path(f"/proc/{self._pid}/task").glob("*/children")
            for child in task.read_text().split()
        ]

    def cpu_s(self) -> float:
        """Processor time of all its processes, ended ones included."""
        ended = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        total = (int(ended[13]) + int(ended[14])) / _TICKS
        for pid in (self._pid, *self._children()):
            clock = ctypes.c_int()
            if _LIBC.clock_getcpuclockid(pid, ctypes.byref(clock)) == 0:
                total += time.clock_gettime(clock.value)
        return total

    def newest(self) -> int:
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute("select coalesce(max(position), 0) from flagent_cdc.commit_log").fetchone()
            assert row is not None
            return int(row[0])

    async def write(self, sessions: int, seconds: float, rate: float = 0.0) -> None:
        """Change flags from several sessions; `rate` is their total in commits per second, 0 for the maximum."""

        async def one(number: int) -> None:
            async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
                await connection.execute("call bench_write(%s, %s, %s)", (f"bench{number}", seconds, rate / sessions))

        await asyncio.gather(*(one(number) for number in range(sessions)))


@contextmanager
def database(*, in_memory: bool = False) -> Iterator[Database]:
    """A prepared database; `in_memory` keeps its files on tmpfs, so that commits do not wait for a disk."""
    with tempfile.TemporaryDirectory(prefix="flagent-cdc-bench-", dir=_MEMORY if in_memory else None) as directory:
        os.chmod(directory, 0o755)
        with EmbeddedPostgres(Path(directory) / "data", options={"max_connections": "200"}) as server:
            found = Database(server)
            found.prepare()
            yield found


@contextmanager
def nats_cluster(size: int, core: int) -> Iterator[tuple[str, list[Process]]]:
    """The comma-separated addresses of `size` servers, and their processes.

    Their files are on tmpfs where there is one: on one disk, PostgreSQL and NATS would slow each other.
    """
    program = Path(sysconfig.get_path("scripts")) / "nats-server"
    ports, routes = [free_port() for _ in range(size)], [free_port() for _ in range(size)]
    route_urls = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in routes)
    with tempfile.TemporaryDirectory(prefix="flagent-cdc-bench-", dir=_MEMORY) as directory:
        processes = []
        try:
            for number, (port, route) in enumerate(zip(ports, routes, strict=True)):
                config = Path(directory) / f"{number}.conf"
                store = Path(directory) / str(number)
                cluster = f"cluster {{ name: bench, listen: 127.0.0.1:{route}, routes: [{route_urls}] }}\n"
                config.write_text(
                    f'server_name: n{number}\nlisten: 127.0.0.1:{port}\njetstream {{ store_dir: "{store}" }}\n'
                    + (cluster if size > 1 else "")
                )
                processes.append(Process([program, "-c", config, "-l", store.with_suffix(".log")], core))
            yield ",".join(f"nats://127.0.0.1:{port}" for port in ports), processes
        finally:
            for process in processes:
                process.stop()


@asynccontextmanager
async def client(address: str) -> AsyncIterator[Client]:
    async def ignore(_: Exception) -> None:
        """An error means that the server has not started yet."""

    found = Client()
    async with asyncio.timeout(_START_S):
        await found.connect(address.split(","), error_cb=ignore, reconnect_time_wait=0, max_reconnect_attempts=-1)
    try:
        yield found
    finally:
        await found.close()


async def copied_to(nats_client: Client, stream: str) -> int:
    """The position of the last message in the JetStream stream, 0 while there is none."""
    jetstream = nats_client.jetstream()
    try:
        last = (await jetstream.stream_info(stream)).state.last_seq
    except nats.js.errors.NotFoundError:
        return 0
    message = await jetstream.get_msg(stream, seq=last) if last else None
    return int((message.headers or {})["Flagent-Cdc-Position"]) if message else 0


@asynccontextmanager
async def relay(database_url: str, address: str, stream: str, core: int, *, replicas: int) -> AsyncIterator[Process]:
    """Run a relay; yields once it is active."""
    environment = {
        "FLAGENT_CDC_DATABASE_URL": database_url,
        "FLAGENT_CDC_NATS_URL": address,
        "FLAGENT_CDC_NATS_STREAM": stream,
        "FLAGENT_CDC_NATS_REPLICAS": str(replicas),
        "FLAGENT_CDC_LOG_LEVEL": "warning",
    }
    with Process([sys.executable, "-m", "cdc", "relay"], core, environment=environment) as process:
        async with client(address) as nats_client:
            deadline = time.monotonic() + _START_S
            while True:
                try:
                    await nats_client.request(f"{stream}.probe", b"", timeout=1)
                    break
                except Exception as error:
                    if time.monotonic() > deadline:
                        raise SystemExit(f"the relay did not become active: {error}") from error
                    await asyncio.sleep(0.1)
        yield process


@asynccontextmanager
async def node(core: int, environment: Mapping[str, str]) -> AsyncIterator[tuple[str, Process]]:
    """Run a server; yields its address and its process once it is ready."""
    port = free_port()
    command = [sys.executable, "-m", "cdc", "serve", "--port", str(port)]
    with Process(command, core, environment={**environment, "FLAGENT_CDC_LOG_LEVEL": "warning"}) as process:
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient() as http:
            deadline = time.monotonic() + _START_S
            while True:
                try:
                    if (await http.get(url + "/readyz")).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                if time.monotonic() > deadline:
                    raise SystemExit(f"a node did not become ready\n{process.stderr_tail()}")
                await asyncio.sleep(0.05)
        yield url, process
