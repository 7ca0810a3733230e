"""A client that was made before a fork: in plain forks, multiprocessing, gunicorn and Celery."""

from __future__ import annotations

import subprocess
import sys

import pytest
from test_sync import ThreadedServer, lively

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
