"""A TCP proxy that stalls, disconnects and recovers on request, as real links do."""

import asyncio
from contextlib import suppress

__all__ = ["Proxy"]


class Proxy:
    """Forwards connections from `port`. While it is stalled, it accepts data and forwards none, as a dead link does."""

    def __init__(self, host: str, port: int) -> None:
        self._far = (host, port)
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def is_open(self) -> bool:
        return self._server is not None and self._server.is_serving()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.disconnect()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def lead_to(self, port: int) -> None:
        """Forward new connections to another port; disconnect the present ones."""
        self._far = (self._far[0], port)
        self.disconnect()

    def stall(self) -> None:
        """Stop forwarding, without closing a connection."""
        self._flows.clear()

    def resume(self) -> None:
        """Forward new connections again; the old ones stay stalled, as after a lost route."""
        for task in self._tasks:
            task.cancel()
        self._flows.set()

    def disconnect(self) -> None:
        """Abort every connection."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            far_reader, far_writer = await self._reach()
        except OSError:
            # The other end does not accept connections, so this one is aborted too.
            writer.transport.abort()
            return
        self._writers.add(far_writer)
        if not self.is_open:
            # The proxy was closed in the meantime.
            self.disconnect()
            return
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pass(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self._far
        if host.startswith("/"):
            # As in libpq, a directory contains the socket.
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await self._flows.wait()
                sink.write(data)
                await sink.drain()
            sink.close()
