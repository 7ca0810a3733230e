"""A shell that runs the commands of a page, with its output while they run."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Terminal"]

# Marks the end of a command, with its exit status; no program prints this.
_END = re.compile(r"\x1e(\d+)\x1e\n")
_NOTHING = r"(?:\n|: keep-alive [^\n]*\nid: [^\n]*\n)*"
_PRINT_END = r"printf '\036%s\036\n' $?"


class Terminal:
    """A `bash` process; variables and the directory are kept between commands. `output` is all it printed."""

    def __init__(self, directory: Path, environment: Mapping[str, str], deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self.output = ""
        self._seen = 0
        self._changed = threading.Condition()
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        # With a trap the shell ends only after its children, which no other process would wait for.
        self._type("trap exit TERM")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self, command: str) -> None:
        """Start a command without waiting for it."""
        # With an empty input, or it would read the commands that follow.
        self._type(f"{{ {command}\n}} </dev/null; {_PRINT_END}")

    def finish(self) -> tuple[int, str]:
        """Wait for the end of the command; its status and its output."""
        found = self._wait_for(_END, "the command has not ended")
        printed = self.output[self._seen : found.start()]
        self._seen = found.end()
        return int(found[1]), printed

    def shows(self, pattern: re.Pattern[str]) -> None:
        """Wait until the following output, after empty lines and keep-alives of a stream, matches the pattern."""
        following = re.compile(_NOTHING + pattern.pattern + r"(?=\n)(?<!\n)")
        self._seen = self._wait_for(following, f"no output matched:\n{pattern.pattern}", at_once=True).end()

    def close(self) -> None:
        """End the shell with its children."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._signal(signal.SIGTERM)
        self._shell.stdin.close()
        try:
            self._shell.wait(15)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._shell.wait()
        self._signal(signal.SIGKILL)
        self._reader.join()
        self._shell.stdout.close()

    def _signal(self, number: int) -> None:
        """Send a signal to the shell and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, number)

    def _type(self, line: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(line.encode() + b"\n")
        self._shell.stdin.flush()

    def _read(self) -> None:
        assert self._shell.stdout is not None
        while data := os.read(self._shell.stdout.fileno(), 65536):
            with self._changed:
                self.output += data.decode(errors="replace")
                self._changed.notify_all()

    def _wait_for(self, pattern: re.Pattern[str], error: str, *, at_once: bool = False) -> re.Match[str]:
        find = pattern.match if at_once else pattern.search
        deadline = time.monotonic() + self._deadline_s
        with self._changed:
            while (found := find(self.output, self._seen)) is None:
                if not self._changed.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    raise AssertionError(f"{error}\nthe output is:\n{self.output[self._seen :]}")
            return found
