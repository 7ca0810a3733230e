"""A closed loop of HTTP requests over several connections: each sends its next request when its answer is complete.

It keeps the answers, to be checked after the clock has stopped, and the time of each.
"""

import gc
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Pass", "run"]

_READ_BYTES = 1 << 20
_STALL_S = 30.0


@dataclass(slots=True)
class Pass:
    """The bodies of the answers in the order of the requests, and the seconds that each took."""

    bodies: list[bytes]
    seconds: list[float]
    wall_s: float

    def quantile_ms(self, part: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))] * 1000


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    request: int = -1
    sent_at: float = 0.0
    received: bytearray = field(default_factory=bytearray)
    answer_bytes: int = 0


def run(port: int, requests: Sequence[bytes], connections: int, *, in_parts: bool = False) -> Pass:
    """Send each of the requests once. With `in_parts` the head and the body of a request are two writes, as Python's
    own clients send them."""
    selector = selectors.DefaultSelector()
    opened = [_Connection(_connect(port)) for _ in range(connections)]
    for each in opened:
        selector.register(each.socket, selectors.EVENT_READ, each)
    done = Pass([b""] * len(requests), [0.0] * len(requests), 0.0)
    following = iter(range(len(requests)))
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter()
        remaining = len(requests)
        for each in opened:
            _send_next(each, requests, following, in_parts=in_parts)
        while remaining:
            ready = selector.select(_STALL_S)
            if not ready:
                raise SystemExit(f"no answer for {_STALL_S:.0f} s; {remaining} are missing")
            for key, _ in ready:
                each = key.data
                if _receive(each, done):
                    remaining -= 1
                    _send_next(each, requests, following, in_parts=in_parts)
        done.wall_s = time.perf_counter() - began
    finally:
        gc.enable()
        for each in opened:
            each.socket.close()
        selector.close()
    return done


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _send_next(each: _Connection, requests: Sequence[bytes], following: "object", *, in_parts: bool) -> None:
    number = next(following, None)  # type: ignore[call-overload]
    if number is None:
        each.request = -1
        return
    each.request, each.sent_at = number, time.perf_counter()
    request = requests[number]
    if in_parts:
        head = request.index(b"\r\n\r\n") + 4
        each.socket.sendall(request[:head])
        request = request[head:]
    each.socket.sendall(request)


def _receive(each: _Connection, done: Pass) -> bool:
    """Whether the answer is complete."""
    data = each.socket.recv(_READ_BYTES)
    if not data:
        raise SystemExit(f"the server closed a connection; its answer so far: {bytes(each.received[:500])!r}")
    each.received += data
    if not each.answer_bytes:
        end = each.received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(each.received[:end]).lower()
        if not head.startswith(b"http/1.1 200 "):
            raise SystemExit(f"not a 200: {bytes(each.received)!r}")
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        each.answer_bytes = end + 4 + length
        del each.received[: end + 4]
        each.answer_bytes = length or -1
    wanted = max(0, each.answer_bytes)
    if len(each.received) < wanted:
        return False
    done.seconds[each.request] = time.perf_counter() - each.sent_at
    done.bodies[each.request] = bytes(each.received)
    each.received.clear()
    each.answer_bytes = 0
    return True
