"""Programs that fork after they were loaded, with a real server: gunicorn, uvicorn, Celery, multiprocessing.

In each, the client is made before the fork. After a change that is committed by SQL, every process answers with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from tests.fixtures.flags import Writer
from tests.fixtures.server import serving

PACKAGE = pathlib.Path(__file__).resolve().parents[1]
DEADLINE_S = 60.0

pytestmark = pytest.mark.timeout(180)

APPLICATION = """
import os
from flagent_realtime.sync import FlagentClient, FlagStore

client = FlagentClient(os.environ["FLAGENT_URL"])
client.start()
store = FlagStore(client)
store.ready(30)
loaded_in = os.getpid()

def seen():
    flag = store.get("a")
    return f"{os.getpid()} {loaded_in} {None if flag is None else flag.enabled} {store.status.value}"

def wsgi(environ, start_response):
    body = seen().encode()
    start_response("200 OK", [("Content-Length", str(len(body))), ("Content-Type", "text/plain")])
    return [body]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    body = seen().encode()
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""

CELERY = """
import os
from celery import Celery
from application import seen

folder = os.environ["FOLDER"]
app = Celery(
    "tasks", broker="filesystem://", backend="file://" + folder,
    broker_connection_retry_on_startup=False, worker_hijack_root_logger=False,
    broker_transport_options={"data_folder_in": folder, "data_folder_out": folder, "control_folder": folder},
)

@app.task
def look():
    import time
    time.sleep(0.2)  # so that one process does not take every task
    return seen()
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextlib.contextmanager
def running(command: list[str], directory: pathlib.Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    (directory / "application.py").write_text(APPLICATION)
    (directory / "tasks.py").write_text(CELERY)
    (directory / "queue").mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "FLAGENT_URL": url,
        "FOLDER": str(directory / "queue"),
        "PYTHONPATH": f"{directory}:{PACKAGE}",
        "PYTHONWARNINGS": "ignore",
    }
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=directory, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    log_text = (directory / "log").read_text()
    assert "Traceback" not in log_text, log_text


def until(condition: Callable[[], Any], what: str, directory: pathlib.Path) -> Any:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            found = condition()
            if found:
                return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen; {(directory / 'log').read_text()[-3000:]}")


def answers(port: int, requests: int) -> dict[str, tuple[str, str, str]]:
    """By process: where it was loaded, the flag, and the store's status; of the last of these requests to each."""
    found: dict[str, tuple[str, str, str]] = {}
    for _ in range(requests):
        pid, loaded_in, enabled, status = httpx.get(f"http://127.0.0.1:{port}/").text.split()
        found[pid] = (loaded_in, enabled, status)
    return found


@pytest.mark.parametrize(
    ("worker", "workers"), [("sync", 4), ("uvicorn.workers.UvicornWorker", 2), ("gthread", 2)], ids=str
)
async def test_gunicorn_with_preload(worker: str, workers: int, database_url: str, tmp_path: pathlib.Path) -> None:
    """After a change by SQL all workers answer with the new value."""
    port = free_port()
    name = "asgi" if "uvicorn" in worker else "wsgi"
    command = [sys.executable, "-m", "gunicorn", "--preload", "-w", str(workers), "-k", worker, "-b"]
    command += [f"127.0.0.1:{port}", "--threads", "2" if worker == "gthread" else "1", f"application:{name}"]
    with Writer(database_url) as writer:
        writer.flag("a")
        async with serving(database_url) as server:
            await asyncio.to_thread(follow, command, tmp_path, server.url, port, workers, writer, True)


async def test_uvicorn_with_spawned_workers(database_url: str, tmp_path: pathlib.Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--workers", "2", "--port", str(port), "application:asgi"]
    with Writer(database_url) as writer:
        writer.flag("a")
        async with serving(database_url) as server:
            await asyncio.to_thread(follow, command, tmp_path, server.url, port, 2, writer, False)


def follow(
    command: list[str], directory: pathlib.Path, url: str, port: int, workers: int, writer: Writer, is_forked: bool
) -> None:
    def all_of_them(enabled: str) -> Callable[[], bool]:
        def check() -> bool:
            found = answers(port, 6 * workers)
            return len(found) == workers and all(each[1:] == (enabled, "READY") for each in found.values())

        return check

    with running(command, directory, url):
        until(all_of_them("False"), "all workers are READY", directory)
        loaded_in = {each[0] for each in answers(port, 6 * workers).values()}
        assert is_forked == (len(loaded_in) == 1 and not loaded_in & set(answers(port, 6 * workers)))
        writer.toggle(1)
        until(all_of_them("True"), "all workers have the new value", directory)


async def test_celery_with_prefork(database_url: str, tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "prefork", "-c", "2", "--loglevel"]
    command += ["WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    look = (
        "import sys; sys.modules['application'] = type(sys)('application'); sys.modules['application'].seen = None\n"
        "import tasks\n"
        "for task in [tasks.look.delay() for _ in range(8)]: print(task.get(timeout=50))"
    )
    with Writer(database_url) as writer:
        writer.flag("a")
        async with serving(database_url) as server:

            def follow_tasks() -> None:
                with running(command, tmp_path, server.url):
                    environment = {**os.environ, "FOLDER": str(tmp_path / "queue"), "PYTHONPATH": str(tmp_path)}

                    def seen() -> list[list[str]]:
                        done = subprocess.run(
                            [sys.executable, "-c", look],
                            cwd=tmp_path,
                            env=environment,
                            capture_output=True,
                            text=True,
                            check=True,
                        )
                        return [line.split() for line in done.stdout.splitlines()]

                    def all_say(enabled: str) -> bool:
                        found = seen()
                        return len({each[0] for each in found}) == 2 and all(
                            each[2:] == [enabled, "READY"] and each[0] != each[1] for each in found
                        )

                    until(lambda: all_say("False"), "both processes are READY", tmp_path)
                    writer.toggle(1)
                    until(lambda: all_say("True"), "both processes have the new value", tmp_path)

            await asyncio.to_thread(follow_tasks)


MULTIPROCESSING = """
import multiprocessing, sys, time
import application

def child(queue, method):
    end = time.monotonic() + 50
    while application.seen().split()[2:] != ["True", "READY"]:
        assert time.monotonic() < end, application.seen()
        time.sleep(0.01)
    queue.put(application.seen())

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    queue = context.Queue()
    children = [context.Process(target=child, args=(queue, sys.argv[1])) for _ in range(2)]
    for each in children:
        each.start()
    print("started", flush=True)
    for each in children:
        each.join()
        assert each.exitcode == 0
    for _ in children:
        print(queue.get())
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
async def test_multiprocessing(method: str, database_url: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "main.py").write_text(MULTIPROCESSING)
    with Writer(database_url) as writer:
        writer.flag("a")
        async with serving(database_url) as server:

            def follow_children() -> None:
                with running([sys.executable, "main.py", method], tmp_path, server.url) as process:
                    until(lambda: "started" in (tmp_path / "log").read_text(), "the children start", tmp_path)
                    writer.toggle(1)
                    assert process.wait(DEADLINE_S) == 0, (tmp_path / "log").read_text()

            await asyncio.to_thread(follow_children)
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()[1:]]
    assert [line[2:] for line in lines] == [["True", "READY"]] * 2
    assert all((line[0] != line[1]) == (method == "fork") for line in lines)
