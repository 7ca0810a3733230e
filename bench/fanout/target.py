"""A server under test."""

import socket
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

from bench.fanout.load import Endpoint
from bench.fanout.payload import Mode
from bench.fanout.process import Process

__all__ = ["Target", "Unavailable", "wait_for_port"]


class Unavailable(Exception):
    """The server cannot run on this machine; the message names what is missing."""


class Target(ABC):
    """One server, pinned to the server core from `start()` to `stop()`.

    `push` and `push_many` return the time at which each event was sent, on `time.monotonic_ns()`: for flagent-cdc the
    COMMIT, for all others the bytes.
    """

    name: str
    mode: Mode
    process: Process

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def start(self) -> None:
        """Raises `Unavailable`."""

    @property
    @abstractmethod
    def endpoint(self) -> Endpoint:
        """The endpoint for a subscription to everything."""

    @abstractmethod
    def push_many(self, first: int, count: int) -> Sequence[int]:
        """Send `count` events from number `first` as fast as the server, or its database, accepts them."""

    @property
    def history(self) -> Endpoint:
        """The endpoint that replays all events since the start; raises `Unavailable`."""
        raise Unavailable(f"{self.name} keeps no history")

    def fill(self, first: int, count: int) -> None:
        """Send events whose time does not matter."""
        self.push_many(first, count)

    def push(self, seq: int) -> int:
        return self.push_many(seq, 1)[0]

    def stop(self) -> None:
        """Stop the server, also after a start that failed half-way."""
        if hasattr(self, "process"):
            self.process.stop()


class Control:
    """The control connection over which a baseline gets its events: frames with four bytes of length."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> int:
        at = time.monotonic_ns()
        self._socket.sendall(struct.pack("!I", len(data)) + data)
        return at

    def close(self) -> None:
        self._socket.close()


def wait_for_port(port: int, process: Process, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if (status := process.popen.poll()) is not None:
            raise Unavailable(f"the server exited with status {status}: {process.stderr_tail()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise Unavailable(f"nothing listens on port {port} after {timeout_s:g} s")
