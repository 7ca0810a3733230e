"""Runs commands at the same time: the first one speaks at once, what the others said follows when all have ended.

    python tests/lanes.py COMMAND [COMMAND ...]

Each is one argument, which is split as a shell would. It fails where any of them fails, and waits for the rest
nevertheless. What ends it early, Ctrl-C or SIGTERM, ends them all with everything that they have started.
"""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NoReturn

__all__ = ["run"]


def run(first: str, *others: str) -> int:
    """The first exit code that is not 0, in the order of the commands."""
    with ExitStack() as stack:
        waits = [stack.enter_context(_ahead(first))]
        waits += [stack.enter_context(_beside(command)) for command in others]
        return next((code for code in [wait() for wait in waits] if code), 0)


@contextmanager
def _ahead(command: str) -> Iterator[Callable[[], int]]:
    """A terminal's Ctrl-C reaches it by itself."""
    process = subprocess.Popen(shlex.split(command))
    try:
        yield process.wait
    finally:
        if process.poll() is None:
            process.terminate()


@contextmanager
def _beside(command: str) -> Iterator[Callable[[], int]]:
    """In a group of its own, to be ended as one."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process.wait
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            said.seek(0)
            sys.stdout.buffer.write(said.read())
            sys.stdout.flush()


def _end(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(run(*sys.argv[1:]))
