"""The common part of SSE and WebSocket connections that were handed over by uvicorn."""

import asyncio
import random
from socket import socket
from typing import Any, cast

from uvicorn.server import ServerState

from cdc.fanout.subscriber import CloseReason, Subscriber
from cdc.node.pipeline import Pipeline

from ..limits.reader_deadline import reset
from .gateway import Gateway

__all__ = ["Connection"]

# The period over which a server that shuts down spreads the ends of its streams.
_FAREWELL_S = 1.5


class Connection(asyncio.Protocol):
    """A connection after the handover: a sink of the hub, and a protocol of the event loop."""

    __slots__ = ("_gateway", "_has_heard", "_server_state", "_transport", "socket", "subscriber")

    subscriber: Subscriber

    def __init__(self, gateway: Gateway, transport: asyncio.Transport, server_state: ServerState) -> None:
        self._gateway = gateway
        self._transport = transport
        self._server_state = server_state
        self._has_heard = True
        self.socket = _socket_of(transport)
        # Without a buffer, `pause_writing` is called as soon as the kernel does not take everything: a subscriber holds
        # at most the rest of one write, the hub need not check, and what it sends past the transport keeps the order.
        # Over TLS not 0: asyncio then pauses a protocol for an empty buffer, and never resumes it.
        transport.set_write_buffer_limits(high=1 if self.socket is None else 0, low=0)

    def begin(self) -> None:
        """Take over the transport and subscribe; called once."""
        self._server_state.connections.add(cast(Any, self))
        self._transport.set_protocol(self)
        if self._transport.get_write_buffer_size():
            # Of the answer to a request before, whose client does not read. The protocol before was paused for it, and
            # this one will be resumed: until then the hub must not write.
            self.pause_writing()
        self._begin()

    def _begin(self) -> None:
        raise NotImplementedError

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline of the present subscription."""
        raise NotImplementedError

    # Called by the hub.

    def write(self, data: bytes | memoryview) -> None:
        self._transport.write(data)

    def close(self, reason: CloseReason, text: str) -> None:
        raise NotImplementedError

    def _finish(self, farewell: bytes) -> None:
        """Write the last bytes and close; reset a paused connection, whose client may never read them."""
        self.subscriber.delivery.remove(self.subscriber)
        if self.subscriber.is_paused:
            reset(self._transport)
        else:
            self._transport.write(farewell)
            self._transport.close()
            # What the kernel did not take either waits for the client this long.
            asyncio.get_running_loop().call_later(_FAREWELL_S, self._transport.abort)

    def heard_since_last_ping(self) -> bool:
        has_heard, self._has_heard = self._has_heard, False
        return has_heard

    # Called by the event loop.

    def connection_lost(self, exc: Exception | None) -> None:
        self._server_state.connections.discard(cast(Any, self))
        self._gateway.leave(self.subscriber, self.pipeline)
        self._gateway.connection_counter.leave(self._transport)

    def pause_writing(self) -> None:
        self.subscriber.delivery.pause(self.subscriber)

    def resume_writing(self) -> None:
        self.subscriber.delivery.resume(self.subscriber)

    def data_received(self, data: bytes) -> None:
        self._has_heard = True

    # Called by uvicorn.

    def shutdown(self) -> None:
        """End the stream at a random time, so that the clients of a server that shuts down do not return together."""
        delay_s = random.uniform(0, _FAREWELL_S)  # noqa: S311 - jitter, not a secret
        asyncio.get_running_loop().call_later(delay_s, self._close_for_restart)

    def _close_for_restart(self) -> None:
        raise NotImplementedError


def _socket_of(transport: asyncio.Transport) -> socket | None:
    """The socket, if the transport only sends to it; `get_extra_info` wraps it in an object without `send`."""
    is_encrypted = transport.get_extra_info("sslcontext") is not None
    if is_encrypted or not isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop):
        return None
    return getattr(transport.get_extra_info("socket"), "_sock", None)
