"""A deadline for clients that do not read their answers.

A transport keeps what the socket does not take. The server waits before it writes more, but it would wait for ever:
such a client holds its connection, the answer, and what the answer was made from.
"""

import asyncio
import logging
import socket
import struct

__all__ = ["MIN_READ_BYTES", "ReaderDeadline", "reset"]

logger = logging.getLogger(__name__)

MIN_READ_BYTES = 64 * 1024
"""What a client must read within the deadline while more is waiting: one byte now and then is no progress."""


class ReaderDeadline:
    """Aborts a connection that reads less than `MIN_READ_BYTES` in `stall_s` while the transport holds more for it.

    `start` and `stop` belong in the protocol's `pause_writing` and `resume_writing`, `stop` in `connection_lost` too.
    The transport must pause the protocol as soon as it holds anything back: `limit` sees to that.
    """

    __slots__ = ("_held_bytes", "_stall_s", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, stall_s: float) -> None:
        self._transport = transport
        self._stall_s = stall_s
        self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def limit(self) -> None:
        """Let the transport pause its protocol for the first byte that the socket does not take."""
        # Over TLS not 0: asyncio then pauses a protocol for an empty buffer, and never resumes it.
        is_encrypted = self._transport.get_extra_info("sslcontext") is not None
        self._transport.set_write_buffer_limits(high=1 if is_encrypted else 0, low=0)

    def start(self) -> None:
        self.stop()
        self._held_bytes = self._transport.get_write_buffer_size()
        self._timer = asyncio.get_running_loop().call_later(self._stall_s, self._check)

    def stop(self) -> None:
        """Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        held_bytes = self._transport.get_write_buffer_size()
        if not held_bytes:
            return
        if self._held_bytes - held_bytes >= MIN_READ_BYTES:
            self.start()
            return
        logger.info(
            "A client does not read its answers", extra={"action": "client_stalled", "unread_bytes": held_bytes}
        )
        reset(self._transport)


def reset(transport: asyncio.Transport) -> None:
    """Abort a connection whose client does not read, and what the kernel keeps for it.

    Closed in the ordinary way, the socket would wait for minutes, with megabytes, for room at the client.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
