"""Two servers behind the shipped configuration of each proxy, restarted one after the other, without an error."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from cdc.cli.torture.port import lasting_port
from tests.fixtures.flags import Writer
from tests.fixtures.postgres import throwaway_directory
from tests.fixtures.server import ServerProcess, until
from tests.proxies.proxy import PROXIES, Proxy, running

pytestmark = [
    pytest.mark.parametrize("proxy", PROXIES, ids=[proxy.name for proxy in PROXIES]),
    pytest.mark.timeout(240),
]

CLIENTS = 200


class Client:
    """An event stream that reconnects whenever it ends; `answers` counts the status lines of all clients, and whatever
    else came instead of one."""

    def __init__(self, url: str, answers: Counter[str]) -> None:
        self._address = urlsplit(url)
        self._answers = answers
        self._last_id = ""
        self.is_open = False
        self.seen = ""

    async def run(self) -> None:
        while True:
            try:
                await self._read()
            except (OSError, asyncio.IncompleteReadError) as error:
                if not self.is_open:
                    self._answers[repr(error)] += 1
            self.is_open = False
            await asyncio.sleep(random.uniform(0.0, 0.5))  # as the server asks for, only sooner

    async def _read(self) -> None:
        reader, writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        try:
            resume = f"Last-Event-ID: {self._last_id}\r\n" if self._last_id else ""
            query = "" if self._last_id else "?snapshot=true"
            head = f"GET /api/v1/events/stream{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{resume}\r\n"
            writer.write(head.encode())
            self._answers[(await reader.readuntil(b"\r\n")).decode().strip()] += 1
            await reader.readuntil(b"event: connected")
            self.is_open = True
            while line := (await reader.readline()).decode():
                if line.startswith("id: "):
                    self._last_id = line.removeprefix("id: ").strip()
                elif line.startswith("data: ") and '"description":"' in line:
                    self.seen = line.partition('"description":"')[2].partition('"')[0]
        finally:
            writer.transport.abort()


@pytest.fixture
def servers(database_url: str) -> Iterator[list[ServerProcess]]:
    found = [ServerProcess(database_url) for _ in range(2)]
    try:
        for server in found:
            server.start()
        yield found
    finally:
        for server in found:
            server.kill()


async def test_a_rolling_restart_under_200_streams_is_no_error_for_any(
    proxy: Proxy, database_url: str, servers: list[ServerProcess]
) -> None:
    for server in servers:
        await server.ready()
    answers: Counter[str] = Counter()
    with ExitStack() as stack:
        directory = stack.enter_context(throwaway_directory())
        front = running(proxy, directory, lasting_port(), [server.port for server in servers])
        url = await asyncio.to_thread(stack.enter_context, front)
        clients = [Client(url, answers) for _ in range(CLIENTS)]
        tasks = [asyncio.create_task(client.run()) for client in clients]
        try:
            with Writer(database_url) as writer:
                flag = writer.flag("f", description="0")

                async def reaches_all(mark: str) -> None:
                    writer.run(f"update flags set description = '{mark}' where id = {flag}")
                    await until(lambda: all(client.seen == mark for client in clients), f"the change {mark}", 60)

                await until(lambda: all(client.is_open for client in clients), "the last client", 60)
                await reaches_all("before")
                for number, server in enumerate(servers):
                    server.send(signal.SIGTERM)
                    await asyncio.to_thread(server.wait)
                    await reaches_all(f"without {number}")
                    server.start()
                    await server.ready()
                    await reaches_all(f"with {number}")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert set(answers) == {"HTTP/1.1 200 OK"}, answers
    assert answers["HTTP/1.1 200 OK"] >= 2 * CLIENTS, "the restarts have ended streams"
