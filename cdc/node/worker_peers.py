"""Lets the workers of one server query each other, over Unix sockets in a directory that only they can open.

All workers share one port, so a request reaches any of them. A worker that is asked for something that concerns all of
them queries the others at that moment: nothing is cached, so an answer is never older than its question. A worker that
hangs or is restarting does not answer in time.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

__all__ = ["WorkerPeers"]

logger = logging.getLogger(__name__)

_ANSWER_S = 2.0

_MOST_BYTES = 1024 * 1024

Answer = Callable[[], Awaitable[bytes]]


class WorkerPeers:
    """The workers numbered from 0 to `count` - 1; this process is the one at `place`."""

    def __init__(self, directory: Path | None = None, place: int = 0, count: int = 1) -> None:
        self._directory = directory
        self.place = place
        self._others = [other for other in range(count) if other != place]

    @asynccontextmanager
    async def answering(self, answer: Answer) -> AsyncIterator[None]:
        """Answer the other workers until the end of the block; a worker that is alone has nothing to do."""
        if self._directory is None or not self._others:
            yield
            return

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                writer.write(await answer())
                await writer.drain()
            except OSError as error:
                logger.debug("A worker disconnected", extra={"action": "peer_disconnected", "reason": str(error)})
            finally:
                writer.close()

        server = await asyncio.start_unix_server(serve, self._path(self.place))
        try:
            yield
        finally:
            server.close()

    async def ask(self) -> dict[int, bytes | None]:
        """The answer of each other worker; None from one that does not answer in time."""
        answers = await asyncio.gather(*map(self._ask_one, self._others))
        return dict(zip(self._others, answers, strict=True))

    async def _ask_one(self, other: int) -> bytes | None:
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(_ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(self._path(other))
                answer = await reader.read(_MOST_BYTES)
                while len(answer) < _MOST_BYTES and (more := await reader.read(_MOST_BYTES)):
                    answer += more
                return answer or None
        except (OSError, TimeoutError) as error:
            logger.warning(
                "A worker does not answer",
                extra={"action": "peer_timeout", "worker": other, "reason": str(error) or "no answer in time"},
            )
            return None
        finally:
            if writer is not None:
                with contextlib.suppress(OSError):
                    writer.close()

    def _path(self, place: int) -> str:
        assert self._directory is not None
        return str(self._directory / str(place))
