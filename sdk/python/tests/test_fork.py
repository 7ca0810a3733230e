"""A client that was made before a fork: in plain forks, multiprocessing, gunicorn and Celery."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys

import pytest
from scripted import Peer, event
from test_sync import LIVE, ThreadedServer, lively

FORKED = """
import os, sys, threading
from flagent_realtime import StoreStatus, sync

def eventually(condition):
    import time
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "too late"
        time.sleep(0.01)

url = sys.argv[1]
client = {"ws": sync.FlagentWebSocketClient, "http": sync.FlagentSSEClient}[url.partition(":")[0]](url, start=False)
events, changed = [], threading.Event()
store = sync.FlagStore(client)
end = client.subscribe_flag("new_payment_flow", lambda flag: changed.set())
never = client.on_event(events.append)
never()
client.start()
store.ready(10)
before = store.digest
child = os.fork()
assert store.get("new_payment_flow") is not None
assert store.status in (StoreStatus.READY, StoreStatus.STALE)
eventually(lambda: store.status is StoreStatus.READY)
assert client.is_connected and client.failure is None
assert changed.wait(20), "no handler was called"
end()
store.ready(1)
client.offline()
assert store.status is StoreStatus.STALE and not client.is_connected
client.start()
eventually(lambda: store.status is StoreStatus.READY)
assert events == []
print("child" if child == 0 else "parent", store.status.value, flush=True)
if child == 0:
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert store.status is StoreStatus.READY
client.close()
"""


@pytest.mark.parametrize("transport", ["sse", "ws"])
def test_tc_fork_threaded(transport: str) -> None:
    """tc-fork-threaded: in the child the client has a connection of its own; the parent's goes on."""
    with ThreadedServer(lively) as threaded:
        command = [sys.executable, "-W", "ignore", "-c", FORKED, threaded.server.url(transport)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert sorted(ended.stdout.splitlines()) == ["child READY", "parent READY"]


ASYNCIO_FORKED = """
import asyncio, os, sys
from flagent_realtime import FlagentSSEClient, FlagentWebSocketClient, FlagStore, ForkedClient, StoreStatus

def in_the_child(client, store):
    assert (store.status, client.is_connected) == (StoreStatus.ERROR, False)
    assert store.get("new_payment_flow") is not None
    assert isinstance(client.failure, ForkedClient)

    async def use():
        calls = [client.start, lambda: store.ready(10), lambda: store.wait_for(10**9, 10)]
        if isinstance(client, FlagentWebSocketClient):
            calls.append(lambda: client.evaluate("new_payment_flow", "e"))
        for call in calls:
            try:
                await call()
            except ForkedClient as error:
                assert "fork" in str(error), error
            else:
                raise AssertionError("nothing was raised")
        await client.close()

    asyncio.run(use())
    print("child", store.status.value, flush=True)

async def main(url):
    make = FlagentWebSocketClient if url.startswith("ws") else FlagentSSEClient
    async with make(url) as client:
        store = FlagStore(client)
        await store.ready(30)
        child = os.fork()
        if child == 0:
            try:
                in_the_child(client, store)
            except BaseException as error:
                print("child", repr(error), flush=True)
            os._exit(0)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        await store.wait_for(store.position + 5, 30)
        print("parent", store.status.value, status, flush=True)

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("transport", ["sse", "ws"])
def test_tc_fork(transport: str) -> None:
    """tc-fork: in the child an asyncio client says so, and closing it leaves the parent's connection alone."""

    async def lasting(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        await peer.snapshot(10, LIVE)
        for position in itertools.count(11):
            await peer.send(event("flag_updated", f"{position}-0@k", LIVE | {"notes": str(position)}))
            await asyncio.sleep(0.05)

    with ThreadedServer(lasting) as threaded:
        command = [sys.executable, "-W", "ignore", "-c", ASYNCIO_FORKED, threaded.server.url(transport)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert sorted(ended.stdout.splitlines()) == ["child CLOSED", "parent READY 0"]
        assert len(threaded.server.peers) == 1
