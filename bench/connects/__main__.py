"""`python -m bench.connects`: connections per second of the server's processor, for event streams and WebSockets.

All connections of a round are opened at once, send the request of a common client, and wait for the first bytes that
belong to the stream: `event: connected`, or the end of the handshake. So many are then open at the same time; they are
closed before the next round. The floor is an asyncio server that answers the first bytes with a constant: what accept,
the transport, one read and one write cost.
"""

import argparse
import os
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

from bench.evaluation_wire import running_server
from bench.fanout.machine import describe
from bench.fanout.process import Cores, Process, descriptors_max
from bench.port import free_port, wait_for_port
from tests.cdc.core.flagent import Flagent

_STALL_S = 60.0

_SSE = (
    b"GET /api/v1/events/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"
    b"Cache-Control: no-cache\r\nUser-Agent: flagent\r\n\r\n"
)

_CONNECTED = b"event: connected"

_TARGETS = {"event stream": 15_000, "WebSocket": 10_000}


def websocket_request() -> bytes:
    key = os.urandom(16).hex()[:22] + "=="
    return (
        "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()


def connect_all(port: int, requests: Sequence[bytes], first: bytes) -> float:
    """Open one connection for each request; returns the seconds until all have their first bytes."""
    selector = selectors.DefaultSelector()
    opened = []
    received: dict[int, bytes] = {}
    began = time.perf_counter()
    try:
        for request in requests:
            connection = socket.socket()
            opened.append(connection)
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", port))
            selector.register(connection, selectors.EVENT_WRITE, request)
        remaining = len(requests)
        while remaining:
            ready = selector.select(_STALL_S)
            if not ready:
                raise SystemExit(f"{remaining} of {len(requests)} connections have no first bytes")
            for key, events in ready:
                stream = key.fileobj
                assert isinstance(stream, socket.socket)
                if events & selectors.EVENT_WRITE:
                    stream.sendall(key.data)
                    selector.modify(stream, selectors.EVENT_READ)
                    continue
                data = received.get(key.fd, b"") + stream.recv(1 << 16)
                if not data.startswith(b"HTTP/1.1 "[: len(data)]) or not data:
                    raise SystemExit(f"not an answer: {data!r}")
                received[key.fd] = data
                if first in data:
                    remaining -= 1
                    selector.unregister(stream)
        return time.perf_counter() - began
    finally:
        for connection in opened:
            connection.close()
        selector.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Connections per second of the server's processor.")
    parser.add_argument("--connections", type=int, default=min(10_000, descriptors_max() // 2))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    constant = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nretry: 3000\n\n" + _CONNECTED + b"\ndata: {}\n\n"
    )
    with ExitStack() as running:
        server = running.enter_context(running_server(Flagent()))
        port = free_port()
        floor = running.enter_context(
            Process([sys.executable, "-m", "bench.connects.floor", str(port)], Cores().server)
        )
        assert floor.popen.stdin is not None
        floor.popen.stdin.write(constant)
        floor.popen.stdin.close()
        wait_for_port(port, floor.popen)
        sse = [_SSE] * options.connections
        websocket = [websocket_request() for _ in range(options.connections)]
        subjects = {
            "event stream": (server.port, server.process, sse, _CONNECTED),
            "WebSocket": (server.port, server.process, websocket, b"\r\n\r\n"),
            "floor": (port, floor, sse, _CONNECTED),
        }
        rounds: dict[str, list[float]] = {name: [] for name in subjects}
        for number in range(options.rounds + 1):  # the first warms up
            for name, (at, process, requests, first) in subjects.items():
                before = process.cpu_s()
                connect_all(at, requests, first)
                spent_s = process.cpu_s() - before
                process.settle()
                if number:
                    rounds[name].append(spent_s / options.connections * 1e6)
    machine = describe()
    print(f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, Python {machine['python']}\n")
    print("| connections | CPU each | per CPU second | × floor | target | |\n| --- | --- | --- | --- | --- | --- |")
    medians = {name: statistics.median(taken) for name, taken in rounds.items()}
    is_met = True
    for name, cpu_us in medians.items():
        per_s, target = 1e6 / cpu_us, _TARGETS.get(name)
        is_met = is_met and (target is None or per_s >= target)
        mark = "" if target is None else "met" if per_s >= target else "**missed**"
        wanted = "" if target is None else f"≥ {target:,}"
        print(f"| {name} | {cpu_us:.1f} µs | {per_s:,.0f} | {cpu_us / medians['floor']:.2f} | {wanted} | {mark} |")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
