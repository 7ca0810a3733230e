"""The sink of connections that run through ASGI: a buffer between the hub and the task of the connection."""

import asyncio
from collections.abc import AsyncIterator

from cdc.fanout.subscriber import CloseReason, Subscriber

__all__ = ["AsgiSink"]

# Beyond this the hub pauses the subscriber until the buffer is empty.
_FULL_BYTES = 64 * 1024


class AsgiSink:
    """Buffers what the hub writes: at most `_FULL_BYTES`, plus the write that exceeds them.

    `subscriber` has to be set before the first write.
    """

    socket = None

    def __init__(self) -> None:
        self._chunks: list[bytes | memoryview] = []
        self._size_bytes = 0
        self._has_data = asyncio.Event()
        self.subscriber: Subscriber | None = None
        self.closed_for: CloseReason | None = None
        self.close_text = ""
        self.is_disconnected = False

    def write(self, data: bytes | memoryview) -> None:
        self._chunks.append(data)
        self._size_bytes += len(data)
        self._has_data.set()
        if self._size_bytes > _FULL_BYTES and self.subscriber is not None:
            self.subscriber.delivery.pause(self.subscriber)

    def close(self, reason: CloseReason, text: str) -> None:
        self.closed_for, self.close_text = reason, text
        self._has_data.set()

    def disconnect(self) -> None:
        """The client disconnected: drop the buffer and end `chunks`."""
        self._chunks.clear()
        self.is_disconnected = True
        self._has_data.set()

    def heard_since_last_ping(self) -> bool:
        # The ASGI server pings clients and handles their pongs; it closes the connection of one that does not answer.
        return True

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes written so far, again and again until the sink is closed; each step empties the buffer."""
        while True:
            await self._has_data.wait()
            if self.is_disconnected:
                return
            data, self._chunks, self._size_bytes = b"".join(self._chunks), [], 0
            self._has_data.clear()
            if data:
                yield data
            elif self.closed_for is not None:
                return
            if self.closed_for is not None:
                self._has_data.set()
            elif self.subscriber is not None:
                self.subscriber.delivery.resume(self.subscriber)
