"""Takes streams out of uvicorn's hands, once they are admitted.

uvicorn's documented option `http=` takes a protocol class. This one is uvicorn's own with two places overridden: a
GET of the stream's path and an upgrade on the WebSocket's path are decided by the gateway; the connection then goes
on under a slim protocol that only writes what the hub gives it, without a task, a queue or a middleware. Whatever the
gateway refuses, and every other request, takes uvicorn's ordinary way to the ASGI application, which decides the same
with the same code. That is also the way under any other ASGI server.

It touches uvicorn's inside, so uvicorn's minor version is pinned; tests/api/streams/test_uvicorn_handover.py holds what
is used.
"""

import asyncio
import logging
import random
from functools import partial
from socket import socket
from typing import Any, cast

import httptools
from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.server import ServerState
from websockets.datastructures import Headers as WebSocketHeaders
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SERVER, Protocol, State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from cdc.core.wire.dialect import MESSAGES
from cdc.core.wire.format import Format, websocket_frame
from cdc.fanout.subscriber import CloseReason, Subscriber
from cdc.node.pipeline import Pipeline

from ..http.problem import Problem
from ..limits.http_limits import BoundedHttpProtocol
from .gateway import RETRY_MS, Gateway, Headers, Opening, SocketOpening
from .websocket_session import TURN_MESSAGES, Evaluator, Session

__all__ = ["make_http_protocol"]

# `websockets` logs frames and headers at DEBUG, and credentials stand in both; at INFO it logs every connection.
_frames = logging.getLogger(__name__ + ".frames")
_frames.setLevel(logging.WARNING)

_PLAIN, _DEFLATED = Format(MESSAGES), Format(MESSAGES, coding="deflate")

# How long a server that goes down spreads its goodbyes.
_FAREWELL_S = 1.5

# Frames larger than this end the connection with 1009; what is merely too large for a message gets an error.
_MAX_FRAME_BYTES = 1024 * 1024


class _Stream(asyncio.Protocol):
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

    @property
    def pipeline(self) -> Pipeline:
        """The one that it is subscribed to now."""
        raise NotImplementedError

    # the hub's side

    def write(self, data: bytes | memoryview) -> None:
        self._transport.write(data)

    def close(self, reason: CloseReason, text: str) -> None:
        raise NotImplementedError

    def _end(self, farewell: bytes) -> None:
        """Say a last thing and close. One that has not drained would hold the closing up for ever: it is cut."""
        self.subscriber.delivery.remove(self.subscriber)
        if self.subscriber.is_paused:
            self._transport.abort()
        else:
            self._transport.write(farewell)
            self._transport.close()
            # What does not fit into the kernel's buffer either may wait for a reader a little longer.
            asyncio.get_running_loop().call_later(_FAREWELL_S, self._transport.abort)

    def heard_since_last_ping(self) -> bool:
        has_heard, self._has_heard = self._has_heard, False
        return has_heard

    # the loop's side

    def connection_lost(self, exc: Exception | None) -> None:
        self._server_state.connections.discard(cast(Any, self))
        self._gateway.leave(self.subscriber, self.pipeline)
        self._gateway.visitors.leave(self._transport)

    def pause_writing(self) -> None:
        self.subscriber.delivery.pause(self.subscriber)

    def resume_writing(self) -> None:
        self.subscriber.delivery.resume(self.subscriber)

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


class SseStream(_Stream):
    """An event stream over HTTP/1.1. Nothing that the client sends means anything."""

    __slots__ = ("_opening", "_pipeline")

    def __init__(
        self, gateway: Gateway, transport: asyncio.Transport, server_state: ServerState, opening: Opening
    ) -> None:
        super().__init__(gateway, transport, server_state)
        self._opening: Opening | None = opening
        self._pipeline = opening.pipeline
        self.subscriber = gateway.subscriber_of(opening, self)

    @property
    def pipeline(self) -> Pipeline:
        return self._pipeline

    def _begin(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            head = _response_head(self._server_state, opening)
            self._gateway.begin_stream(opening, self.subscriber, head)

    def close(self, reason: CloseReason, text: str) -> None:
        self._finish(f": {text}\n\n".encode())

    def _say_goodbye(self) -> None:
        if not self._transport.is_closing():
            self._finish(self.subscriber.format.dialect.closing(random.randint(*RETRY_MS)))  # noqa: S311 - jitter

    def _finish(self, raw: bytes) -> None:
        format = self.subscriber.format
        self._end(format.frame(raw) + (b"0\r\n\r\n" if format.is_chunked else b""))


class WebSocketStream(_Stream):
    """A WebSocket after its handshake. Frames are read by `websockets`, whose parser is kept only while it is needed:
    idle subscribers have none."""

    __slots__ = ("_deflate", "_fragments", "_in_turn", "_is_text", "_opening", "_parser", "_session")

    def __init__(
        self,
        gateway: Gateway,
        transport: asyncio.Transport,
        server_state: ServerState,
        deflate: PerMessageDeflate | None,
        opening: SocketOpening,
        evaluator: Evaluator | None,
    ) -> None:
        super().__init__(gateway, transport, server_state)
        self._deflate = deflate
        self._opening: SocketOpening | None = opening
        self._parser: Protocol | None = None
        self._fragments: list[bytes] = []
        self._is_text = True
        self._in_turn = 0
        # What is compressed once for all uses the whole window; a client with a smaller one gets plain frames.
        can_share = deflate is not None and deflate.local_max_window_bits == 15
        self._session = Session(
            gateway.pipelines,
            self,
            _DEFLATED if can_share else _PLAIN,
            stop_reading=transport.pause_reading,
            read_on=self._read_on,
            entrant=opening.entrant,
            guard=gateway.guard,
            watch=gateway.watch,
            evaluator=evaluator,
        )
        self.subscriber = self._session.subscriber

    @property
    def pipeline(self) -> Pipeline:
        return self._session.pipeline

    def _begin(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            self._gateway.begin_websocket(opening, self.subscriber)

    def close(self, reason: CloseReason, text: str) -> None:
        self._end(_close_frame(reason, text))

    def pause_writing(self) -> None:
        # Who does not take the answers is not asked for more questions: pings alone could fill the memory.
        self._transport.pause_reading()
        super().pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._session.is_behind:
            self._read_on()

    def _read_on(self) -> None:
        if not self.subscriber.is_paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._session.end()
        self._forget_parser()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._has_heard = True
        parser = self._parser
        if parser is None:
            parser = self._parser = Protocol(SERVER, state=State.OPEN, max_size=_MAX_FRAME_BYTES, logger=_frames)
            if self._deflate is not None:
                parser.extensions = [self._deflate]
        self._in_turn = 0
        parser.receive_data(data)
        if parser.state is State.OPEN:
            # Pongs go first, as a ping may come between the fragments of a message; a close comes after all answers.
            self._send_answers(parser)
        for event in parser.events_received():
            if isinstance(event, Frame):
                self._on_frame(parser, event)
        self._send_answers(parser)
        if parser.close_expected():
            self.subscriber.delivery.remove(self.subscriber)
            self._transport.close()
        elif not parser.reader.buffer and parser.current_size is None and not self._fragments:
            self._forget_parser()

    def _send_answers(self, parser: Protocol) -> None:
        """Send what the protocol itself has to say: pongs, and the last word of a connection."""
        if answer := b"".join(parser.data_to_send()):
            self.subscriber.delivery.send(self.subscriber, answer)

    def _forget_parser(self) -> None:
        if self._parser is not None:
            _take_apart(self._parser)
            self._parser = None

    def eof_received(self) -> None:
        self._transport.close()

    def _on_frame(self, parser: Protocol, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._is_text = frame.opcode is Opcode.TEXT
        elif frame.opcode is not Opcode.CONT:
            return
        self._fragments.append(bytes(frame.data))
        if not frame.fin:
            return
        message, self._fragments = b"".join(self._fragments), []
        said: str | bytes = message
        if self._is_text:
            try:
                said = message.decode()
            except UnicodeDecodeError:
                parser.fail(1007, "the message is not UTF-8")
                return
        self._in_turn += 1
        if self._in_turn > TURN_MESSAGES:
            self._session.receive_later(said)
        else:
            self._session.receive(said)

    def _say_goodbye(self) -> None:
        if not self._transport.is_closing():
            delay_ms = random.randint(*RETRY_MS)  # noqa: S311 - jitter, not a secret
            self.close(CloseReason.RESTARTING, f"restarting; come back in {delay_ms} ms")


def _take_apart(protocol: Protocol) -> None:
    """Its reader is a generator that refers back to it: end it, so that nothing waits for the collector."""
    protocol.parser.close()


def _close_frame(reason: CloseReason, text: str) -> bytes:
    # RFC 6455, section 5.5: a control frame carries at most 125 bytes, two of which are the code.
    return websocket_frame(reason.value.to_bytes(2, "big") + text.encode()[:123], "close")


def _response_head(server_state: ServerState, opening: Opening) -> bytes:
    lines = [STATUS_LINE[200]]
    framing = (b"transfer-encoding", b"chunked") if opening.format.is_chunked else (b"connection", b"close")
    for name, value in (*server_state.default_headers, *opening.headers, *opening.cors, framing):
        lines += (name, b": ", value, b"\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def make_http_protocol(
    gateway: Gateway, *, websocket_path: str | None, evaluator: Evaluator | None = None
) -> type[BoundedHttpProtocol]:
    """The protocol class for uvicorn's `http=`; a WebSocket path of None is not taken."""
    deflate = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)

    class HandoverProtocol(BoundedHttpProtocol):
        """uvicorn's HTTP protocol that lets go of the connections that the gateway takes."""

        visitors = gateway.visitors

        _is_handed_over = False
        _is_parsing = False

        def data_received(self, data: bytes) -> None:
            self._is_parsing = True
            super().data_received(data)
            self._is_parsing = False
            if self._is_handed_over:
                self._take_apart()

        def _take_apart(self) -> None:
            # The parser refers to this object and back: break the ring, so that nothing waits for the collector.
            self.parser = self.cycle = self.flow = self.transport = self.scope = None  # type: ignore[assignment]

        def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
            # Not `self.scope`: a client that sends its next request early has replaced it by the time of its turn.
            if cycle.scope["path"] in gateway.surfaces and cycle.scope["method"] == "GET":
                gateway.admission.admit(partial(self._open_stream, cycle, app))
            else:
                super()._start_asgi_task(cycle, app)

        def _open_stream(self, cycle: RequestResponseCycle, app: Any) -> None:
            if not self.transport.is_closing() and not self._hand_over_stream(cycle.scope):
                super()._start_asgi_task(cycle, app)

        def _hand_over_stream(self, scope: HTTPScope) -> bool:
            is_chunked = scope["http_version"] == "1.1"
            try:
                opening = gateway.admit_stream(
                    scope["path"], scope["query_string"], tuple(scope["headers"]), is_chunked=is_chunked
                )
            except Problem:
                return False
            self._let_go(SseStream(gateway, self.transport, self.server_state, opening))
            return True

        def _let_go(self, stream: _Stream) -> None:
            self.connections.discard(self)
            self._unset_keepalive_if_required()
            self._unexpect()
            self._is_handed_over = True
            stream.begin()
            if not self._is_parsing:
                self._take_apart()

        def handle_websocket_upgrade(self) -> None:
            try:
                parts = httptools.parse_url(self.url)
            except httptools.HttpParserInvalidURLError:
                self._refuse(Problem(400, "invalid_url", "the address of the request is none"))
                return
            path, query = parts.path.decode("ascii", "replace"), parts.query or b""
            if path == websocket_path:
                gateway.admission.admit(partial(self._hand_over_websocket, path, query, self.url, self.headers))
            else:
                super().handle_websocket_upgrade()

        def _hand_over_websocket(self, path: str, query: bytes, url: bytes, given: Headers) -> None:
            if self.transport.is_closing():
                return
            try:
                opening = gateway.admit_websocket(path, query, given)
            except Problem as problem:
                # Not left to the ordinary way, which logs every refused handshake as an error of the application.
                gateway.count_refusal("websocket", problem)
                self._refuse(problem)
                return
            chosen = None if opening.subprotocol is None else Subprotocol(opening.subprotocol)
            handshake = ServerProtocol(extensions=[deflate], select_subprotocol=lambda _, __: chosen, logger=_frames)
            headers = WebSocketHeaders([(name.decode("ascii"), value.decode("latin-1")) for name, value in given])
            response = handshake.accept(Request(url.decode("ascii", "replace"), headers))
            handshake.send_response(response)
            self.transport.write(b"".join(handshake.data_to_send()))
            _take_apart(handshake)
            if response.status_code != 101:
                gateway.websocket_door.leave()
                self.transport.close()
                return
            extension = next((e for e in handshake.extensions if isinstance(e, PerMessageDeflate)), None)
            self._let_go(WebSocketStream(gateway, self.transport, self.server_state, extension, opening, evaluator))

    return HandoverProtocol
