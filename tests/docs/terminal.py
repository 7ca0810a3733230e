"""A shell that does what a page says, line by line, and is looked at while it runs."""

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

# What no program prints: it tells that a command has ended, and how.
_END = re.compile(r"\x1e(\d+)\x1e\n")
_NOTHING = r"(?:\n|: keep-alive [^\n]*\nid: [^\n]*\n)*"
_SAY_END = r"printf '\036%s\036\n' $?"


class Terminal:
    """A `bash` of its own; variables and the directory stay from one command to the next. `shown` is all it printed."""

    def __init__(self, directory: Path, environment: Mapping[str, str], deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self.shown = ""
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
        # With a trap the shell ends only after what it has started, which nobody else would wait for.
        self._type("trap exit TERM")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self, command: str) -> None:
        """Begin a command; nothing waits for it."""
        # Its own input is empty, or it would read the commands that follow.
        self._type(f"{{ {command}\n}} </dev/null; {_SAY_END}")

    def finish(self) -> tuple[int, str]:
        """Wait for the command's end: its status and all that it has printed."""
        found = self._wait_for(_END, "the command has not ended")
        printed = self.shown[self._seen : found.start()]
        self._seen = found.end()
        return int(found[1]), printed

    def shows(self, pattern: re.Pattern[str]) -> None:
        """Wait until what comes next, after empty lines and keep-alives of a stream, is what the pattern says."""
        following = re.compile(_NOTHING + pattern.pattern + r"(?=\n)(?<!\n)")
        self._seen = self._wait_for(following, f"this was not shown:\n{pattern.pattern}", at_once=True).end()

    def close(self) -> None:
        """End the shell with everything that it has started."""
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
        """To the shell and all that it has started and that is still there."""
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
                self.shown += data.decode(errors="replace")
                self._changed.notify_all()

    def _wait_for(self, pattern: re.Pattern[str], complaint: str, *, at_once: bool = False) -> re.Match[str]:
        look = pattern.match if at_once else pattern.search
        deadline = time.monotonic() + self._deadline_s
        with self._changed:
            while (found := look(self.shown, self._seen)) is None:
                if not self._changed.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    raise AssertionError(f"{complaint}\nbut this:\n{self.shown[self._seen :]}")
            return found
