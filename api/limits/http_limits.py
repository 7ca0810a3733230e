"""uvicorn's HTTP protocol with bounds: on how long a request may take to arrive, on its head, on who connects.

uvicorn waits for a request for ever and keeps whatever head it is sent. Here a connection that has not brought a whole
request in time is answered 408 and closed, however lively it trickles; a head that is too large, 431; and a connection
beyond the limits on connections, in total or from one address, 503 before a byte of it is read.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from ..http.problem import Problem
from .client_address import Proxies, account

__all__ = ["BoundedHttpProtocol", "BoundedWebSocketProtocol", "ConnectionCounter", "Limits", "refusal"]

logger = logging.getLogger(__name__)

# A query of 64 KiB fits, which is what a stream's may have.
_MAX_HEAD_BYTES = 96 * 1024
_MAX_HEADERS = 128

# A client that has all it may have is told to the log so often at most.
_COMPLAINT_S = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """`request_s` is for a whole request; of connections None is any number."""

    request_s: float = 10.0
    connections: int | None = None
    connections_per_client: int | None = None


class ConnectionCounter:
    """Counts connections, those of streams too, in total and by client.

    One that comes from a trusted proxy counts for the client of its latest request.
    """

    def __init__(self, limits: Limits, proxies: Proxies | None = None) -> None:
        self.limits = limits
        self.proxies = Proxies() if proxies is None else proxies
        self._total = 0
        self._by_client: Counter[str] = Counter()
        self._spoken_for: dict[asyncio.BaseTransport, str] = {}
        self._complained_at = -_COMPLAINT_S

    def enter(self, transport: asyncio.BaseTransport) -> Problem | None:
        """Count a connection in, or say why not; what was let in must `leave` once."""
        if self.limits.connections is not None and self._total >= self.limits.connections:
            return Problem(503, "too_many_connections", "the server has all the connections it may have", 5)
        if not self.is_proxy(transport) and (problem := self._count(account(_address(transport)))) is not None:
            return problem
        self._total += 1
        return None

    def leave(self, transport: asyncio.BaseTransport) -> None:
        self._total -= 1
        if self.is_proxy(transport):
            self._discount(self._spoken_for.pop(transport, None))
        else:
            self._discount(account(_address(transport)))

    def is_proxy(self, transport: asyncio.BaseTransport) -> bool:
        return self.proxies.trusts(_address(transport))

    def speak_for(self, transport: asyncio.BaseTransport, headers: Iterable[tuple[bytes, bytes]]) -> Problem | None:
        """Count a proxy's connection for the client of this request, no longer for the one before, or say why not."""
        client, before = self.proxies.client(_address(transport), headers), self._spoken_for.get(transport)
        if client == before:
            return None
        if (problem := self._count(client)) is not None:
            return problem
        self._discount(before)
        self._spoken_for.pop(transport, None)
        if client is not None:
            self._spoken_for[transport] = client
        return None

    def _count(self, client: str | None) -> Problem | None:
        if client is None:
            return None
        most = self.limits.connections_per_client
        if most is not None and self._by_client[client] >= most:
            self._complain(client, most)
            return Problem(503, "too_many_connections", f"your address has {most} connections open already", 5)
        self._by_client[client] += 1
        return None

    def _discount(self, client: str | None) -> None:
        if client is None:
            return
        self._by_client[client] -= 1
        if self._by_client[client] <= 0:
            del self._by_client[client]

    def _complain(self, client: str, most: int) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._complained_at >= _COMPLAINT_S:
            self._complained_at = now
            logger.warning(
                "A client has all the connections it may have; a proxy must stand in FLAGENT_CDC_TRUSTED_PROXIES",
                extra={"action": "client_limited", "client": client, "connections": most},
            )


def _address(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""


def refusal(server_state: ServerState, problem: Problem) -> bytes:
    """A whole response that ends the connection."""
    body = problem.body()
    lines = [STATUS_LINE[problem.status]]
    ending = ((b"content-length", str(len(body)).encode()), (b"connection", b"close"))
    for name, value in (*server_state.default_headers, *problem.headers(), *ending):
        lines += (name, b": ", value, b"\r\n")
    return b"".join((*lines, b"\r\n", body))


class BoundedHttpProtocol(HttpToolsProtocol):
    """For uvicorn's `http=`, by way of a subclass that sets `visitors`."""

    visitors: ConnectionCounter

    _deadline: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _is_head_open = True
    _is_counted = False
    _is_proxy = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        problem = self.visitors.enter(transport)
        if problem is not None:
            transport.pause_reading()
            self._refuse(problem)
            return
        self._is_counted = True
        self._is_proxy = self.visitors.is_proxy(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unexpect()
        if self._is_counted:
            self.visitors.leave(self.transport)
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        if not self.transport.is_closing():  # refused by its head
            super().handle_websocket_upgrade()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return  # Refused, with more on its way.
        if self._is_head_open:
            self._head_bytes += len(data)
            # Not left to the beginning of a message: empty lines may come before it, for ever.
            if self._deadline is None:
                self._expect()
        super().data_received(data)
        if self._is_head_open and self._head_bytes > _MAX_HEAD_BYTES and not self._is_gone():
            self._refuse_head()

    # the parser's side

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_head_open = True
        if self._deadline is None:
            self._expect()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) < _MAX_HEADERS:
            super().on_header(name, value)
        else:
            # Answered when the parser has let go: what follows must not grow meanwhile.
            self._head_bytes = _MAX_HEAD_BYTES + 1

    def on_headers_complete(self) -> None:
        if self.transport.is_closing():
            return
        is_long = self._head_bytes > _MAX_HEAD_BYTES and len(self.url) + sum(map(_size, self.headers)) > _MAX_HEAD_BYTES
        if is_long or len(self.headers) >= _MAX_HEADERS:
            self._refuse_head()
            return
        if self._is_proxy and (problem := self.visitors.speak_for(self.transport, self.headers)) is not None:
            self._refuse(problem)
            return
        self._is_head_open, self._head_bytes = False, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._unexpect()
        self._is_head_open = True
        if not self.transport.is_closing():
            super().on_message_complete()

    # bounds

    def _expect(self) -> None:
        self._deadline = self.loop.call_later(self.visitors.limits.request_s, self._give_up)

    def _unexpect(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self._is_gone() or self.transport.is_closing():
            return
        if not self._is_head_open or (self.cycle is not None and not self.cycle.response_complete):
            # An answer may be under way, this one's or the one's before: nothing can be said in between.
            self.transport.abort()
            return
        seconds = self.visitors.limits.request_s
        self._refuse(Problem(408, "request_timeout", f"the request did not arrive within {seconds:g} s"))

    def _refuse_head(self) -> None:
        limits = f"{_MAX_HEAD_BYTES} bytes and {_MAX_HEADERS} fields"
        self._refuse(Problem(431, "head_too_large", f"a request's head may have {limits}"))

    def _refuse(self, problem: Problem) -> None:
        self._unexpect()
        self.transport.write(refusal(self.server_state, problem))
        self.transport.close()

    def _is_gone(self) -> bool:
        """Whether another protocol has taken over."""
        transport: Any = self.transport
        return transport is None


class BoundedWebSocketProtocol(WebSocketsSansIOProtocol):
    """For uvicorn's `ws=`: counts out what its HTTP protocol counted in and handed over."""

    visitors: ConnectionCounter

    def connection_lost(self, exc: Exception | None) -> None:
        self.visitors.leave(self.transport)
        super().connection_lost(exc)


def _size(header: tuple[bytes, bytes]) -> int:
    return len(header[0]) + len(header[1])
