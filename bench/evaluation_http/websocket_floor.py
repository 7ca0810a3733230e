"""The lower bound of evaluations over a WebSocket: frames are taken apart, their JSON is parsed, and each is answered
with a constant; the answers to one read leave in one write.

`python -m bench.evaluation_http.websocket_floor PORT` reads the message of its answers from stdin. What is left of a
single evaluation is mostly that the server's core is woken up for it.
"""

import asyncio
import json
import sys
from typing import Any

from websockets.speedups import apply_mask

_BUFFER = memoryview(bytearray(1 << 16))


class Floor(asyncio.BufferedProtocol):
    """Accepts any handshake that arrives in one read; after it there are whole text frames alone."""

    def __init__(self, message: bytes) -> None:
        size = len(message)
        length = bytes((size,)) if size < 126 else bytes((126,)) + size.to_bytes(2, "big")
        self._answer = b"\x81" + length + message
        self._rest: bytes | None = None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        if self._rest is None:
            self._rest = b""
            self._transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            return
        data, at, count = self._rest + bytes(_BUFFER[:nbytes]), 0, 0
        while at + 8 <= len(data):
            size, begin = data[at + 1] & 0x7F, at + 6
            if size == 126:
                size, begin = int.from_bytes(data[at + 2 : at + 4], "big"), at + 8
            if begin + size > len(data):
                break
            json.loads(apply_mask(data[begin : begin + size], data[begin - 4 : begin]))
            at = begin + size
            count += 1
        self._rest = data[at:]
        if count:
            self._transport.write(self._answer * count)


async def serve(port: int, message: bytes) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Floor(message), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.stdin.buffer.read()))
