"""A store that begins with saved flags or a bootstrap: files, faults of the disk, and what the server sends then."""

from __future__ import annotations

import asyncio
import errno
import json
import multiprocessing
import os
import pathlib
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from scripted import Peer, Script, ScriptedServer, event, eventually, flag

from flagent_realtime import (
    FilePersistence,
    FlagChange,
    FlagentError,
    FlagentSSEClient,
    FlagentWebSocketClient,
    FlagStore,
    IgnoredFlags,
    PersistenceFailed,
    ReconnectConfig,
    StoreSource,
    StoreStatus,
)
from flagent_realtime._cache_key import cache_key
from flagent_realtime._digest import digest_of
from flagent_realtime._flag_table import FlagEntry, FlagTable
from flagent_realtime._saved_flags import read_document, write_document
from flagent_realtime._selection import EVERYTHING
from flagent_realtime._store_saver import StoreSaver

QUICK = ReconnectConfig(max_attempts=0, initial_delay=0.01, max_delay=0.05)
Client = FlagentSSEClient | FlagentWebSocketClient
A, B = flag(1, "a"), flag(2, "b")
A2 = flag(1, "a", enabled=True)

both = pytest.mark.parametrize("transport", ["sse", "ws"])


@asynccontextmanager
async def connected(transport: str, *scripts: Script, **options: Any) -> AsyncIterator[tuple[ScriptedServer, Client]]:
    async with ScriptedServer(*scripts) as server:
        make = FlagentWebSocketClient if transport == "ws" else FlagentSSEClient
        options.setdefault("reconnect_config", QUICK)
        client = make(server.url(transport), **options)
        try:
            yield server, client
        finally:
            await client.close()


async def serve(peer: Peer) -> None:
    """A server at position 12: the events after 10, or a snapshot."""
    await peer.open()
    await peer.greet(12)
    if peer.last_event_id == "10@k":
        await peer.send(event("flag_updated", "11-0@k", A2))
        await peer.send(event("flag_deleted", "12-0@k", B))
    elif peer.wants_snapshot:
        await peer.snapshot(12, A2)
    await peer.gone()


def saved(url: str, *flags: dict[str, Any], event_id: str = "10@k", age: float = 1.0, key: str | None = None) -> str:
    """A document as an earlier run has saved it."""
    found = datetime.now(timezone.utc) - timedelta(seconds=age)
    entries = [FlagEntry("", flag) for flag in flags]
    return write_document(key or cache_key(url, EVERYTHING, None), event_id, entries, digest_of(flags), found)


def save(directory: pathlib.Path, url: str, text: str) -> pathlib.Path:
    files = FilePersistence(directory)
    files.save(cache_key(url, EVERYTHING, None), text)
    return files.path(cache_key(url, EVERYTHING, None))


@both
async def test_tc_cache_resume(transport: str, tmp_path: pathlib.Path) -> None:
    """tc-cache-resume: readable at once; only the missed events are sent, and they are the changes."""
    async with connected(transport, serve) as (server, client):
        save(tmp_path, client.url, saved(client.url, A, B))
        began = time.perf_counter()
        store = FlagStore(client, persistence=FilePersistence(tmp_path))
        assert [each.key for each in store] == ["a", "b"]
        assert time.perf_counter() - began < 0.05
        assert (store.status, store.source, store.position) == (StoreStatus.STALE, StoreSource.CACHE, 10)
        changes: list[FlagChange] = []
        store.on_change(changes.append)
        await client.start()
        await store.ready(5)
        assert (store.source, store.position) == (StoreSource.SERVER, 12)
        assert [each.key for each in store] == ["a"]
        (peer,) = server.peers
        assert (peer.last_event_id, peer.wants_snapshot) == ("10@k", False)
        await eventually(lambda: len(changes) == 2)
        assert [(change.kind.value, change.key) for change in changes] == [("updated", "a"), ("deleted", "b")]


@both
async def test_a_server_that_lost_the_id_replaces_the_cache(transport: str, tmp_path: pathlib.Path) -> None:
    async def replaced(peer: Peer) -> None:
        await peer.open()
        await peer.greet(3, log="other")
        snapshot = {"position": "3", "flags": [B]}
        await peer.send({"type": "resync", "id": "3@other", "reason": "log_replaced", "snapshot": snapshot})
        await peer.gone()

    async with connected(transport, replaced) as (_, client):
        save(tmp_path, client.url, saved(client.url, A))
        store = FlagStore(client, persistence=FilePersistence(tmp_path))
        await client.start()
        await store.ready(5)
        assert ([each.key for each in store], store.last_event_id) == (["b"], "3@other")


@both
async def test_tc_cache_file(transport: str, tmp_path: pathlib.Path) -> None:
    """tc-cache-file: the first state is saved, with these modes, and the next run begins with it."""
    directory = tmp_path / "new" / "cache"
    async with connected(transport, serve) as (_, client):
        store = FlagStore(client, persistence=FilePersistence(directory))
        assert (store.status, store.source, len(store)) == (StoreStatus.INITIALIZING, None, 0)
        await client.start()
        await store.ready(5)
        await eventually(lambda: list(directory.glob("*.json")))
        (path,) = directory.iterdir()
        assert path.name == f"flagent-{cache_key(client.url, EVERYTHING, None)[:32]}.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        url = client.url
    document = json.loads(path.read_text())
    assert (document["id"], document["position"], document["flags"]) == ("12@k", "12", [A2])
    again = FlagStore(FlagentWebSocketClient(url), persistence=FilePersistence(directory))
    assert (again.source, [each.enabled for each in again]) == (StoreSource.CACHE, [True])


def test_what_a_killed_process_left_is_removed_after_an_hour(tmp_path: pathlib.Path) -> None:
    files = FilePersistence(tmp_path)
    old, young = tmp_path / f"{files.path('k' * 64).name}.1.a.tmp", tmp_path / f"{files.path('k' * 64).name}.2.b.tmp"
    other = tmp_path / "mine.tmp"
    for path in (old, young, other):
        path.write_text("x")
    for path in (old, other):
        os.utime(path, (time.time() - 3700,) * 2)
    files.save("k" * 64, "text")
    assert (old.exists(), young.exists(), other.exists()) == (False, True, True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not_json"),
        ('{"format": 1, "flags": [', "not_json"),
        ("\0" * 4096, "not_json"),
        (b"\xff\xfe\x00garbage", "not_json"),
        ('{"format": 2}', "format"),
        ("[]", "wrong_types"),
        ("[" * 100_000, "not_json"),
    ],
    ids=["empty", "truncated", "zeros", "bytes", "newer", "list", "deep"],
)
async def test_tc_cache_damaged(text: str | bytes, reason: str, tmp_path: pathlib.Path) -> None:
    """tc-cache-damaged: ignored and reported, and the store starts empty."""
    async with connected("ws", serve) as (_, client):
        path = save(tmp_path, client.url, "")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        store, errors = FlagStore(client, persistence=FilePersistence(tmp_path)), list[FlagentError]()
        client.on_error(errors.append)
        assert (store.status, len(store), store.source) == (StoreStatus.INITIALIZING, 0, None)
        await client.start()
        await store.ready(5)
        await eventually(lambda: errors)
        (error,) = errors
        assert isinstance(error, IgnoredFlags)
        assert (error.reason, error.source) == (reason, "cache")


async def test_tc_cache_other_key(tmp_path: pathlib.Path) -> None:
    """tc-cache-other-key: a cache of another user is another file; renamed to ours, it is not believed."""
    url = "wss://flags.example/ws"
    for credential, identity in (("alice", None), (None, None), ("t1", "bob")):
        text = saved(url, A, key=cache_key(url, EVERYTHING, identity or credential))
        FilePersistence(tmp_path).save(cache_key(url, EVERYTHING, identity or credential), text)

    def begin(key: Any, **options: Any) -> tuple[int, StoreSource | None]:
        store = FlagStore(FlagentWebSocketClient(url, key), persistence=FilePersistence(tmp_path), **options)
        return len(store), store.source

    assert begin("alice") == begin(None) == (1, StoreSource.CACHE)
    assert begin("mallory") == (0, None)
    # A token that changes finds its cache by the name of its user.
    assert begin("t2", cache_identity="bob") == begin(lambda: "t3", cache_identity="bob") == (1, StoreSource.CACHE)
    assert begin("t2", cache_identity="eve") == (0, None)
    files = FilePersistence(tmp_path)
    os.replace(files.path(cache_key(url, EVERYTHING, "alice")), files.path(cache_key(url, EVERYTHING, "mallory")))
    assert begin("mallory") == (0, None)


@both
async def test_a_key_from_a_function_finds_its_cache_at_the_start(transport: str, tmp_path: pathlib.Path) -> None:
    calls = 0

    async def key() -> str:
        nonlocal calls
        calls += 1
        return "k1"

    async with connected(transport, serve, api_key=key) as (server, client):
        found = cache_key(client.url, EVERYTHING, "k1")
        FilePersistence(tmp_path).save(found, saved(client.url, A, B, key=found))
        store = FlagStore(client, persistence=FilePersistence(tmp_path))
        assert store.source is None
        await client.start()
        await store.ready(5)
        assert (server.peers[0].last_event_id, calls, len(server.peers)) == ("10@k", 1, 1)


async def test_a_persistence_may_be_asynchronous() -> None:
    texts: dict[str, str] = {}

    class Asynchronous:
        async def load(self, key: str) -> str | None:
            await asyncio.sleep(0)
            return texts.get(key)

        async def save(self, key: str, text: str) -> None:
            await asyncio.sleep(0)
            texts[key] = text

    async with connected("ws", serve) as (server, client):
        texts[cache_key(client.url, EVERYTHING, None)] = saved(client.url, A, B)
        store = FlagStore(client, persistence=Asynchronous())
        await client.start()
        await store.ready(5)
        assert server.peers[0].last_event_id == "10@k"
    assert [json.loads(text)["id"] for text in texts.values()] == ["12-0@k"]


async def test_tc_persistence_raises() -> None:
    """tc-persistence-raises: reported once per cause, and never in the way of the store."""

    class Broken:
        saves = 0

        def load(self, key: str) -> str | None:
            raise RuntimeError("no cupboard")

        def save(self, key: str, text: str) -> None:
            self.saves += 1
            raise RuntimeError("no shelf")

    async def many(peer: Peer) -> None:
        await peer.open()
        await peer.greet(12)
        await peer.snapshot(12, A)
        for position in range(13, 30):
            await peer.send(event("flag_updated", f"{position}-0@k", flag(1, "a", n=position)))
            await asyncio.sleep(0.1)
        await peer.gone()

    broken = Broken()
    async with connected("ws", many) as (_, client):
        store, errors = FlagStore(client, persistence=broken), list[FlagentError]()
        client.on_error(errors.append)
        await client.start()
        await eventually(lambda: store.position == 29)
        await eventually(lambda: broken.saves >= 2)
        assert [type(error) for error in errors] == [PersistenceFailed, PersistenceFailed]
        assert ("no cupboard" in str(errors[0]), "no shelf" in str(errors[1])) == (True, True)
        assert store.status is StoreStatus.READY


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_tc_cache_unwritable_by_mode(tmp_path: pathlib.Path) -> None:
    """tc-cache-unwritable."""
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        FilePersistence(tmp_path).save("k" * 64, "text")


async def test_tc_cache_unwritable(tmp_path: pathlib.Path) -> None:
    """tc-cache-unwritable: the directory is a file, which not even root can write into."""
    blocked = tmp_path / "file"
    blocked.write_text("x")
    async with connected("sse", serve) as (_, client):
        store, errors = FlagStore(client, persistence=FilePersistence(blocked / "cache")), list[FlagentError]()
        client.on_error(errors.append)
        await client.start()
        await store.ready(5)
        await eventually(lambda: any("saved" in str(error) and "cannot" in str(error) for error in errors))
        assert all(isinstance(error, PersistenceFailed) for error in errors)
        assert (store.status, len(store)) == (StoreStatus.READY, 1)


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file system of 256 KiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root mounts a small disk, on Linux")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


async def test_tc_cache_full(small_disk: pathlib.Path) -> None:
    """tc-cache-full: reported once, the older file stays whole, the store goes on, and saves again when there is space."""
    positions: asyncio.Queue[int] = asyncio.Queue()

    async def follow(peer: Peer) -> None:
        await peer.open()
        await peer.greet(10)
        await peer.snapshot(10, A)
        while True:
            position = await positions.get()
            await peer.send(event("flag_updated", f"{position}-0@k", flag(1, "a", n=position)))

    class Counted(FilePersistence):
        saves = 0

        def save(self, key: str, text: str) -> None:
            try:
                super().save(key, text)
            finally:
                self.saves += 1

    files = Counted(small_disk)
    async with connected("ws", follow) as (_, client):
        errors: list[FlagentError] = []
        client.on_error(errors.append)
        store = FlagStore(client, persistence=files)
        key = cache_key(client.url, EVERYTHING, None)

        def is_saved(position: int) -> bool:
            text = files.load(key)
            return text is not None and json.loads(text)["position"] == str(position)

        await client.start()
        await eventually(lambda: files.saves > 0 and is_saved(10))
        with pytest.raises(OSError, match="No space left"):
            (small_disk / "other").write_bytes(bytes(1 << 20))
        for position in range(11, 14):
            before = files.saves
            positions.put_nowait(position)
            await eventually(lambda: files.saves > before)  # noqa: B023  awaited here
        await eventually(lambda: errors)
        assert (store.position, store.status) == (13, StoreStatus.READY)
        assert is_saved(10)
        assert sorted(path.name for path in small_disk.iterdir()) == sorted([files.path(key).name, "other"])
        (small_disk / "other").unlink()
        positions.put_nowait(14)
        await eventually(lambda: is_saved(14))
    (error,) = errors
    assert isinstance(error, PersistenceFailed)
    assert "No space left" in str(error)


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs Linux")
def test_tc_cache_full_of_a_file(tmp_path: pathlib.Path) -> None:
    """tc-cache-full, without root: beyond a limit on the size of a file, the older file stays whole."""
    program = """
import resource, sys
from flagent_realtime import FilePersistence
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
files = FilePersistence(sys.argv[1])
files.save("k" * 64, "old")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    files.save("k" * 64, "n" * 100_000)
except OSError as error:
    print(error.errno, files.load("k" * 64))
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{errno.EFBIG} old\n"
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


WRITERS = """
import os, sys
from flagent_realtime import FilePersistence
from flagent_realtime._digest import digest_of
from flagent_realtime._flag_table import FlagEntry
from flagent_realtime._saved_flags import write_document
from datetime import datetime, timezone
files, key = FilePersistence(sys.argv[1]), sys.argv[2]
texts = []
for position in range(1, 9):
    flags = [{"id": n, "key": f"f{n}", "enabled": True, "position": position} for n in range(2000)]
    entries = [FlagEntry("", flag) for flag in flags]
    texts.append(write_document(key, f"{position}@k", entries, digest_of(flags), datetime.now(timezone.utc)))
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        while True:
            for text in texts:
                files.save(key, text)
    print(child, flush=True)
    os.waitpid(child, 0)
"""


def whole(files: FilePersistence, key: str) -> int:
    """The position of the saved state, which must be a whole one."""
    text = files.load(key)
    assert text is not None
    found = read_document(text, key, datetime.now(timezone.utc), timedelta(days=1))
    (position,) = {json.loads(each.text)["position"] for each in found.unread}
    assert isinstance(position, int)
    return position


def test_tc_cache_kill(tmp_path: pathlib.Path) -> None:
    """tc-cache-kill: killed a hundred times while it writes, the file has the old or the new state."""
    key, files, chance = "c" * 64, FilePersistence(tmp_path), random.Random(15)
    seen: set[int] = set()
    command = [sys.executable, "-c", WRITERS, str(tmp_path), key]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        for _ in range(100):
            parent.stdin.write("\n")
            parent.stdin.flush()
            child = int(parent.stdout.readline())
            time.sleep(chance.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
            if files.path(key).exists():
                seen.add(whole(files, key))
        parent.stdin.close()
    assert len(seen) > 1
    left = [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]
    assert left, "no process was killed in the middle of a write"


def write_many(directory: str, key: str, start: int) -> None:
    files = FilePersistence(directory)
    for position in range(start, start + 40):
        flags = [{"id": n, "key": f"f{n}", "enabled": True, "position": position} for n in range(300)]
        entries = [FlagEntry("", flag) for flag in flags]
        files.save(key, write_document(key, f"{position}@k", entries, digest_of(flags), datetime.now(timezone.utc)))


def test_tc_cache_two_processes(tmp_path: pathlib.Path) -> None:
    """tc-cache-two-processes: each reads a whole document at every time."""
    key, files = "d" * 64, FilePersistence(tmp_path)
    write_many(str(tmp_path), key, 0)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(str(tmp_path), key, start)) for start in (1000, 2000)]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers):
        whole(files, key)
        reads += 1
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert reads > 10
    assert whole(files, key) in (1039, 2039)
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


async def test_tc_cache_pace(tmp_path: pathlib.Path) -> None:
    """tc-cache-pace: at most once a second, the last state wins; an id alone waits a minute, or for the close."""
    times: list[float] = []
    texts: list[str] = []

    class Recorder(FilePersistence):
        def save(self, key: str, text: str) -> None:
            times.append(time.monotonic())
            texts.append(text)

    quiet = asyncio.Event()

    async def busy(peer: Peer) -> None:
        await peer.open()
        await peer.greet(12)
        await peer.snapshot(12, A)
        for position in range(13, 113):
            await peer.send(event("flag_updated", f"{position}-0@k", flag(1, "a", n=position)))
            await asyncio.sleep(0.022)
        await quiet.wait()
        await peer.heartbeat(500, digest=digest_of([flag(1, "a", n=112)]))
        await peer.gone()

    async with connected("ws", busy) as (_, client):
        store, began = FlagStore(client, persistence=Recorder(tmp_path)), time.monotonic()
        await client.start()
        await eventually(lambda: texts and json.loads(texts[-1])["id"] == "112-0@k")
        assert 2 <= len(times) <= 2 + (time.monotonic() - began)
        count = len(times)
        quiet.set()
        await eventually(lambda: store.last_event_id == "500@k")
        assert len(times) == count
    assert json.loads(texts[-1])["id"] == "500@k"


async def test_nothing_is_saved_before_the_server_confirms(tmp_path: pathlib.Path) -> None:
    async with connected("ws", serve) as (_, client):
        FlagStore(client, persistence=FilePersistence(tmp_path), bootstrap=[A])
        await client.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_slow_disk_does_not_delay_closing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flagent_realtime._store_saver.LAST_SAVE_S", 0.2)

    class Slow(FilePersistence):
        def save(self, key: str, text: str) -> None:
            time.sleep(1.0)

    async with connected("ws", serve) as (_, client):
        store, saver = FlagStore(client, persistence=Slow(tmp_path)), StoreSaver
        await client.start()
        await store.ready(5)
        began = time.monotonic()
        await client.close()
        assert time.monotonic() - began < 0.9, saver


@both
async def test_tc_bootstrap(transport: str) -> None:
    """tc-bootstrap: without an id, a snapshot is requested, and its differences are the changes."""
    async with connected(transport, serve) as (server, client):
        store = FlagStore(client, bootstrap=json.dumps([A, B]))
        assert (store.status, store.source, len(store)) == (StoreStatus.STALE, StoreSource.BOOTSTRAP, 2)
        assert store.evaluate("a", "u").variant_key is None
        changes: list[FlagChange] = []
        store.on_change(changes.append)
        await client.start()
        await store.ready(5)
        assert (server.peers[0].last_event_id, server.peers[0].wants_snapshot) == (None, True)
        assert store.source is StoreSource.SERVER
        await eventually(lambda: len(changes) == 2)


@both
async def test_a_bootstrap_with_an_id_resumes(transport: str) -> None:
    snapshot = {"type": "snapshot", "id": "10@k", "position": "10", "flags": [A, B]}
    async with connected(transport, serve) as (server, client):
        store = FlagStore(client, bootstrap=snapshot)
        await client.start()
        await store.ready(5)
        assert (server.peers[0].last_event_id, store.position) == ("10@k", 12)


async def test_a_damaged_bootstrap_is_reported() -> None:
    async with connected("ws", serve) as (_, client):
        store, errors = FlagStore(client, bootstrap="<html>"), list[FlagentError]()
        client.on_error(errors.append)
        await client.start()
        await store.ready(5)
        await eventually(lambda: errors)
        assert [(error.reason, error.source) for error in errors if isinstance(error, IgnoredFlags)] == [
            ("not_json", "bootstrap")
        ]


@pytest.mark.timeout(600)
def test_tc_bootstrap_huge() -> None:
    """tc-bootstrap-huge: a million flags."""
    text = "[" + ",".join(f'{{"id":{n},"key":"f{n}","enabled":true}}' for n in range(1, 1_000_001)) + "]"
    store = FlagStore(FlagentWebSocketClient("ws://127.0.0.1:1/ws"), bootstrap=text)
    assert (len(store), store.status) == (1_000_000, StoreStatus.STALE)
    assert store.get("f1000000") is not None


@both
async def test_tc_cache_two_stores(transport: str, tmp_path: pathlib.Path) -> None:
    """tc-cache-two-stores: the client resumes from the lower id; an event that a store holds is not applied again."""
    async with connected(transport, serve) as (server, client):
        old = FlagStore(client, bootstrap={"id": "10@k", "flags": [A, B]})
        new = FlagStore(client, bootstrap={"id": "11-0@k", "flags": [A2, B]})
        changes: list[FlagChange] = []
        new.on_change(changes.append)
        await client.start()
        await asyncio.gather(old.ready(5), new.ready(5))
        assert server.peers[0].last_event_id == "10@k"
        await eventually(lambda: changes)
        assert [change.kind.value for change in changes] == ["deleted"]
        assert old.digest == new.digest


async def test_stores_of_different_logs_get_snapshots() -> None:
    async with connected("sse", serve) as (server, client):
        stores = [FlagStore(client, bootstrap={"id": f"10@{log}", "flags": [A, B]}) for log in ("k", "x")]
        await client.start()
        await asyncio.gather(*(store.ready(5) for store in stores))
        assert [[each.key for each in store] for store in stores] == [["a"], ["a"]]
        assert all(peer.last_event_id is None for peer in server.peers)


async def test_tc_clock_jumps(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tc-clock-jumps: only the age of a cache depends on the wall clock."""
    async with connected("ws", serve) as (_, client):
        save(tmp_path, client.url, saved(client.url, A, age=-3600))
        store, errors = FlagStore(client, persistence=FilePersistence(tmp_path)), list[FlagentError]()
        client.on_error(errors.append)
        assert len(store) == 0
        await client.start()
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() - 10 * 365 * 86400)
        await store.ready(5)
        assert store.status is StoreStatus.READY
        assert [error.reason for error in errors if isinstance(error, IgnoredFlags)] == ["in_the_future"]


def test_tc_cache_damaged_anywhere() -> None:
    """tc-cache-damaged: a document with any character changed, or cut off anywhere, is not believed, or is the same."""
    now, flags = datetime.now(timezone.utc), [A, {**B, "notes": "Grüße, {}"}]
    text = write_document("k", "10@k", [FlagEntry("", flag) for flag in flags], digest_of(flags), now)
    assert [flag.key for flag in read_document(text, "k", now, timedelta(days=1)).unread] == [A["key"], B["key"]]
    for at, character in enumerate(text):
        for damaged in (f"{text[:at]}{'2' if character == '1' else '1'}{text[at + 1 :]}", text[:at]):
            try:
                found = read_document(damaged, "k", now, timedelta(days=1))
            except IgnoredFlags:
                continue
            # The name of the member `checksum` may be damaged: then the digest decides.
            assert (found.event_id, found.flags, found.unread) == ("10@k", flags, ())


def test_flags_of_a_cache_are_read_when_they_are_needed() -> None:
    now, flags = (
        datetime.now(timezone.utc),
        [{**A, "id": n, "key": f"f{n}", "notes": 'a,\n{"b":[1]}'} for n in range(9)],
    )
    text = write_document("k", "10@k", [FlagEntry("", flag) for flag in flags], digest_of(flags), now)
    table = FlagTable()
    table.restore_unread(read_document(text, "k", now, timedelta(days=1)).unread)
    assert table.digest == digest_of(flags)
    entry = table.of_key("f3")[""]
    assert entry.raw == flags[3]
    assert [name for name, each in table.entries.items() if "raw" in vars(each)] == [entry.identity]
    assert write_document("k", "10@k", table, table.digest, now) == text
    assert [each.raw for each in table] == flags
