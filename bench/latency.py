"""`python -m bench.latency`: latency from commit to receipt, compared with a bare psycopg LISTEN loop in the same run.

One writer changes a flag, and one subscriber of the event stream records when it receives the event. A bare loop on the
same database LISTENs for the notification of a trigger that does nothing else. Samples of both alternate, so that a
disturbance of the machine affects both. A sample is the time from sending the statement, in autocommit, to the receipt
of its text. The text must be that of the change, so that a lost or reordered event fails the run.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg

from bench.port import free_port
from cdc.admin.installation import migrate
from cdc.database.queries import flagent_tables
from cdc.embedded.server import EmbeddedPostgres

__all__ = ["subscriber"]

_DEADLINE_S = 10.0


async def _bare_listener(url: str, receipts: "asyncio.Queue[tuple[float, str]]") -> None:
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    await connection.execute("listen bare")
    receipts.put_nowait((time.perf_counter(), "connected"))
    async for notification in connection.notifies():
        receipts.put_nowait((time.perf_counter(), notification.payload))


async def subscriber(url: str, receipts: "asyncio.Queue[tuple[float, str]]") -> None:
    """Put the time and the description of each changed flag into the queue, after a first `connected`."""
    # A bare reader: the benchmark measures the stream, not a client library.
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(f"GET {address.path}?type=flag_updated HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
    try:
        async for line in reader:
            if line.startswith(b'data: {"id"'):
                at = time.perf_counter()
                receipts.put_nowait((at, json.loads(line[6:])["description"]))
            elif line.startswith(b"event: connected"):
                receipts.put_nowait((time.perf_counter(), "connected"))
    finally:
        writer.close()


async def _sample(
    connection: psycopg.AsyncConnection[object],
    statement: bytes,
    text: str,
    receipts: "asyncio.Queue[tuple[float, str]]",
) -> float:
    """Milliseconds from sending the statement to the receipt of exactly this text."""
    begun = time.perf_counter()
    await connection.execute(statement, (text,))
    async with asyncio.timeout(_DEADLINE_S):
        at, received = await receipts.get()
    if received != text:
        raise SystemExit(f"lost or reordered: expected {text!r}, received {received!r}")
    return (at - begun) * 1000


@asynccontextmanager
async def _server(url: str) -> AsyncIterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "cdc", "serve", "--port", str(port), "--database-url", url], stdout=subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient() as client:
            for _ in range(200):
                try:
                    if (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)
            else:
                raise SystemExit("the server did not become ready")
        yield f"http://127.0.0.1:{port}/api/v1/events/stream"
    finally:
        process.terminate()
        process.wait(10)


async def _measure(database_url: str, samples: int, warm_up: int) -> tuple[list[float], list[float]]:
    migrate(database_url, report=lambda _: None)
    async with (
        _server(database_url) as stream_url,
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection,
    ):
        await connection.execute("create table bare (n text)")
        await connection.execute("insert into bare values ('')")
        await connection.execute(
            "create function bare_notify() returns trigger language plpgsql as"
            " $$ begin perform pg_notify('bare', new.n); return null; end $$"
        )
        await connection.execute("create trigger bare after update on bare for each row execute function bare_notify()")
        await connection.execute(
            "insert into flags (key, description, enabled, created_at) values ('latency', '', false, now())"
        )
        ours: asyncio.Queue[tuple[float, str]] = asyncio.Queue()
        bare: asyncio.Queue[tuple[float, str]] = asyncio.Queue()
        tasks = [
            asyncio.create_task(subscriber(stream_url, ours)),
            asyncio.create_task(_bare_listener(database_url, bare)),
        ]
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await ours.get()
                await bare.get()
            our_ms: list[float] = []
            bare_ms: list[float] = []
            for n in range(warm_up + samples):
                our = await _sample(connection, b"update flags set description = %s", str(n), ours)
                base = await _sample(connection, b"update bare set n = %s", str(n), bare)
                if n >= warm_up:
                    our_ms.append(our)
                    bare_ms.append(base)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return our_ms, bare_ms


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--warm-up", type=int, default=100)
    parser.add_argument("--database-url", help="an empty database; default: an embedded one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flagent-cdc-bench-") as directory:
        os.chmod(directory, 0o755)
        if arguments.database_url:
            ours, bare = _run(arguments.database_url, arguments.samples, arguments.warm_up)
        else:
            with EmbeddedPostgres(Path(directory) / "data") as postgres:
                ours, bare = _run(postgres.url, arguments.samples, arguments.warm_up)
    print(f"{'commit to receipt':<28}{'p50 ms':>10}{'p99 ms':>10}")
    for name, values in (("flagent-cdc, SSE subscriber", ours), ("bare psycopg LISTEN loop", bare)):
        print(f"{name:<28}{statistics.median(values):>10.3f}{_p99(values):>10.3f}")
    print(f"{'ratio':<28}{statistics.median(ours) / statistics.median(bare):>10.2f}{_p99(ours) / _p99(bare):>10.2f}")
    print(f"{len(ours)} samples each, interleaved; every event arrived, in order")
    return 0


def _run(url: str, samples: int, warm_up: int) -> tuple[list[float], list[float]]:
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("select to_regclass('flags')").fetchone() == (None,):
            connection.execute(flagent_tables())
    return asyncio.run(_measure(url, samples, warm_up))


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


if __name__ == "__main__":
    raise SystemExit(main())
