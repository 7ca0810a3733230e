"""Several worker processes that share one port; each one works without the others.

The processes are forked before any of them has a loop or a thread. Each opens a separate listening socket on the same
port (SO_REUSEPORT): the kernel spreads connections evenly, and a slow or dead worker delays only its own. A worker that
exits unexpectedly is restarted.
"""

import logging
import os
import select
import signal
import time
from collections.abc import Callable
from functools import partial
from types import FrameType

__all__ = ["run_workers"]

logger = logging.getLogger(__name__)

# A worker closes its streams within four seconds; one that is still running after this is killed.
_STOP_S = 8.0

# A worker that exits sooner than this is restarted with growing delays.
_PROVEN_S = 5.0
_BACKOFF_S = (0.1, 5.0)

# After this many exits before any worker was ready, none will be.
_MAX_EARLY_EXITS = 5

Work = Callable[[int, Callable[[], None]], int]
"""The work of one worker. It takes its number, from 0 on, and a function to call when it is ready, and returns the exit
code. A restarted worker keeps its number."""


class _Worker:
    """One forked process. `is_ready` once it has written to its end of the pipe."""

    def __init__(self, work: Work, place: int) -> None:
        self._ready, ready = os.pipe()
        self.started_at = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            _become_worker(work, place, ready)
        os.close(ready)
        self.is_ready = False

    def look(self) -> None:
        """Check whether it has become ready."""
        if not self.is_ready and select.select([self._ready], [], [], 0)[0]:
            self.is_ready = os.read(self._ready, 1) == b"1"

    def close(self) -> None:
        os.close(self._ready)


def _become_worker(work: Work, place: int, ready: int) -> None:
    """Never returns."""
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        code = work(place, partial(_report_ready, ready))
    except BaseException:
        logger.exception("Worker failed", extra={"action": "worker_failed"})
    finally:
        os._exit(code)


def _report_ready(pipe: int) -> None:
    os.write(pipe, b"1")


def run_workers(count: int, work: Work, on_ready: Callable[[], None]) -> int:
    """Keep `count` workers running until a signal ends them all; the exit code."""
    asked_to_stop: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked_to_stop.append(number)

    previous = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    workers = [_Worker(work, place) for place in range(count)]
    was_ready, exits, delay_s = False, 0, _BACKOFF_S[0]
    try:
        while not asked_to_stop:
            time.sleep(0.05)
            for place, worker in enumerate(workers):
                worker.look()
                ended, _ = os.waitpid(worker.pid, os.WNOHANG)
                if not ended:
                    continue
                if not was_ready:
                    exits += 1
                    if exits >= _MAX_EARLY_EXITS:
                        return 1
                was_stable = time.monotonic() - worker.started_at > _PROVEN_S
                delay_s = _BACKOFF_S[0] if was_stable else min(delay_s * 2, _BACKOFF_S[1])
                logger.error(
                    "A worker exited unexpectedly and is restarted", extra={"action": "worker_died", "pid": ended}
                )
                time.sleep(delay_s)
                worker.close()
                workers[place] = _Worker(work, place)
            if not was_ready and all(worker.is_ready for worker in workers):
                was_ready = True
                on_ready()
        return 0
    finally:
        _stop(workers)
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop(workers: list[_Worker]) -> None:
    alive = {worker.pid for worker in workers}
    for pid in alive:
        _send(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_S
    while alive and time.monotonic() < deadline:
        alive = {pid for pid in alive if not _has_ended(pid)}
        time.sleep(0.02)
    for pid in alive:
        _send(pid, signal.SIGKILL)
        _has_ended(pid)
    for worker in workers:
        worker.close()


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # It has ended by itself; there is nothing to stop.


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True
