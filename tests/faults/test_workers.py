"""A worker that dies or hangs affects only its own subscribers, and only until they have reconnected."""

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fixtures.flags import Writer
from tests.fixtures.follower import Follower, Ledger, flags_in, following
from tests.fixtures.server import ServerProcess, until

# The kernel chooses a worker for each connection: all get the same one once in 2^15 times.
_FOLLOWERS = 16

_START_S = 60.0


@pytest.fixture
async def server(database_url: str) -> AsyncIterator[ServerProcess]:
    """A server with two workers, both ready."""
    process = ServerProcess(
        database_url,
        FLAGENT_CDC_WORKERS="2",
        FLAGENT_SSE_KEEP_ALIVE="300ms",
        # A client that leaves three pings unanswered is disconnected; a test without processor time must not be.
        FLAGENT_WS_PING_INTERVAL="3s",
    )
    process.start()
    try:
        await process.ready(_START_S)
        await until(lambda: len(listening(process)) == 2, "two workers that listen", _START_S)
        yield process
    finally:
        for worker in process.workers():
            os.kill(worker, signal.SIGCONT)
        process.kill_tree()


def sockets(process: ServerProcess, state: str) -> Counter[int]:
    """The number of sockets at the server's port in a TCP state, by worker."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    at_port = {f"socket:[{line[9]}]" for line in lines if line[3] == state and int(line[1][-4:], 16) == process.port}
    return Counter(worker for worker in process.workers() for handle in handles(worker) if handle in at_port)


def handles(pid: int) -> Iterator[str]:
    """The open files of a process; none once it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                yield os.readlink(handle)


def listening(process: ServerProcess) -> Counter[int]:
    return sockets(process, "0A")


def connected(process: ServerProcess) -> Counter[int]:
    return sockets(process, "01")


class Audience:
    """Followers of one server, which must in the end have received every change."""

    def __init__(self, server: ServerProcess, database_url: str) -> None:
        self._server = server
        self._database_url = database_url
        ledger = Ledger()
        self.followers = [Follower(server.url, ("sse", "websocket")[n % 2], ledger) for n in range(_FOLLOWERS)]

    async def worker_and_followers(self) -> tuple[int, int]:
        """Wait until all are connected and have their snapshot; a worker, and the number of followers it serves."""
        await until(lambda: all(f.last_id for f in self.followers), "the snapshots")
        await until(lambda: connected(self._server).total() == _FOLLOWERS, "a connection for each")
        held = connected(self._server)
        assert len(held) == 2, "all connections went to the same worker"
        return min(held.items())

    def undisturbed(self, changes: int) -> int:
        """The number of followers that have all changes and never reconnected."""
        return sum(f.events == changes and f.connections == 1 for f in self.followers)

    async def all_have(self, changes: int) -> None:
        await until(lambda: all(f.events == changes for f in self.followers), "the missed changes", _START_S)
        _, tables = flags_in(self._database_url)
        for follower in self.followers:
            follower.holds(tables)
            assert not follower.resyncs, f"{follower.name} was not resumed but {follower.resyncs}"


def change(writer: Writer, times: int) -> None:
    """Make `times` commits, each with one event."""
    for _ in range(times):
        writer.run("update flags set description = description || '.'")


async def test_a_killed_worker_affects_only_its_own_subscribers(server: ServerProcess, database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("checkout")
        audience = Audience(server, database_url)
        async with following(audience.followers):
            victim, its_own = await audience.worker_and_followers()
            change(writer, 5)
            await until(lambda: audience.undisturbed(5) == _FOLLOWERS, "five changes")
            os.kill(victim, signal.SIGKILL)
            change(writer, 20)
            await until(lambda: audience.undisturbed(25) == _FOLLOWERS - its_own, "the changes of the other followers")
            await audience.all_have(25)
            assert sum(f.connections > 1 for f in audience.followers) == its_own
            await until(lambda: len(listening(server)) == 2, "a new worker", _START_S)
            assert victim not in server.workers()
            successor = max(server.workers())
            newcomers = Audience(server, database_url)
            async with following(newcomers.followers):
                await until(lambda: all(f.last_id for f in newcomers.followers), "the newcomers' snapshots")
                assert connected(server)[successor]
                change(writer, 5)
                await newcomers.all_have(5)
                await audience.all_have(30)


async def test_a_hanging_worker_affects_only_its_own_subscribers(server: ServerProcess, database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("checkout")
        audience = Audience(server, database_url)
        async with following(audience.followers):
            victim, its_own = await audience.worker_and_followers()
            os.kill(victim, signal.SIGSTOP)
            change(writer, 20)
            await until(lambda: audience.undisturbed(20) == _FOLLOWERS - its_own, "the changes of the other followers")
            assert sum(f.events < 20 for f in audience.followers) == its_own
            os.kill(victim, signal.SIGCONT)
            await audience.all_have(20)
