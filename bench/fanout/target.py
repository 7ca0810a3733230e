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

__all__ = ["Target", "Unavailable", "free_port", "wait_for_port"]


class Unavailable(Exception):
    """This server cannot run here; the text says what is missing."""


class Target(ABC):
    """One server, pinned to the server core from `start()` to `stop()`.

    `push` and `push_many` return when each event was sent, on `time.monotonic_ns()`: the moment at which the COMMIT
    goes out for our own server, and the bytes for all others.
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
        """Where a subscriber of everything goes."""

    @abstractmethod
    def push_many(self, first: int, count: int) -> Sequence[int]:
        """Send the events `first` … as fast as the server, or its database, takes them."""

    @property
    def history(self) -> Endpoint:
        """Where one goes who had nothing of what was sent since the start; raises `Unavailable`."""
        raise Unavailable(f"{self.name} keeps nothing")

    def fill(self, first: int, count: int) -> None:
        """Send events whose time does not matter."""
        self.push_many(first, count)

    def push(self, seq: int) -> int:
        return self.push_many(seq, 1)[0]

    def stop(self) -> None:
        """Also after a start that failed half-way."""
        if hasattr(self, "process"):
            self.process.stop()


class Control:
    """The way in of the servers that are handed their events: frames with four bytes of length."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> int:
        at = time.monotonic_ns()
        self._socket.sendall(struct.pack("!I", len(data)) + data)
        return at

    def close(self) -> None:
        self._socket.close()


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, process: Process, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if (status := process.popen.poll()) is not None:
            raise Unavailable(f"the server ended with status {status}: {process.complaints()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise Unavailable(f"nothing listens on port {port} after {timeout_s:g} s")
