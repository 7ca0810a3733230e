"""The lower bound: an asyncio server that answers the first bytes of each connection with a constant, and keeps it.

`python -m bench.connects.floor PORT` reads the answer from its stdin.
"""

import asyncio
import sys
from typing import Any


class Floor(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer)


async def serve(port: int, answer: bytes) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Floor(answer), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.stdin.buffer.read()))
