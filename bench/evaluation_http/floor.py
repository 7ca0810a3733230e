"""The lower bound: a bare httptools protocol that parses the JSON of each request and answers a constant.

`python -m bench.evaluation_http.floor PORT` reads the answer from its stdin. No limit, no routing, no check: what a
server in Python with asyncio pays for a request at the least.
"""

import asyncio
import json
import sys
from typing import Any

import httptools


class Floor(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._body = b""
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        if body:
            json.loads(body)
        self._transport.write(self._answer)


async def serve(port: int, answer: bytes) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Floor(answer), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.stdin.buffer.read()))
