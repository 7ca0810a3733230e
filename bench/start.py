"""`python -m bench.start`: the first second: how long commands take until they show something.

`python -c pass` in the same run is the floor of every command; both are measured as processor time, which other
programs on the machine disturb least, and as elapsed time. `serve` starts on an embedded database that exists, `demo`
on a new one. Rounds are interleaved, and medians are compared.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.port import free_port
from bench.size.report import Report

_DEADLINE_S = 120.0

_COMMANDS: dict[str, Sequence[str]] = {
    "python -c pass": ("-c", "pass"),
    "flagent-cdc --help": ("-m", "cdc", "--help"),
    "flagent-cdc tail --help": ("-m", "cdc", "tail", "--help"),
}


def run(arguments: Sequence[str]) -> tuple[float, float]:
    """Processor time and elapsed time of one command, in seconds."""
    began, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu_s, time.perf_counter() - began


def until(arguments: Sequence[str], port: int, is_there: Callable[[str], bool]) -> tuple[float, float]:
    """Seconds until a server that is started with these arguments shows something, and its processor time until then,
    without that of PostgreSQL."""
    began = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "cdc", *arguments, "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not is_there(f"http://127.0.0.1:{port}"):
            if server.poll() is not None or time.perf_counter() - began > _DEADLINE_S:
                raise SystemExit(f"flagent-cdc {' '.join(arguments)} did not become ready")
            time.sleep(0.01)
        elapsed = time.perf_counter() - began
        fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
        return elapsed, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    finally:
        server.terminate()
        server.wait(30)


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=10) as response:
            return int(response.status) == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def has_event(url: str) -> bool:
    """Whether the stream can be opened and delivers a change; waits for it."""
    try:
        with urllib.request.urlopen(f"{url}/api/v1/events/stream", timeout=10) as response:
            for line in response:
                if line.startswith(b"event: ") and not line.startswith(b"event: connected"):
                    return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    report = Report()
    cpu_s: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    elapsed_s: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for _ in range(max(rounds, 5) * 2):
        for name, arguments in _COMMANDS.items():
            cpu, elapsed = run(arguments)
            cpu_s[name].append(cpu)
            elapsed_s[name].append(elapsed)
    floor = statistics.median(cpu_s["python -c pass"])
    report.note("python -c pass, processor time", floor, "s")
    for name, most in (("flagent-cdc --help", 5.0), ("flagent-cdc tail --help", 4.0)):
        report.note(f"{name}, elapsed", statistics.median(elapsed_s[name]), "s")
        report.figure(name, statistics.median(cpu_s[name]) / floor, "x python -c pass", most)
    with tempfile.TemporaryDirectory(prefix="flagent-cdc-bench-") as directory:
        Path(directory).chmod(0o755)
        serve = ("serve", "--data-dir", str(Path(directory) / "data"))
        until(serve, free_port(), is_ready)
        serves = [until(serve, free_port(), is_ready) for _ in range(rounds)]
        demos = [until(("demo",), free_port(), has_event) for _ in range(rounds)]
    for name, starts, most in (
        ("serve on an existing embedded database, ready", serves, 1.5),
        ("demo, first event", demos, 4.0),
    ):
        report.note(f"{name}: processor time", statistics.median([cpu for _, cpu in starts]), "s")
        report.figure(name, statistics.median([elapsed for elapsed, _ in starts]), "s", most)
    return report.end()


if __name__ == "__main__":
    raise SystemExit(main())
