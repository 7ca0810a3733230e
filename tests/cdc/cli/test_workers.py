"""Worker processes: started together, restarted alone, stopped by a signal."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fixtures.server import until

# Forked from a process without threads and loops, as the server is.
PROGRAM = """
import os, signal, sys, time
from cdc.cli import workers

workers._BACKOFF_S = (0.01, 0.05)

def report(line):
    os.write(1, line.encode() + b"\\n")  # at once: several processes write

def work(place, on_ready):
    report(f"worker {place} {os.getpid()}")
    on_ready()
    signal.pause()

def fail(place, on_ready):
    report(f"worker {place} {os.getpid()}")
    raise SystemExit(3)

def ignore(place, on_ready):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    work(place, on_ready)

workers._STOP_S = 0.3 if sys.argv[1] == "ignore" else 8.0
sys.exit(workers.run_workers(int(sys.argv[2]), globals()[sys.argv[1]], lambda: report("ready")))
"""


@contextmanager
def running(work: str, count: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, work, str(count)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


def started(process: subprocess.Popen[str], count: int, *, until_ready: bool = True) -> dict[int, int]:
    """The pids of the next workers that start, by their numbers."""
    assert process.stdout is not None
    pids: dict[int, int] = {}
    is_ready = not until_ready
    while len(pids) < count or not is_ready:
        line = process.stdout.readline().split()
        assert line, process.communicate()[1]
        if line == ["ready"]:
            is_ready = True
        else:
            pids[int(line[1])] = int(line[2])
    return pids


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def have_ended(pids: dict[int, int]) -> None:
    await until(lambda: not any(is_alive(pid) for pid in pids.values()), "the end of all workers")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_all_workers(number: signal.Signals) -> None:
    with running("work", 3) as process:
        pids = started(process, 3)
        assert sorted(pids) == [0, 1, 2]
        process.send_signal(number)
        assert process.wait(20) == 0
        await have_ended(pids)


def test_a_worker_that_exits_is_restarted_with_its_number_and_the_others_keep_running() -> None:
    with running("work", 3) as process:
        pids = started(process, 3)
        os.kill(pids[1], signal.SIGKILL)
        restarted = started(process, 1, until_ready=False)
        assert restarted.keys() == {1}
        assert restarted[1] != pids[1]
        assert is_alive(pids[0])
        assert is_alive(pids[2])
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
        assert "A worker exited unexpectedly and is restarted" in errors


def test_workers_that_never_become_ready_end_the_command() -> None:
    with running("fail", 2) as process:
        output, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "ready" not in output
    assert "Worker failed" in errors


async def test_a_worker_that_ignores_the_signal_is_killed() -> None:
    with running("ignore", 2) as process:
        pids = started(process, 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        await have_ended(pids)
