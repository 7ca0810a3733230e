"""`python -m bench.size`: what many flags cost, beside the floor of reading their tables.

One server on one database with `--flags` flags of about 1.1 KB of JSON. The floor is reading Flagent's seven tables by
`COPY … TO STDOUT (FORMAT binary)`, in the same run, before and after. Each figure is printed with what was asked, and
whether it was met. Every answer is checked: the number of flags, and the text of the flag that changed.
"""

import argparse
import asyncio
import gzip
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psycopg
from psycopg import sql

from bench.port import free_port
from bench.size.flags import add_flags, create_tables, write_flags
from bench.size.reading import evaluate_for, export_for, readers, take_snapshot, take_snapshots_for
from bench.size.report import Report
from bench.size.stream import Stream
from bench.writer import embedded
from cdc.admin.installation import migrate
from cdc.core.flags.flag_tables import TABLES

_READY_S = 300.0

# How long a change is measured beside each of its disturbances.
_OTHERS_S = 5.0


def floor_s(url: str) -> float:
    """Seconds to read the seven tables."""
    with psycopg.connect(url) as connection:
        began = time.perf_counter()
        for table in TABLES:
            query = sql.SQL("copy {} to stdout (format binary)").format(sql.Identifier(table))
            with connection.cursor().copy(query) as copy:
                for _ in copy:
                    pass
        return time.perf_counter() - began


class Server:
    """A server in a process of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str, ready_s: float) -> None:
        self.url = url
        self.ready_s = ready_s
        self._process = process

    @property
    def memory_bytes(self) -> int:
        """Its resident memory."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    @property
    def cpu_s(self) -> float:
        """The processor time it has taken."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


@asynccontextmanager
async def serving(database_url: str) -> AsyncIterator[Server]:
    port = free_port()
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "cdc", "serve", "--port", str(port), "--database-url", database_url],
        stdout=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient() as client:
            while True:
                if process.poll() is not None or time.perf_counter() - began > _READY_S:
                    raise SystemExit("the server did not become ready")
                try:
                    if (await client.get(f"{url}/readyz")).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.02)
        yield Server(process, url, time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait(20)


async def _encoded(server: Server) -> None:
    """Wait until the server is idle: it encodes flags in turns after the start."""
    before = -1.0
    while server.cpu_s - before > 0.02:
        before = server.cpu_s
        await asyncio.sleep(0.5)


async def _change(connection: psycopg.AsyncConnection[object], number: int) -> str:
    text = f"changed {number}"
    await connection.execute("update flags set description = %s where id = %s", (text, 1 + number % 100))
    return text


async def measure(url: str, count: int, rounds: int, repeats: int, report: Report) -> None:
    floors = [floor_s(url)]
    starts: list[float] = []
    cpus: list[float] = []
    for _ in range(rounds):
        async with serving(url) as server:
            starts.append(server.ready_s)
            cpus.append(server.cpu_s)
        floors.append(floor_s(url))
    floor = statistics.median(floors)
    report.note("reading the tables by COPY", floor, "s")
    report.note("start to ready, processor time of the server", statistics.median(cpus), "s")
    report.figure("start to ready", statistics.median(starts), "s", min(6.0, 5 * floor), f"{starts}")
    async with serving(url) as server, await psycopg.AsyncConnection.connect(url, autocommit=True) as writer:
        await _encoded(server)
        report.figure("memory for each flag", server.memory_bytes / count / 1024, "KB", 6.0)
        await _snapshots(server, writer, count, rounds, report)
        await _exports(server, writer, count, rounds, report)
        await _others(server, writer, report)
        await _memory_again(server, writer, repeats, report)
        await _large_commit(server, url, writer, count, report)


async def _snapshots(
    server: Server, writer: psycopg.AsyncConnection[object], count: int, rounds: int, report: Report
) -> None:
    took: list[float] = []
    loop = asyncio.get_running_loop()
    async with Stream(server.url, "?type=flag_updated") as changes:
        await changes.event("connected")
        with readers(1) as pool:
            for number in range(rounds + 1):
                text = await _change(writer, number)
                assert text.encode() in await changes.event("flag_updated")
                snapshot = await loop.run_in_executor(pool, take_snapshot, server.url, text)
                assert snapshot.flags == count, snapshot
                assert snapshot.has_text, "the snapshot misses the last change"
                took.append(snapshot.took_s)
    report.note("the first snapshot", took[0], "s")
    report.figure("snapshot after one change", statistics.median(took[1:]), "s", 0.6)


async def _others(server: Server, writer: psycopg.AsyncConnection[object], report: Report) -> None:
    """What one changed flag takes to a subscriber, and a small request, while others take all that there is."""
    loop = asyncio.get_running_loop()
    everything = (take_snapshots_for, export_for, evaluate_for)
    async with Stream(server.url, "?flag=checkout.flow-1") as subscriber:
        await subscriber.event("connected")

        async def delays(seconds: float) -> tuple[float, float]:
            changes, requests = [], []
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                began = time.perf_counter()
                await writer.execute("update flags set notes = %s where id = 1", (str(began),))
                await subscriber.event("flag_updated")
                changes.append(time.perf_counter() - began)
                requests.append(await _round_trip(server))
            return _p99(changes) * 1000, _p99(requests) * 1000

        with readers(len(everything)) as pool:
            idle, _ = await delays(_OTHERS_S)
            # Each alone, and all at once.
            for readings in (everything[:1], everything[1:2], everything[2:], everything):
                running = [loop.run_in_executor(pool, reading, server.url, _OTHERS_S) for reading in readings]
                change, request = await delays(_OTHERS_S)
                counts = [await done for done in running]
                names = " and ".join([f"{n} × {each.__name__[:-4]}" for n, each in zip(counts, readings, strict=True)])
                report.figure(f"a change to a subscriber beside {names}, p99", change, "ms", 2 * idle)
                report.figure("other requests meanwhile, p99", request, "ms", max(10.0, 2 * idle))


async def _round_trip(server: Server) -> float:
    host, _, port = server.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    began = time.perf_counter()
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    await reader.readline()
    took = time.perf_counter() - began
    writer.close()
    return took


async def _exports(
    server: Server, writer: psycopg.AsyncConnection[object], count: int, rounds: int, report: Report
) -> None:
    took: dict[str, list[float]] = {"gzip": [], "identity": []}
    enabled = count - count // 3
    async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
        for number in range(rounds + 1):
            for encoding, times in took.items():
                text = await _change(writer, 200 + number)
                began = time.perf_counter()
                async with client.stream(
                    "GET", "/api/v1/export/eval_cache/json", headers={"accept-encoding": encoding}
                ) as response:
                    raw = b"".join([piece async for piece in response.aiter_raw()])
                times.append(time.perf_counter() - began)
                body = gzip.decompress(raw) if encoding == "gzip" else raw
                flags = json.loads(body)["flags"]
                assert abs(len(flags) - enabled) <= 1, (len(flags), enabled)
                assert text.startswith("changed")
                again = await client.get(
                    "/api/v1/export/eval_cache/json", headers={"if-none-match": response.headers["etag"]}
                )
                assert again.status_code == 304, again.status_code
    report.note("the first export", took["gzip"][0], "s")
    report.figure("export after one change, gzip", statistics.median(took["gzip"][1:]), "s", 0.5)
    report.figure("export after one change, identity", statistics.median(took["identity"][1:]), "s", 0.5)


async def _memory_again(server: Server, writer: psycopg.AsyncConnection[object], repeats: int, report: Report) -> None:
    """Snapshots, exports and reconnects, again and again: the memory after the first ten, and after all."""
    first = last = 0
    with readers(1) as pool:
        for number in range(repeats):
            await _change(writer, 300 + number)
            async with Stream(server.url, "") as reconnected:
                await reconnected.event("connected")
            for take in (take_snapshots_for, export_for):
                await asyncio.get_running_loop().run_in_executor(pool, take, server.url, 0.001)
            last = server.memory_bytes
            if number == 9:
                first = last
    share = 100 * last / (first or last)
    report.figure(f"memory after {repeats} snapshots, exports and reconnects", share, "% of after ten", 105.0)


async def _large_commit(
    server: Server, url: str, writer: psycopg.AsyncConnection[object], count: int, report: Report
) -> None:
    last = f"checkout.flow-{2 * count}"
    async with Stream(server.url, "?table=other") as other, Stream(server.url, f"?flag={last}") as subscriber:
        await other.event("connected")
        await subscriber.event("connected")
        delays: list[float] = []
        is_over = False

        async def others() -> None:
            number = 0
            while not is_over:
                number += 1
                began = time.perf_counter()
                await writer.execute("update other set at = clock_timestamp() where id = 1")
                async with asyncio.timeout(60):
                    await other.event("row_updated")
                delays.append(time.perf_counter() - began)
                await asyncio.sleep(0.01)

        beside = asyncio.create_task(others())
        await asyncio.sleep(2)
        usual = statistics.median(delays)
        delays.clear()
        cpu_s = server.cpu_s
        began = time.perf_counter()
        await asyncio.to_thread(_insert, url, count)
        committed = time.perf_counter()
        async with asyncio.timeout(_READY_S):
            await subscriber.event("flag_created")
        visible = time.perf_counter()
        is_over = True
        await beside
    report.note(f"the statement that inserts {count} flags, with its commit", committed - began, "s")
    report.note("processor time of the server for it", server.cpu_s - cpu_s, "s")
    report.figure("visible after the commit", visible - committed, "s", 6.0)
    report.figure("others' events later than usual, p99", (_p99(delays) - usual) * 1000, "ms", 50.0)
    report.figure("others' events later than usual, at most", (max(delays) - usual) * 1000, "ms", 50.0)


def _watch_another_lane(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table other (id integer primary key, at timestamptz)")
        connection.execute("insert into other values (1, now())")
        connection.execute("select flagent_cdc.watch('other', lane => 'other', lane_order => 'commit')")


def _insert(url: str, count: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        write_flags(connection, count + 1, 2 * count)


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98] if len(values) > 1 else max(values)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.size", description=__doc__)
    parser.add_argument("--flags", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1_000, help="snapshots, exports and reconnects for the memory")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flagent-cdc-bench-") as directory, embedded(Path(directory)) as postgres:
        create_tables(postgres.url)
        add_flags(postgres.url, arguments.flags)
        migrate(postgres.url, report=lambda _: None)
        _watch_another_lane(postgres.url)
        report = Report()
        print(f"{arguments.flags} flags, {arguments.rounds} rounds", flush=True)
        asyncio.run(measure(postgres.url, arguments.flags, arguments.rounds, arguments.repeats, report))
    return report.end()


if __name__ == "__main__":
    raise SystemExit(main())
