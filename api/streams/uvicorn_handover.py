"""Takes streams out of uvicorn's hands, once they are admitted.

uvicorn's documented option `http=` takes a protocol class. This one is uvicorn's own with two places overridden: a
GET of the stream's path and an upgrade on the WebSocket's path are decided by the gateway; the connection then goes
on under a slim protocol that only writes what the hub gives it, without a task, a queue or a middleware. Whatever the
gateway refuses, and every other request, takes uvicorn's ordinary way to the ASGI application, which decides the same
with the same code. That is also the way under any other ASGI server.

It touches uvicorn's inside, so uvicorn's minor version is pinned; tests/api/streams/test_uvicorn_handover.py holds what
is used.
"""

from functools import partial
from typing import Any

import httptools
from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from websockets.datastructures import Headers as WebSocketHeaders
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from ..http.problem import Problem
from ..limits.http_limits import BoundedHttpProtocol
from .connection import HandedOverConnection
from .gateway import Gateway, Headers
from .sse_connection import SseStream
from .websocket_connection import WebSocketStream, frames_logger, take_apart
from .websocket_session import Evaluator

__all__ = ["make_http_protocol"]


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

        def _let_go(self, stream: HandedOverConnection) -> None:
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
            handshake = ServerProtocol(
                extensions=[deflate], select_subprotocol=lambda _, __: chosen, logger=frames_logger
            )
            headers = WebSocketHeaders([(name.decode("ascii"), value.decode("latin-1")) for name, value in given])
            response = handshake.accept(Request(url.decode("ascii", "replace"), headers))
            handshake.send_response(response)
            self.transport.write(b"".join(handshake.data_to_send()))
            take_apart(handshake)
            if response.status_code != 101:
                gateway.websocket_door.leave()
                self.transport.close()
                return
            extension = next((e for e in handshake.extensions if isinstance(e, PerMessageDeflate)), None)
            self._let_go(WebSocketStream(gateway, self.transport, self.server_state, extension, opening, evaluator))

    return HandoverProtocol
