"""A TCP proxy that can go silent without closing, cut everything, and recover: what becomes of real links."""

import asyncio
from contextlib import suppress

__all__ = ["Proxy"]


class Proxy:
    """`port` leads to the other end. While it is stalled it takes all and passes nothing, as a dead link does."""

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
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def lead_to(self, port: int) -> None:
        """New connections go to another port from now on; those that are there are cut."""
        self._far = (self._far[0], port)
        self.cut()

    def stall(self) -> None:
        """Pass nothing more, and close nothing."""
        self._flows.clear()

    def resume(self) -> None:
        """New connections work again; the old ones stay silent, as after a lost route."""
        for task in self._tasks:
            task.cancel()
        self._flows.set()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            far_reader, far_writer = await self._reach()
        except OSError:
            # Nobody there: so it is for who comes through here.
            writer.transport.abort()
            return
        self._writers.add(far_writer)
        if not self.is_open:
            # Closed meanwhile.
            self.cut()
            return
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pass(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self._far
        if host.startswith("/"):
            # As PostgreSQL's clients do: a directory is where the socket is.
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await self._flows.wait()
                sink.write(data)
                await sink.drain()
            sink.close()
