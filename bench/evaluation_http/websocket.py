"""Evaluations over one WebSocket: a closed loop with so many requests in flight, on a plain socket.

Frames are made before the clock starts, and answers are taken apart after it has stopped: a client library would take
longer than the server.
"""

import gc
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

from websockets.speedups import apply_mask

__all__ = ["encode_message", "results_of", "run"]

_READ_BYTES = 1 << 18


def encode_message(number: int, body: dict[str, Any]) -> bytes:
    """An `evaluate` message as one masked frame."""
    message = {"type": "evaluate", "requestId": str(number), **body}
    payload = json.dumps(message, separators=(",", ":")).encode()
    mask = os.urandom(4)
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else bytes((0x80 | 126,)) + size.to_bytes(2, "big")
    return b"\x81" + length + mask + apply_mask(payload, mask)


def run(port: int, frames: Sequence[bytes], in_flight: int) -> bytes:
    """Send each of the frames once, with `in_flight` of them unanswered; returns what was received."""
    connection = _connect(port)
    received = bytearray()
    at = sent = answered = 0
    gc.collect()
    gc.disable()
    try:
        while answered < len(frames):
            if room := min(in_flight - (sent - answered), len(frames) - sent):
                connection.sendall(b"".join(frames[sent : sent + room]))
                sent += room
            data = connection.recv(_READ_BYTES)
            if not data:
                raise SystemExit("the server closed the WebSocket")
            received += data
            while (end := _end_of_frame(received, at)) is not None:
                answered += received[at] == 0x81 and b'{"type":"evaluation_result"' in received[at : at + 40]
                at = end
    finally:
        gc.enable()
        connection.close()
    return bytes(received)


def _end_of_frame(received: bytearray, at: int) -> int | None:
    """Where the frame ends, None while it is incomplete."""
    if len(received) < at + 4:
        return None
    size = received[at + 1]
    begin = at + 2
    if size == 126:
        size, begin = int.from_bytes(received[at + 2 : at + 4], "big"), at + 4
    return begin + size if begin + size <= len(received) else None


def results_of(received: bytes) -> list[Any]:
    """The results of the answers, in the order of the requests."""
    results: list[Any] = []
    at = 0
    while (end := _end_of_frame(bytearray(received[at : at + 70_000]), 0)) is not None:
        begin = 4 if received[at + 1] == 126 else 2
        message = json.loads(received[at + begin : at + end]) if received[at] == 0x81 else {"type": "ping"}
        at += end
        if message["type"] == "evaluation_result":
            if message["requestId"] != str(len(results)):
                raise SystemExit(f"not the response to request {len(results)}: {message}")
            results.append(message["result"])
        elif message["type"] == "error":
            raise SystemExit(f"an error instead of a result: {message}")
    return results


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += connection.recv(1)
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise SystemExit(f"not a WebSocket: {answer!r}")
    return connection
