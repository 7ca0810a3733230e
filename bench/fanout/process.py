"""A program pinned to one core, with its processor time and memory."""

import ctypes
import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Self

__all__ = ["Cores", "Process", "descriptors_max"]

_LIBC = ctypes.CDLL(None, use_errno=True)


class Cores:
    """The core of the server and the core of the load; with a single core, both are the same."""

    def __init__(self) -> None:
        self.all = sorted(os.sched_getaffinity(0))
        self.server = self.all[0]
        self.load = self.all[1 % len(self.all)]
        rest = self.all[2:]
        self.others = frozenset(rest) if rest else frozenset({self.load})


def descriptors_max() -> int:
    """The maximum number of open files of a process on this machine."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


class Process:
    """A child process on the given core, ended by `stop()`; it never outlives the benchmark."""

    def __init__(
        self,
        command: Sequence[str | Path],
        core: int,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()

        def prepare() -> None:
            os.sched_setaffinity(0, {core})
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            # The kernel ends the child when the benchmark ends, for whatever reason (PR_SET_PDEATHSIG).
            _LIBC.prctl(1, signal.SIGTERM)

        self.popen = subprocess.Popen(
            [os.fspath(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, **(environment or {})},
            preexec_fn=prepare,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pids(self) -> list[int]:
        """The process and all its descendants."""
        found = [self.popen.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                found += [int(child) for child in task.read_text().split()]
        return found

    def stderr_tail(self) -> str:
        """The length and the last lines of its stderr; empty if it wrote nothing."""
        size = self._stderr.seek(0, os.SEEK_END)
        if not size:
            return ""
        self._stderr.seek(max(0, size - 2000))
        lines = self._stderr.read().decode(errors="replace").splitlines()
        return f"{size} bytes on stderr, ending with:\n    " + "\n    ".join(lines[-5:])

    def cpu_s(self) -> float:
        """User and system time used so far, with the clock's own resolution (not in ticks of 10 ms)."""
        total = 0.0
        for pid in self.pids:
            clock = ctypes.c_int()
            if _LIBC.clock_getcpuclockid(pid, ctypes.byref(clock)) == 0:
                total += time.clock_gettime(clock.value)
        return total

    def memory_bytes(self) -> int:
        """Proportional set size."""
        total = 0
        for pid in self.pids:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total

    def settle(self, timeout_s: float = 60) -> None:
        """Wait until it is idle: less than 2 % of a core."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            before = self.cpu_s()
            time.sleep(0.1)
            if self.cpu_s() - before < 0.002:
                return

    def stop(self, timeout_s: float = 20) -> None:
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                pipe.close()
        self._stderr.close()
