"""Two servers to compare with: a minimal one in C, and a typical one in Python."""

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.fanout import payload
from bench.fanout.compiler import binary
from bench.fanout.load import Endpoint
from bench.fanout.payload import Mode
from bench.fanout.process import Process
from bench.fanout.target import Control, Target, wait_for_port
from bench.port import free_port

__all__ = ["CLoop", "Naive"]


class CLoop(Target):
    """An epoll loop in C, one send for each subscriber and event."""

    name = "c-loop"

    def __init__(self, mode: Mode, core: int) -> None:
        self.mode, self._core = mode, core

    def start(self) -> None:
        self.process = Process([binary("cloop"), self.mode], self._core)
        assert self.process.popen.stdout is not None
        self._port, control = (int(part) for part in self.process.popen.stdout.readline().split())
        self._control = Control(control)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.mode, self._port, "/")

    def push_many(self, first: int, count: int) -> Sequence[int]:
        make = payload.sse_block if self.mode == "sse" else payload.websocket_frame
        events = [make(seq) for seq in range(first, first + count)]
        return [self.send(event) for event in events]

    def send(self, data: bytes) -> int:
        """Send these bytes to every subscriber."""
        return self._control.send(data)

    def stop(self) -> None:
        if hasattr(self, "_control"):
            self._control.close()
        super().stop()


class Naive(Target):
    """FastAPI with sse-starlette, or with its own WebSocket."""

    name = "naive"

    def __init__(self, mode: Mode, core: int) -> None:
        self.mode, self._core = mode, core

    def start(self) -> None:
        self._port, control_port = free_port(), free_port()
        self.process = Process(
            [sys.executable, "-m", "bench.fanout.naive", self.mode, str(self._port), str(control_port)],
            self._core,
            environment={"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        wait_for_port(self._port, self.process)
        self._control = Control(control_port)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.mode, self._port, "/stream")

    def push_many(self, first: int, count: int) -> Sequence[int]:
        events = [payload.compact(payload.message(seq)).encode() for seq in range(first, first + count)]
        return [self._control.send(event) for event in events]

    def stop(self) -> None:
        if hasattr(self, "_control"):
            self._control.close()
        super().stop()
