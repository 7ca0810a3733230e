"""A sink for connections that run through ASGI: what the hub writes waits here until the connection's task sends it."""

import asyncio
from collections.abc import AsyncIterator

from cdc.fanout.subscriber import CloseReason, Subscriber

__all__ = ["BufferSink"]

# The most that waits for one connection: when it is passed the hub stops writing until all of it has been taken.
_FULL_BYTES = 64 * 1024


class BufferSink:
    """Bounded: at most `_FULL_BYTES` and the one write that passed it."""

    socket = None

    def __init__(self) -> None:
        self._chunks: list[bytes | memoryview] = []
        self._size_bytes = 0
        self._has_some = asyncio.Event()
        self.subscriber: Subscriber | None = None
        self.closed_for: CloseReason | None = None
        self.close_text = ""
        self.is_disconnected = False

    def write(self, data: bytes | memoryview) -> None:
        self._chunks.append(data)
        self._size_bytes += len(data)
        self._has_some.set()
        if self._size_bytes > _FULL_BYTES and self.subscriber is not None:
            self.subscriber.delivery.pause(self.subscriber)

    def close(self, reason: CloseReason, text: str) -> None:
        self.closed_for, self.close_text = reason, text
        self._has_some.set()

    def disconnect(self) -> None:
        """The other side has gone: what waits is of no use any more."""
        self._chunks.clear()
        self.is_disconnected = True
        self._has_some.set()

    def heard_since_last_ping(self) -> bool:
        # The server below sends the pings and keeps the pongs to itself; it ends the connection when they fail.
        return True

    async def chunks(self) -> AsyncIterator[bytes]:
        """What has been written, until the sink is closed; taking a chunk makes room."""
        while True:
            await self._has_some.wait()
            if self.is_disconnected:
                return
            data, self._chunks, self._size_bytes = b"".join(self._chunks), [], 0
            self._has_some.clear()
            if data:
                yield data
            elif self.closed_for is not None:
                return
            if self.closed_for is not None:
                self._has_some.set()
            elif self.subscriber is not None:
                self.subscriber.delivery.resume(self.subscriber)
