"""Drives the load client."""

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
    """The load client exited, or did not respond in time."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where subscribers connect. `%d` in `path` and `hello` becomes the subscriber's number.

    A subscriber counts as connected once it has received the text `ready`; with "" the HTTP response is enough.
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
            self._send(f"set header {header}")
        self._send(f"set window {window}")
        self._send(f"set compress {int(compress)}")
        self._send(f"set own {int(own)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def aim(self, endpoint: Endpoint) -> None:
        """Set the endpoint of later connections."""
        self._send(f"set mode {endpoint.mode}")
        self._send(f"set port {endpoint.port}")
        self._send(f"set path {endpoint.path}")
        self._send(f"set hello {endpoint.hello}")
        self._send(f"set ready {endpoint.ready}")

    def open(self, count: int, first: int, *, timeout_s: float = 120, mute: int = 0) -> dict[str, Any]:
        """Connect `count` subscribers that expect event number `first` next; the first `mute` of them never read."""
        self._send(f"expect {first}")
        self._send(f"mute {mute}")
        self._send(f"open {count} {int(timeout_s * 1000)}")
        return self._reply(timeout_s + 10)

    def begin(self, first: int, events: int, *, latencies: bool = True, connections: int = 0) -> None:
        """Begin a phase for the connections that are open now, or for `connections` that will be."""
        self._send(f"begin {first} {events} {int(latencies)} {connections}")
        self._reply(60)

    def sent(self, first: int, times_ns: Sequence[int]) -> None:
        for offset, at in enumerate(times_ns):
            self._send(f"sent {first + offset} {at}")

    def finish(self, timeout_s: float = 60, *, linger_s: float = 0) -> dict[str, Any]:
        """Wait until every subscriber has every event of the phase; call `sent` before."""
        self.begin_to_finish(timeout_s, linger_s=linger_s)
        return self.finished(timeout_s + linger_s)

    def begin_to_finish(self, timeout_s: float = 60, *, linger_s: float = 0) -> None:
        """The first half of `finish`; `finished`, the second half, does not wait once `is_finished`."""
        self._send(f"await {int(timeout_s * 1000)} {int(linger_s * 1000)}")

    @property
    def is_finished(self) -> bool:
        return b"\n" in self._unread or bool(self._selector.select(0))

    def finished(self, timeout_s: float = 60) -> dict[str, Any]:
        return self._reply(timeout_s + 60)

    def lower_priority(self) -> None:
        """Use only processor time that no other process wants."""
        os.sched_setscheduler(self._process.popen.pid, os.SCHED_IDLE, os.sched_param(0))

    def unmute(self) -> None:
        self._send("unmute")

    def muted(self) -> dict[str, Any]:
        self._send("muted")
        return self._reply(10)

    def close(self) -> dict[str, Any]:
        self._send("close")
        return self._reply(60)

    def stderr_tail(self) -> str:
        """What the client reported: errors of the server that no phase counts."""
        return self._process.stderr_tail()

    def stop(self) -> None:
        self._selector.close()
        self._process.stop()

    def _send(self, line: str) -> None:
        try:
            self._input.write(line.encode() + b"\n")
            self._input.flush()
        except BrokenPipeError as error:
            raise LoadFailed("the load client has exited") from error

    def _reply(self, timeout_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._unread:
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                raise LoadFailed(f"no reply within {timeout_s:g} s")
            more = os.read(self._output.fileno(), 1 << 20)
            if not more:
                status = self._process.popen.wait(10)
                raise LoadFailed(f"the load client has exited with status {status}: {self._process.stderr_tail()}")
            self._unread += more
        line, self._unread = self._unread.split(b"\n", 1)
        reply: dict[str, Any] = json.loads(line)
        return reply
