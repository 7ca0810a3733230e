"""The load client, seen from the driver."""

import json
import os
import selectors
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from bench.fanout.compiler import binary
from bench.fanout.payload import Mode
from bench.fanout.process import Process

__all__ = ["Endpoint", "Load", "LoadFailed"]


class LoadFailed(Exception):
    """The load client ended, or did not answer in time."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where subscribers go. `%d` in `path` and `hello` becomes the subscriber's number.

    `ready` is the text that a subscriber waits for until it counts as connected; "" is satisfied by the HTTP answer.
    """

    mode: Mode
    port: int
    path: str
    hello: str = ""
    ready: str = ""
    headers: Sequence[str] = field(default_factory=tuple)


class Load:
    """One process with the subscribers of one server."""

    def __init__(
        self, endpoint: Endpoint, core: int, *, window: int = 512, compress: bool = False, own: bool = False
    ) -> None:
        self._process = Process([binary("load")], core)
        assert self._process.popen.stdin is not None
        assert self._process.popen.stdout is not None
        self._input, self._output = self._process.popen.stdin, self._process.popen.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ)
        self._unread = b""
        self.aim(endpoint)
        for header in endpoint.headers:
            self._say(f"set header {header}")
        self._say(f"set window {window}")
        self._say(f"set compress {int(compress)}")
        self._say(f"set own {int(own)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def aim(self, endpoint: Endpoint) -> None:
        """Where connections opened from now on go."""
        self._say(f"set mode {endpoint.mode}")
        self._say(f"set port {endpoint.port}")
        self._say(f"set path {endpoint.path}")
        self._say(f"set hello {endpoint.hello}")
        self._say(f"set ready {endpoint.ready}")

    def open(self, count: int, first: int, *, timeout_s: float = 120, mute: int = 0) -> dict[str, Any]:
        """Connect `count` subscribers that expect event number `first` next; the first `mute` of them never read."""
        self._say(f"expect {first}")
        self._say(f"mute {mute}")
        self._say(f"open {count} {int(timeout_s * 1000)}")
        return self._answer(timeout_s + 10)

    def begin(self, first: int, events: int, *, latencies: bool = True, connections: int = 0) -> None:
        """A phase for those who are connected now, or for so many who will be."""
        self._say(f"begin {first} {events} {int(latencies)} {connections}")
        self._answer(60)

    def sent(self, first: int, times_ns: Sequence[int]) -> None:
        for offset, at in enumerate(times_ns):
            self._say(f"sent {first + offset} {at}")

    def finish(self, timeout_s: float = 60, *, linger_s: float = 0) -> dict[str, Any]:
        """Wait until everyone has every event of the phase; what was sent when must be known by then."""
        self.begin_to_finish(timeout_s, linger_s=linger_s)
        return self.finished(timeout_s + linger_s)

    def begin_to_finish(self, timeout_s: float = 60, *, linger_s: float = 0) -> None:
        """`finish` in two steps; `is_finished` tells when the second one does not wait any more."""
        self._say(f"await {int(timeout_s * 1000)} {int(linger_s * 1000)}")

    @property
    def is_finished(self) -> bool:
        return b"\n" in self._unread or bool(self._selector.select(0))

    def finished(self, timeout_s: float = 60) -> dict[str, Any]:
        return self._answer(timeout_s + 60)

    def give_way(self) -> None:
        """From now on use only what others leave of the core."""
        os.sched_setscheduler(self._process.popen.pid, os.SCHED_IDLE, os.sched_param(0))

    def unmute(self) -> None:
        self._say("unmute")

    def muted(self) -> dict[str, Any]:
        self._say("muted")
        return self._answer(10)

    def close(self) -> dict[str, Any]:
        self._say("close")
        return self._answer(60)

    def complaints(self) -> str:
        """What the client saw that no server should do."""
        return self._process.complaints()

    def stop(self) -> None:
        self._selector.close()
        self._process.stop()

    def _say(self, line: str) -> None:
        try:
            self._input.write(line.encode() + b"\n")
            self._input.flush()
        except BrokenPipeError as error:
            raise LoadFailed("the load client has ended") from error

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._unread:
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                raise LoadFailed(f"no answer within {timeout_s:g} s")
            more = os.read(self._output.fileno(), 1 << 20)
            if not more:
                status = self._process.popen.wait(10)
                raise LoadFailed(f"the load client has ended with status {status}: {self._process.complaints()}")
            self._unread += more
        line, self._unread = self._unread.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer
