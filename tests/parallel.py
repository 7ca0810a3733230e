"""Runs commands in parallel: the output of the first is shown at once, that of the others when all have ended.

    python tests/parallel.py COMMAND [COMMAND ...]

Each command is one argument, split like a shell would. The exit code is not 0 if any command fails; the others still
finish. Ctrl-C or SIGTERM ends all commands with their child processes.
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
    """Run the commands; the first exit code that is not 0, in the order of the commands."""
    with ExitStack() as stack:
        with _sigterm_afterwards():
            waits = [stack.enter_context(_in_foreground(first))]
            waits += [stack.enter_context(_in_background(command)) for command in others]
        return next((code for code in [wait() for wait in waits] if code), 0)


@contextmanager
def _sigterm_afterwards() -> Iterator[None]:
    """What SIGTERM does, it does after the block: in the middle of a start it would leave the process behind."""
    received: list[int] = []
    handler = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        for number in received:
            signal.raise_signal(number)


@contextmanager
def _in_foreground(command: str) -> Iterator[Callable[[], int]]:
    """In the terminal's process group, so that Ctrl-C reaches it."""
    process = subprocess.Popen(shlex.split(command))
    try:
        yield process.wait
    finally:
        if process.poll() is None:
            process.terminate()


@contextmanager
def _in_background(command: str) -> Iterator[Callable[[], int]]:
    """In a separate process group, which is signalled as a whole."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process.wait
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            output.seek(0)
            sys.stdout.buffer.write(output.read())
            sys.stdout.flush()


def _exit(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _exit)
    sys.exit(run(*sys.argv[1:]))
