"""A connection that was taken out of uvicorn's hands: what SSE and WebSocket have in common."""

import asyncio
import random
from socket import socket
from typing import Any, cast

from uvicorn.server import ServerState

from cdc.fanout.subscriber import CloseReason, Subscriber

from .gateway import Gateway

__all__ = ["HandedOverConnection"]

# How long a server that goes down spreads its goodbyes.
_FAREWELL_S = 1.5


class HandedOverConnection(asyncio.Protocol):
    """A connection that has been handed over: a sink of the hub, and a protocol of the loop."""

    __slots__ = ("_gateway", "_has_heard", "_server_state", "_transport", "socket", "subscriber")

    subscriber: Subscriber

    def __init__(self, gateway: Gateway, transport: asyncio.Transport, server_state: ServerState) -> None:
        self._gateway = gateway
        self._transport = transport
        self._server_state = server_state
        self._has_heard = True
        self.socket = _socket_of(transport)
        # With no buffer allowed, `pause_writing` comes as soon as the kernel has not taken everything: a subscriber
        # holds at most the rest of one write, the hub never has to ask, and what it sends past the transport overtakes
        # nothing. Over TLS not 0: asyncio then pauses a protocol for an empty buffer, and nothing ever wakes it.
        transport.set_write_buffer_limits(high=1 if self.socket is None else 0, low=0)

    def begin(self) -> None:
        """Go live; the transport reports to this protocol from here on."""
        self._server_state.connections.add(cast(Any, self))
        self._transport.set_protocol(self)
        self._begin()

    def _begin(self) -> None:
        raise NotImplementedError

    # the hub's side

    def write(self, data: bytes | memoryview) -> None:
        self._transport.write(data)

    def close(self, reason: CloseReason, text: str) -> None:
        raise NotImplementedError

    def _end(self, farewell: bytes) -> None:
        """Say a last thing and close. One that has not drained would hold the closing up for ever: it is cut."""
        self.subscriber.hub.remove(self.subscriber)
        if self.subscriber.is_paused:
            self._transport.abort()
        else:
            self._transport.write(farewell)
            self._transport.close()
            # What does not fit into the kernel's buffer either may wait for a reader a little longer.
            asyncio.get_running_loop().call_later(_FAREWELL_S, self._transport.abort)

    def heard_since_last_beat(self) -> bool:
        has_heard, self._has_heard = self._has_heard, False
        return has_heard

    # the loop's side

    def connection_lost(self, exc: Exception | None) -> None:
        self._server_state.connections.discard(cast(Any, self))
        self._gateway.leave(self.subscriber)
        self._gateway.visitors.leave(self._transport)

    def pause_writing(self) -> None:
        self.subscriber.hub.pause(self.subscriber)

    def resume_writing(self) -> None:
        self.subscriber.hub.resume(self.subscriber)

    def data_received(self, data: bytes) -> None:
        self._has_heard = True

    # uvicorn's side

    def shutdown(self) -> None:
        """The server goes down: say when to return, at a moment of one's own."""
        delay_s = random.uniform(0, _FAREWELL_S)  # noqa: S311 - jitter, not a secret
        asyncio.get_running_loop().call_later(delay_s, self._say_goodbye)

    def _say_goodbye(self) -> None:
        raise NotImplementedError


def _socket_of(transport: asyncio.Transport) -> socket | None:
    """The socket, where the transport itself does no more than send to it; asyncio shows it without its `send`."""
    is_encrypted = transport.get_extra_info("sslcontext") is not None
    if is_encrypted or not isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop):
        return None
    return getattr(transport.get_extra_info("socket"), "_sock", None)
