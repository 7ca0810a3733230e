"""The oracle: after random writes and faults, the copies of all clients equal the tables.

FLAGENT_CDC_TEST_SEED repeats the writes and the order of the faults of an earlier run (but not their timing);
FLAGENT_CDC_TEST_ORACLE_S sets a longer duration.
"""

import asyncio
import os
import random
import time
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from cdc.cli.torture.abuse import abuse
from cdc.cli.torture.poison import PoisonTable, RowSubscriber
from cdc.embedded.server import EmbeddedPostgres
from tests.fixtures.follower import Follower, Ledger, flags_in, following
from tests.fixtures.random_writer import writing
from tests.fixtures.server import ServerProcess, port_of, until

SEED = os.environ.get("FLAGENT_CDC_TEST_SEED") or str(time.time_ns() % 1_000_000)
LASTS_S = float(os.environ.get("FLAGENT_CDC_TEST_ORACLE_S") or 20)

# A start takes two seconds of processor time, and the machine may be busy.
START_S = 45.0

# Small buffers and short intervals, so that a short run has evictions, replays from the log and many keep-alives.
QUICK = {
    "FLAGENT_SSE_KEEP_ALIVE": "300ms",
    "FLAGENT_WS_PING_INTERVAL": "300ms",
    "FLAGENT_CDC_PROBE_INTERVAL": "500ms",
    "FLAGENT_CDC_RING_EVENTS": "300",
}


class Faults:
    """Injects one fault after the other; every kind occurs before any is repeated."""

    def __init__(self, rng: random.Random, postgres: EmbeddedPostgres, server: ServerProcess) -> None:
        self._rng = rng
        self._postgres = postgres
        self._server = server
        self.log: list[str] = []

    async def run(self, lasts_s: float) -> None:
        until_s = time.monotonic() + lasts_s
        kinds = [
            self._kill_server,
            self._end_sessions,
            self._kill_postgres,
            self._stop_postgres,
            self._kill_both,
            self._abuse,
        ]
        while time.monotonic() < until_s:
            for kind in self._rng.sample(kinds, len(kinds)):
                await asyncio.sleep(self._rng.uniform(0.2, 2.0))
                self.log.append(kind.__name__.strip("_"))
                await kind()
                if self._rng.random() < 0.6:
                    await self._server.ready(START_S)

    async def _kill_server(self) -> None:
        self._server.kill()
        await asyncio.sleep(self._rng.uniform(0, 1))
        self._server.start()

    async def _end_sessions(self) -> None:
        await asyncio.to_thread(end_sessions, self._postgres.url)

    async def _kill_postgres(self) -> None:
        await asyncio.to_thread(self._postgres.kill)
        await asyncio.sleep(self._rng.uniform(0, 1))
        await asyncio.to_thread(self._postgres.start)

    async def _stop_postgres(self) -> None:
        await asyncio.to_thread(self._postgres.stop)
        await asyncio.to_thread(self._postgres.start)

    async def _abuse(self) -> None:
        await abuse(port_of(self._server), self._rng)

    async def _kill_both(self) -> None:
        await asyncio.to_thread(self._postgres.kill)
        self._server.kill()
        self._server.start()
        await asyncio.sleep(self._rng.uniform(0, 1))
        await asyncio.to_thread(self._postgres.start)


def end_sessions(url: str) -> None:
    """Terminate every session of the server and, at random, those of writers."""
    with suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where pid <> pg_backend_pid() and (application_name like 'flagent-cdc%%' or random() < 0.3)"
            " and backend_type = 'client backend'"
        )


@pytest.mark.timeout(LASTS_S + 130)
async def test_clients_converge_to_the_tables_whatever_breaks(own_postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    print(f"FLAGENT_CDC_TEST_SEED={SEED}")
    ledger = Ledger()
    log = tmp_path / "server.log"
    server = ServerProcess(own_postgres.url, log=log, **QUICK)
    followers = [
        Follower(server.url, transport, ledger, **selected)
        for transport in ("sse", "websocket")
        for selected in ({}, {"tag": "t1"}, {"key": "k3"})
    ]
    poison = PoisonTable(own_postgres.url, "public")
    poison.create()
    rows = RowSubscriber((port_of(server),), "public", SEED)
    faults = Faults(random.Random(SEED), own_postgres, server)
    reading = asyncio.create_task(rows.run())
    try:
        server.start()
        await server.ready(START_S)
        async with following(followers):
            await until(lambda: rows.last_id is not None, "the rows of the table")
            with writing(own_postgres.url, SEED, poison=True) as writers:
                await faults.run(LASTS_S)
                await server.ready(START_S)
            commits = sum(writer.commits for writer in writers)
            newest, tables = flags_in(own_postgres.url)
            await until(lambda: all(f.position >= newest for f in followers), "the followers' catch-up")
            await until(lambda: rows.last_id is not None and rows.last_id.position >= newest, "the rows' catch-up")
            for follower in followers:
                follower.holds(tables)
            assert list(map(str, rows.violations(poison.marks()))) == []
    finally:
        reading.cancel()
        server.kill()
        print(f"{' '.join(faults.log)}; {[(f.name, f.connections, f.events, dict(f.resyncs)) for f in followers]}")
    print(f"{commits} commits, {sum(writer.conflicts for writer in writers)} conflicts, {len(ledger.events)} events")
    assert commits > 100
    assert rows.events > rows.unreadable
    assert all(follower.events for follower in followers)
    # Nothing was pruned or restored: a client that reconnects gets a replay, unless the database was down too.
    assert sum((follower.resyncs for follower in followers), start=type(followers[0].resyncs)()).keys() <= {"overflow"}
    assert len({log for follower in followers for log in follower.logs}) == 1
    _, traceback, rest = log.read_text().partition("Traceback")
    assert not traceback, rest[-4_000:]
