"""uvicorn's HTTP protocol with limits: on the time a request may take to arrive and its answer to be read, on its head,
on pipelined requests, on connections.

uvicorn waits for a request for ever and keeps any head it is sent. Here a connection that has not sent a whole request
in time is answered 408 and closed, also while bytes still trickle in; a head beyond the limits is answered 431; and a
connection beyond the limits on connections, in total or per client, is answered 503 before a byte of it is read. A few
beyond the total have time to say that they are a health check, which is answered all the same. A connection whose
client does not read is aborted. Requests that were sent before the answer to the previous one are parsed a few at a
time: a read of 256 KiB holds ten thousand.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from cdc.core.descriptors import HEALTH_CHECKS

from ..http.cache_policy import CachePolicy
from ..http.problem import Problem
from ..http.websocket_handshake import check_handshake
from .allowed_hosts import AllowedHosts
from .client_address import Proxies, account
from .reader_deadline import ReaderDeadline

__all__ = [
    "HEALTH_PATHS",
    "BoundedHttpProtocol",
    "BoundedWebSocketProtocol",
    "ConnectionCounter",
    "Limits",
    "no_connection_left",
    "refusal",
]

logger = logging.getLogger(__name__)

# Leaves room for the longest query of a stream, 64 KiB.
_MAX_HEAD_BYTES = 96 * 1024
_MAX_HEADERS = 128

# So much of a read is parsed before the requests in it are answered, about a hundred of the shortest.
_SLICE_BYTES = 4096

# What one read takes at most. asyncio allocates as much before each read, by default 256 KiB: so much memory is mapped
# by the kernel and given back each time, which takes 13 µs, more than the rest of a read.
_READ_BYTES = 64 * 1024

# The shortest time between two log records that all connections are in use.
_LOG_INTERVAL_S = 60.0

HEALTH_PATHS = ("/healthz", "/readyz")

# How long a connection beyond the limit may take to say that it is a health check.
_HEALTH_REQUEST_S = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """`request_s`: the time a whole request may take to arrive. `stall_s`: the time in which a client must read some of
    its answer. None disables a limit on connections; `health_checks` beyond `connections` are kept for health checks.
    """

    request_s: float = 10.0
    stall_s: float = 60.0
    connections: int | None = None
    connections_per_client: int | None = None
    health_checks: int = HEALTH_CHECKS


class ConnectionCounter:
    """Counts connections, streams included, in total and per client.

    A connection from a trusted proxy counts for the client of its latest request.
    """

    def __init__(self, limits: Limits, proxies: Proxies | None = None) -> None:
        self.limits = limits
        self.proxies = Proxies() if proxies is None else proxies
        self._total = 0
        self._by_client: Counter[str] = Counter()
        self._proxied_client: dict[asyncio.BaseTransport, str] = {}
        self._exhausted_at = -_LOG_INTERVAL_S

    @property
    def room(self) -> int | None:
        """How many more connections there may be; None for any number."""
        return None if self.limits.connections is None else max(0, self.limits.connections - self._total)

    def enter_for_health(self) -> bool:
        """Count a connection that `enter` has refused into the reserve for health checks; False where that is full.

        After True the caller must call `leave` once.
        """
        if self.room != 0 or self._total >= (self.limits.connections or 0) + self.limits.health_checks:
            return False
        self._total += 1
        return True

    def enter(self, transport: asyncio.BaseTransport) -> Problem | None:
        """Count a connection in, or return the problem; without one the caller must call `leave` once."""
        if self.room == 0:
            self._log_exhausted()
            return no_connection_left()
        if not self.is_proxy(transport) and (problem := self._count(account(_address(transport)))) is not None:
            return problem
        self._total += 1
        return None

    def leave(self, transport: asyncio.BaseTransport) -> None:
        """Count a connection out."""
        self._total -= 1
        if self.is_proxy(transport):
            self._discount(self._proxied_client.pop(transport, None))
        else:
            self._discount(account(_address(transport)))

    def is_proxy(self, transport: asyncio.BaseTransport) -> bool:
        return self.proxies.trusts(_address(transport))

    def attribute(self, transport: asyncio.BaseTransport, headers: Iterable[tuple[bytes, bytes]]) -> Problem | None:
        """Count a proxy's connection for the client of this request, not the previous one; or return the problem."""
        client, before = self.proxies.client(_address(transport), headers), self._proxied_client.get(transport)
        if client == before:
            return None
        if (problem := self._count(client)) is not None:
            return problem
        self._discount(before)
        self._proxied_client.pop(transport, None)
        if client is not None:
            self._proxied_client[transport] = client
        return None

    def _count(self, client: str | None) -> Problem | None:
        if client is None:
            return None
        most = self.limits.connections_per_client
        if most is not None and self._by_client[client] >= most:
            logger.warning(
                "A client reached its connection limit; if it is a proxy, add it to FLAGENT_CDC_TRUSTED_PROXIES",
                extra={"action": "client_limited", "client": client, "connections": most},
            )
            return Problem(
                503, "too_many_connections", f"your address has {most} open connections, its limit; close one", 5
            )
        self._by_client[client] += 1
        return None

    def _discount(self, client: str | None) -> None:
        if client is None:
            return
        self._by_client[client] -= 1
        if self._by_client[client] <= 0:
            del self._by_client[client]

    def _log_exhausted(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._exhausted_at >= _LOG_INTERVAL_S:
            self._exhausted_at = now
            logger.warning(
                "All connections of this server are in use; further ones are refused",
                extra={"action": "connections_exhausted", "connections": self.limits.connections},
            )


def no_connection_left() -> Problem:
    return Problem(503, "too_many_connections", "all connections of this server are in use; retry later", 5)


def _address(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""


def refusal(server_state: ServerState, problem: Problem, cache_policy: CachePolicy) -> bytes:
    """A complete response to a refused request; it announces the end of the connection."""
    body = problem.body()
    lines = [STATUS_LINE[problem.status]]
    ending = ((b"content-length", str(len(body)).encode()), (b"connection", b"close"))
    for name, value in (*server_state.default_headers, *cache_policy.apply(problem.headers()), *ending):
        lines += (name, b": ", value, b"\r\n")
    return b"".join((*lines, b"\r\n", body))


class _ReadControl(FlowControl):
    """uvicorn's flow control, whose reading stays paused while `is_held`.

    Each response, and each call of `receive`, would resume it: for as many more requests as one read holds.
    """

    is_held = False

    def resume_reading(self) -> None:
        if not self.is_held:
            super().resume_reading()


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits; a subclass that sets the first three goes into uvicorn's `http=`."""

    connection_counter: ConnectionCounter
    cache_policy: CachePolicy
    allowed_hosts: AllowedHosts

    _deadline: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _is_head_open = True
    _is_counted = False
    _is_proxy = False
    _unless_health: Problem | None = None
    _unparsed = b""
    # Set by the last request of the connection: it was refused, or another protocol takes the connection over.
    _is_ended = False
    _last_answer: Callable[[], None] | None = None

    # The request whose answer is being made, or was the last one.
    _answering: RequestResponseCycle | None = None

    _reader_deadline: ReaderDeadline
    flow: _ReadControl

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if hasattr(transport, "max_size"):  # of asyncio's own loops, without TLS
            transport.max_size = _READ_BYTES
        self.flow = _ReadControl(transport)
        self._reader_deadline = ReaderDeadline(transport, self.connection_counter.limits.stall_s)
        self._reader_deadline.limit()
        problem = self.connection_counter.enter(transport)
        if problem is not None and not self.connection_counter.enter_for_health():
            transport.pause_reading()
            self._refuse(problem)
            return
        self._unless_health = problem
        self._is_counted = True
        self._is_proxy = self.connection_counter.is_proxy(transport)
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        self._reader_deadline.stop()
        self._unparsed, self._last_answer = b"", None
        if self._is_counted:
            self.connection_counter.leave(self.transport)
        if self._answering is not None:
            # uvicorn says it to the latest request alone, which may only be waiting for its turn.
            self._answering.disconnected = True
            self._answering.message_event.set()
            self._answering = None
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def handle_websocket_upgrade(self) -> None:
        """Called by uvicorn, once it has read the head of the handshake."""
        if self._is_over():
            return
        try:
            check_handshake(self.scope["method"], self.parser.get_http_version(), self.headers)
        except Problem as problem:
            self._refuse(problem)
            return
        self._end_with(self._upgrade)

    def _upgrade(self) -> None:
        """Hand the connection over to a WebSocket."""
        self._reader_deadline.stop()
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reader_deadline.start()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._reader_deadline.stop()

    def data_received(self, data: bytes) -> None:
        unparsed, self._unparsed = self._unparsed + data, b""
        at = 0
        # Of a connection that is over, the rest is ignored: that of a refused request is still arriving.
        while at < len(unparsed) and not self._is_over():
            if self.pipeline:
                self._unparsed = unparsed[at:]
                self.flow.is_held = True
                self.flow.pause_reading()
                # The client has sent what it is to send, and waits for us.
                self._cancel_deadline()
                return
            self._parse(unparsed[at : at + _SLICE_BYTES])
            at += _SLICE_BYTES

    def _parse(self, data: bytes) -> None:
        if self._is_head_open:
            self._head_bytes += len(data)
            # Not only in `on_message_begin`: a client can send empty lines before it for ever.
            if self._deadline is None:
                self._start_deadline()
        super().data_received(data)
        if self._is_head_open and self._head_bytes > _MAX_HEAD_BYTES and not self._is_over():
            self._refuse_head()

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self._is_over():
            return
        super().on_message_begin()
        self._is_head_open = True
        if self._deadline is None:
            self._start_deadline()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_over():
            return
        if len(self.headers) < _MAX_HEADERS:
            super().on_header(name, value)
        else:
            # Refused once the parser has returned; until then no further header is kept.
            self._head_bytes = _MAX_HEAD_BYTES + 1

    def on_headers_complete(self) -> None:
        if self._is_over():
            return
        is_long = self._head_bytes > _MAX_HEAD_BYTES and len(self.url) + sum(map(_size, self.headers)) > _MAX_HEAD_BYTES
        if is_long or len(self.headers) >= _MAX_HEADERS:
            self._refuse_head()
            return
        if self._unless_health is not None and self.url.partition(b"?")[0].decode("latin-1") not in HEALTH_PATHS:
            self._refuse(self._unless_health)
            return
        if self._is_proxy and (problem := self.connection_counter.attribute(self.transport, self.headers)) is not None:
            self._refuse(problem)
            return
        try:
            self.allowed_hosts.check(self.parser.get_http_version(), self.url, self.headers)
        except Problem as problem:
            self._refuse(problem)
            return
        super().on_headers_complete()
        self._is_head_open, self._head_bytes = False, 0
        if self._unless_health is not None:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn for a request that its parser rejects, also while it is being refused already."""
        if self._is_over():
            return
        problem = Problem(400, "malformed_request", "the request is not valid HTTP/1.1")
        if self._is_head_open:
            self._refuse(problem)
        elif self.pipeline or self.cycle.response_started:
            # In its body, while a response is in progress, to this request or to the one before.
            self.transport.abort()
        else:
            self._cancel_deadline()
            self._send_refusal(problem)

    def on_body(self, body: bytes) -> None:
        if not self._is_over():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._cancel_deadline()
        self._is_head_open = True
        if not self._is_over():
            super().on_message_complete()

    # Called when a response is complete.

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._unparsed and not self.pipeline:
            self.loop.call_soon(self._parse_on)
        if self._last_answer is not None and not self._is_answering() and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            last_answer, self._last_answer = self._last_answer, None
            last_answer()

    def _parse_on(self) -> None:
        if self._unparsed and not self._is_over():
            self.flow.is_held = False
            self.flow.resume_reading()
            self.data_received(b"")

    # Limits.

    def _start_deadline(self) -> None:
        seconds = self.connection_counter.limits.request_s
        if self._unless_health is not None:
            seconds = min(seconds, _HEALTH_REQUEST_S)
        self._deadline = self.loop.call_later(seconds, self._time_out)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _time_out(self) -> None:
        self._deadline = None
        if self._is_over():
            return
        if not self._is_head_open or self._is_answering():
            # A response may be in progress, to this request or the previous one: a 408 would land in the middle of it.
            self.transport.abort()
            return
        within = f"within {self.connection_counter.limits.request_s:g} s"
        late = Problem(408, "request_timeout", f"the request did not arrive {within}; send it faster")
        self._refuse(self._unless_health or late)

    def _refuse_head(self) -> None:
        limits = f"{_MAX_HEAD_BYTES} bytes or {_MAX_HEADERS} fields"
        self._refuse(Problem(431, "head_too_large", f"the request head exceeds {limits}; send a smaller one"))

    def _refuse(self, problem: Problem) -> None:
        self._cancel_deadline()
        self._end_with(partial(self._send_refusal, problem))

    def _send_refusal(self, problem: Problem) -> None:
        self.transport.write(refusal(self.server_state, problem, self.cache_policy))
        self.transport.close()

    def _end_with(self, last_answer: Callable[[], None]) -> None:
        """Read no further request, and answer this one after those before it, which may still be in progress."""
        self._is_ended = True
        if self._is_answering():
            self._last_answer = last_answer
        else:
            last_answer()

    def _is_over(self) -> bool:
        """Whether no further request is read."""
        return self._is_ended or self.transport.is_closing()

    def _is_answering(self) -> bool:
        """Whether the response to a request before is pending. Responses come in turn, so the latest decides."""
        return self.cycle is not None and not self.cycle.response_complete


class BoundedWebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, for `ws=`: counts out the connections that `BoundedHttpProtocol` counted in, and
    aborts those whose client does not read."""

    connection_counter: ConnectionCounter

    _reader_deadline: ReaderDeadline

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._reader_deadline = ReaderDeadline(transport, self.connection_counter.limits.stall_s)
        if transport.get_write_buffer_size():
            # Of the answer to a request before; its end resumes this protocol.
            self.pause_writing()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reader_deadline.start()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._reader_deadline.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._reader_deadline.stop()
        self.connection_counter.leave(self.transport)
        super().connection_lost(exc)


def _size(header: tuple[bytes, bytes]) -> int:
    return len(header[0]) + len(header[1])
