"""The cost of a delivery by kind of work, from perf's samples of the server's core.

Everything on the core is sampled, not only the server's process: work that the kernel defers to its thread `ksoftirqd`
is part of a delivery's cost. A sample belongs to the first group below that has a function in its call chain. So the
receiving half of loopback, which runs inside `send`, is separate from sending.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Self

from bench.fanout.target import Unavailable

__all__ = ["GROUPS", "Profile", "group_of"]

# A higher rate distorts the result: at 15 000, a send costs half as much again.
_SAMPLES_PER_S = 4000

_FUNCTIONS = {
    "waking the reader": r"sock_def_readable|ep_poll_callback",
    "receiving on loopback": r"handle_softirqs|do_softirq|net_rx_action",
    "sending": r"tcp_sendmsg\w*",
    "entering the kernel": r"entry_SYSCALL\w*|do_syscall_64|el0_svc|syscall\w*|asm_\w+",
    "calling send": r"sock_(send|call)\w*|(take|drop)_gil|PyEval_(Save|Restore)Thread|(__)?(libc_)?send",
    "garbage collector": r"gc_collect_\w+|visit_\w+",
    "Python": r"_?Py\w+|_?py\w+|\w+_vectorcall\w*|\w+dealloc|dictiter_\w+|method_\w+|\w+_call",
}
_REST = "other code of the program"
_PATTERNS = {name: re.compile(f"^(?:{pattern})$") for name, pattern in _FUNCTIONS.items()}

GROUPS = (*_FUNCTIONS, _REST)


class Profile:
    """Samples a core during a `with` block; `seconds` evaluates the samples."""

    def __init__(self, core: int) -> None:
        program = shutil.which("perf")
        if program is None:
            raise Unavailable("perf is not installed (Debian: linux-perf)")
        self._program, self._core = program, core

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="flagent-cdc-perf-")
        self._file = Path(self._folder.name) / "samples"
        command_read, self._commands = os.pipe()
        self._replies, reply_write = os.pipe()
        command = [self._program, "record", "-e", "cpu-clock", "-F", str(_SAMPLES_PER_S), "-g", "-C", str(self._core)]
        self._recorder = subprocess.Popen(
            [*command, "--delay=-1", f"--control=fd:{command_read},{reply_write}", "-o", self._file],
            pass_fds=(command_read, reply_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        os.close(command_read)
        os.close(reply_write)
        self._command("enable")
        return self

    def _command(self, command: str) -> None:
        os.write(self._commands, command.encode() + b"\n")
        if not os.read(self._replies, 100).startswith(b"ack"):
            assert self._recorder.stderr is not None
            raise Unavailable(
                f"perf cannot sample on this machine: {self._recorder.stderr.read().decode(errors='replace')}"
            )

    def __exit__(self, *_: object) -> None:
        self._command("disable")
        self._recorder.send_signal(signal.SIGINT)
        self._recorder.communicate(timeout=60)
        os.close(self._commands)
        os.close(self._replies)

    def seconds(self, processes: Collection[int]) -> dict[str, float]:
        """Time by group, of these processes and of the kernel's thread for deferred work."""
        command = [self._program, "script", "-i", str(self._file), "-F", "comm,pid,ip,sym"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        self._folder.cleanup()
        counted: Counter[str] = Counter()
        for sample in listed.split("\n\n"):
            head, *frames = sample.strip("\n").split("\n")
            if not head:
                continue
            command_name, process = head.rsplit(maxsplit=1)
            if int(process) in processes or command_name.strip().startswith("ksoftirqd/"):
                counted[group_of([frame.split()[1] for frame in frames])] += 1
        return {name: counted[name] / _SAMPLES_PER_S for name in GROUPS}


def group_of(functions: Iterable[str]) -> str:
    """The group of a sample with these functions in its call chain."""
    functions = list(functions)
    for name, pattern in _PATTERNS.items():
        if any(pattern.match(function) for function in functions):
            return name
    return _REST
