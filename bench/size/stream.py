"""A bare reader of an event stream: the benchmark measures the server, not a client library."""

import asyncio
from typing import Self
from urllib.parse import urlsplit

__all__ = ["Stream"]


class Stream:
    """`async with` opens it; `event` waits for the next event of a name."""

    def __init__(self, url: str, query: str) -> None:
        self._address = urlsplit(url)
        self._query = query

    async def __aenter__(self) -> Self:
        address = self._address
        self._reader, self._writer = await asyncio.open_connection(address.hostname, address.port, limit=2**30)
        request = f"GET /api/v1/events/stream{self._query} HTTP/1.0\r\nHost: {address.netloc}\r\n\r\n"
        self._writer.write(request.encode())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def event(self, name: str) -> bytes:
        """The data of the next event of this name."""
        wanted, is_wanted = f"event: {name}".encode(), False
        async for line in self._reader:
            if line.startswith(b"event: "):
                is_wanted = line.rstrip() == wanted
            elif is_wanted and line.startswith(b"data: "):
                return line[6:]
        raise SystemExit(f"the stream ended before {name}")
