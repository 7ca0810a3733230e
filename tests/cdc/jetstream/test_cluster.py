"""The oracle of the tier: three NATS servers, two relays, three nodes, writers, and whatever may break at random.

FLAGENT_CDC_TEST_SEED repeats the writes and the order of the faults of an earlier run (the timing is the machine's);
FLAGENT_CDC_TEST_CLUSTER_S gives it longer than in an ordinary run of the tests.
"""

import asyncio
import os
import random
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cdc.cli.torture.abuse import abuse
from cdc.cli.torture.poison import PoisonTable
from cdc.embedded.server import EmbeddedPostgres
from tests.cdc.jetstream.test_relay import copied
from tests.fixtures.follower import Follower, Ledger, flags_in, following
from tests.fixtures.nats import NatsServer, RelayProcess, nats_client, nats_cluster
from tests.fixtures.proxy import Proxy, proxy_to
from tests.fixtures.random_writer import writing
from tests.fixtures.server import ServerProcess, port_of, until

SEED = os.environ.get("FLAGENT_CDC_TEST_SEED") or str(time.time_ns() % 1_000_000)
LASTS_S = float(os.environ.get("FLAGENT_CDC_TEST_CLUSTER_S") or 15)

# Starts take two seconds of processor time each, and eight processes share the machine.
START_S = 60.0

QUICK = {
    "FLAGENT_SSE_KEEP_ALIVE": "300ms",
    "FLAGENT_WS_PING_INTERVAL": "300ms",
    "FLAGENT_CDC_PROBE_INTERVAL": "500ms",
    "FLAGENT_CDC_RING_EVENTS": "300",
}


class Faults:
    """Breaks one thing after the other; every kind comes before any comes again."""

    def __init__(
        self,
        rng: random.Random,
        servers: list[NatsServer],
        relays: list[RelayProcess],
        nodes: list[ServerProcess],
        database_link: Proxy,
        nats_links: list[Proxy],
        followers: list[Follower],
    ) -> None:
        self._rng = rng
        self._servers = servers
        self._relays = relays
        self._nodes = nodes
        self._database_link = database_link
        self._nats_links = nats_links
        self._followers = followers
        self.log: list[str] = []

    async def run(self, lasts_s: float) -> None:
        until_s = time.monotonic() + lasts_s
        kinds = [
            self._kill_relay,
            self._freeze_relay,
            self._kill_nats,
            self._freeze_nats,
            self._kill_node,
            self._cut_relay_off,
            self._cut_off_from_nats,
            self._kill_all_relays,
            self._abuse,
        ]
        while time.monotonic() < until_s:
            for kind in self._rng.sample(kinds, len(kinds)):
                if time.monotonic() > until_s:
                    break
                await self._pause(1.5)
                self.log.append(kind.__name__.strip("_"))
                await kind()
                # Some move on, perhaps to a node that is behind or cut off.
                for follower in self._rng.sample(self._followers, 3):
                    follower.leave()

    async def _pause(self, most_s: float) -> None:
        await asyncio.sleep(self._rng.uniform(0.1, most_s))

    async def _kill_relay(self) -> None:
        relay = self._rng.choice(self._relays)
        relay.kill()
        await self._pause(1.0)
        relay.start()

    async def _freeze_relay(self) -> None:
        relay = self._rng.choice(self._relays)
        relay.send(signal.SIGSTOP)
        await asyncio.sleep(3.5)
        relay.send(signal.SIGCONT)

    async def _kill_nats(self) -> None:
        server = self._rng.choice(self._servers)
        await asyncio.to_thread(server.stop)
        await self._pause(2.0)
        server.start()

    async def _freeze_nats(self) -> None:
        server = self._rng.choice(self._servers)
        server.send(signal.SIGSTOP)
        await self._pause(4.0)
        server.send(signal.SIGCONT)

    async def _kill_node(self) -> None:
        node = self._rng.choice(self._nodes)
        node.kill()
        await self._pause(1.0)
        node.start()

    async def _cut_relay_off(self) -> None:
        self._database_link.stall()
        await asyncio.sleep(3.5)
        self._database_link.resume()

    async def _cut_off_from_nats(self) -> None:
        for link in self._nats_links:
            link.stall()
        await self._pause(4.0)
        for link in self._nats_links:
            link.resume()

    async def _abuse(self) -> None:
        await abuse(port_of(self._rng.choice(self._nodes)), self._rng)

    async def _kill_all_relays(self) -> None:
        for relay in self._relays:
            relay.kill()
        await self._pause(1.0)
        for relay in self._relays:
            relay.start()


@pytest.mark.timeout(LASTS_S + 240)
async def test_what_clients_hold_is_what_the_tables_hold_whatever_of_the_tier_breaks(
    own_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    print(f"FLAGENT_CDC_TEST_SEED={SEED}")
    rng, ledger = random.Random(SEED), Ledger()
    PoisonTable(own_postgres.url, "public").create()
    async with AsyncExitStack() as stack:
        servers = stack.enter_context(nats_cluster(tmp_path / "nats"))
        addresses = ",".join(server.url for server in servers)
        database_link = await stack.enter_async_context(proxy_to(own_postgres.url))
        nats_links = [
            await stack.enter_async_context(proxy_to(f"host=127.0.0.1 port={server.port}")) for server in servers
        ]
        # The first relay and the first node have ways of their own to all that they need, which may go silent.
        cut_off = ",".join(f"nats://127.0.0.1:{link.port}" for link in nats_links)
        relays = [
            RelayProcess(
                {
                    **os.environ,
                    "FLAGENT_CDC_DATABASE_URL": database_url,
                    "FLAGENT_CDC_NATS_URL": nats,
                    "FLAGENT_CDC_NATS_REPLICAS": "3",
                    "FLAGENT_CDC_NATS_SNAPSHOT_INTERVAL": "2s",
                },
                tmp_path / f"relay{number}.log",
            )
            for number, (database_url, nats) in enumerate(((database_link.url, cut_off), (own_postgres.url, addresses)))
        ]
        nodes = [
            ServerProcess(log=tmp_path / f"node{number}.log", FLAGENT_CDC_SOURCE=source, **QUICK)
            for number, source in enumerate((cut_off, addresses, addresses))
        ]
        started: tuple[RelayProcess | ServerProcess, ...] = (*relays, *nodes)
        for process in started:
            stack.callback(process.kill)
            process.start()
        for node in nodes:
            await node.ready(START_S)
        followers = [
            Follower(lambda: rng.choice(nodes).url, transport, ledger, **selected)
            for transport in ("sse", "websocket")
            for selected in ({}, {"tag": "t1"}, {"key": "k3"})
        ]
        faults = Faults(rng, servers, relays, nodes, database_link, nats_links, followers)
        try:
            async with following(followers):
                with writing(own_postgres.url, SEED, count=3, poison=True) as writers:
                    await faults.run(LASTS_S)
                for node in nodes:
                    await node.ready(START_S)
                newest, tables = flags_in(own_postgres.url)
                await until(lambda: all(f.position >= newest for f in followers), "the followers' catching up", 40)
                for follower in followers:
                    follower.holds(tables)
            async with nats_client(servers[0].url) as client:
                await copied(client, own_postgres.url)
        finally:
            print(f"{' '.join(faults.log)}; {[(f.name, f.connections, f.events, dict(f.resyncs)) for f in followers]}")
    commits = sum(writer.commits for writer in writers)
    print(f"{commits} commits, {len(ledger.events)} events")
    assert commits > 100
    assert all(follower.events for follower in followers)
    # Nothing was pruned or restored: what was away for a while is replayed, or asked for while NATS was away too.
    assert sum((follower.resyncs for follower in followers), start=type(followers[0].resyncs)()).keys() <= {
        "overflow",
        "ahead",
    }
    assert len({log for follower in followers for log in follower.logs}) == 1
    for process_log in tmp_path.glob("*.log"):
        _, traceback, rest = process_log.read_text().partition("Traceback")
        assert not traceback, rest[:4_000]
