"""Takes admitted streams over from uvicorn.

uvicorn's documented option `http=` takes a protocol class. This one is uvicorn's own with two methods overridden: the
gateway decides about a GET of a stream endpoint and about an upgrade on the WebSocket path, and the connection then
continues under a slim protocol that only writes what the hub gives it, without a task, a queue or a middleware. Streams
the gateway refuses go on to the ASGI application with the refusal, and so do all other requests. Under another ASGI
server everything does.

This depends on uvicorn's internals, so its minor version is pinned; tests/api/streams/test_uvicorn_handover.py covers
what is used.
"""

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from ..http.direct import DirectWay
from ..http.problem import Problem
from ..http.request_head import KnownHeads, RequestHead, parse_head
from ..http.websocket_handshake import wrong_address
from ..limits.http_limits import BoundedHttpProtocol
from .connection import Connection
from .direct_protocol import DirectHttpProtocol
from .gateway import REFUSAL, Gateway, Headers
from .known_handshakes import HandshakeAnswer, KnownHandshake, KnownHandshakes, answer_handshake, has_key
from .sse_connection import SseConnection
from .websocket_connection import WebSocketConnection
from .websocket_evaluation import Evaluator

__all__ = ["make_http_protocol"]


# In the place of a problem: the request was counted, and not refused.
_COUNTED = Problem(500, "counted", "")


def make_http_protocol(
    gateway: Gateway,
    *,
    websocket_path: str | None,
    evaluator: Evaluator | None = None,
    direct: DirectWay | None = None,
) -> type[BoundedHttpProtocol]:
    """The protocol class for uvicorn's `http=`; with `websocket_path` None it refuses all upgrades. `direct` answers
    requests without ASGI; None leaves all of them to the application."""
    directly = direct

    def stream_head(data: bytes) -> RequestHead | None:
        head = parse_head(data)
        if head is None or head.method != "GET" or head.path not in gateway.endpoints or head.content_length:
            return None
        try:
            gateway.allowed_hosts.check("1.1", head.target, head.headers)
        except Problem:
            return None
        return head

    # After a restart ten thousand clients send the same head.
    streams = KnownHeads(stream_head)
    handshakes = KnownHandshakes(websocket_path, gateway.allowed_hosts)

    class HandoverProtocol(DirectHttpProtocol):
        """uvicorn's HTTP protocol, which hands the connections that the gateway admits over."""

        connection_counter = gateway.connection_counter
        cache_policy = gateway.cache_policy
        allowed_hosts = gateway.allowed_hosts
        direct = directly

        _is_handed_over = False
        _is_parsing = False

        # A common stream request that waits for its turn, and what came behind it.
        _waiting: bytes | None = None
        # Whether the request that is given to uvicorn's protocol was counted already, or what it is refused with.
        _counted: Problem | None = None

        def data_received(self, data: bytes) -> None:
            if self._waiting is None:
                super().data_received(data)
            else:
                self._waiting += data
                self.transport.pause_reading()

        def _take_requests(self, data: bytes) -> bytes:
            if data.startswith(b"GET ") and data.endswith(b"\r\n\r\n") and self._may_take():
                if has_key(data):
                    # Behind a proxy, uvicorn's way counts the client of each request.
                    found = None if self._is_proxy else handshakes.find(data)
                    if found is None:
                        return data
                    self._unset_keepalive_if_required()
                    self._is_ended = True
                    self._open_websocket(*found)
                    return b""
                head = streams.find(data)
                if head is not None and not self._is_proxy:
                    try:
                        gateway.count_request(self.client, head.headers)
                    except Problem as problem:
                        self._counted = problem
                        self._feed(data)  # to be refused by the application
                        return b""
                    self._cancel_deadline()
                    self._unset_keepalive_if_required()
                    self._waiting = data
                    gateway.handshake_rate.admit(partial(self._open_common_stream, head))
                    return b""
            return super()._take_requests(data)

        def _open_common_stream(self, head: RequestHead) -> None:
            """Open a stream for a head that was read before, without a scope and a cycle of uvicorn's."""
            data, self._waiting = self._waiting, None
            if data is None or self.transport.is_closing():
                return
            try:
                opening = gateway.admit_stream(head.path, head.query, head.headers, is_chunked=True)
            except Problem:
                self.transport.resume_reading()
                self._counted = _COUNTED
                self._feed(data)  # to be refused by the application
            else:
                self._hand_over(SseConnection(gateway, self.transport, self.server_state, opening))

        def _feed(self, data: bytes) -> None:
            self._is_parsing = True
            super()._feed(data)
            self._is_parsing = False
            if self._is_handed_over:
                self._break_cycles()

        def _break_cycles(self) -> None:
            if self.flow.read_paused or not self.transport.is_reading():
                # For a request behind that of the stream, which is ignored. Unread, the client's end goes unnoticed.
                self.transport.resume_reading()
            # The parser and this object refer to each other: without this, only the garbage collector would free them.
            self.parser = self.cycle = self.flow = self.transport = self.scope = None  # type: ignore[assignment]
            self._answering = self._last_answer = None

        def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
            # Not `self.scope`: a pipelined request may have replaced it by the time this one is started.
            scope = cycle.scope
            if scope["path"] not in gateway.endpoints or scope["method"] != "GET":
                super()._start_asgi_task(cycle, app)
                return
            counted, self._counted = self._counted, None
            try:
                if counted is None:
                    # Before it waits for its turn, so that one client cannot fill the queue.
                    gateway.count_request(self.client, tuple(scope["headers"]))
                elif counted is not _COUNTED:
                    raise counted
            except Problem as problem:
                scope[REFUSAL] = problem  # type: ignore[literal-required]
                super()._start_asgi_task(cycle, app)
            else:
                gateway.handshake_rate.admit(partial(self._open_stream, cycle, app))

        def _open_stream(self, cycle: RequestResponseCycle, app: Any) -> None:
            if not self.transport.is_closing() and not self._hand_over_stream(cycle.scope):
                super()._start_asgi_task(cycle, app)

        def _hand_over_stream(self, scope: HTTPScope) -> bool:
            is_chunked = scope["http_version"] == "1.1"
            try:
                opening = gateway.admit_stream(
                    scope["path"], scope["query_string"], tuple(scope["headers"]), is_chunked=is_chunked
                )
            except Problem as problem:
                scope[REFUSAL] = problem  # type: ignore[literal-required]
                return False
            self._hand_over(SseConnection(gateway, self.transport, self.server_state, opening))
            return True

        def _hand_over(self, stream: Connection) -> None:
            self.connections.discard(self)
            self._unset_keepalive_if_required()
            self._cancel_deadline()
            self._reader_deadline.stop()
            self._is_handed_over = self._is_ended = True
            stream.begin()
            if not self._is_parsing:
                self._break_cycles()

        def _upgrade(self) -> None:
            try:
                parts = httptools.parse_url(self.url)
            except httptools.HttpParserInvalidURLError:
                self._refuse(Problem(400, "invalid_url", "malformed request URL"))
                return
            path, query, headers = unquote(parts.path.decode("ascii", "replace")), parts.query or b"", self.headers
            try:
                gateway.count_request(self.client, headers)
                if path != websocket_path:
                    raise wrong_address(path, websocket_path, is_stream=path in gateway.endpoints)
            except Problem as problem:
                self._refuse_websocket(problem)
            else:
                answer = partial(answer_handshake, self.url, headers)
                gateway.handshake_rate.admit(partial(self._hand_over_websocket, path, query, headers, answer))

        def _open_websocket(self, known: KnownHandshake, key: bytes) -> None:
            """Open a WebSocket for a head that was read before, without uvicorn's parser."""
            head = known.head
            try:
                gateway.count_request(self.client, head.headers)
            except Problem as problem:
                self._refuse_websocket(problem)
            else:
                answer = partial(known.answer, key)
                gateway.handshake_rate.admit(
                    partial(self._hand_over_websocket, head.path, head.query, head.headers, answer)
                )

        def _refuse_websocket(self, problem: Problem) -> None:
            # Not passed on to uvicorn, which logs every refused handshake as an error of the application.
            gateway.count_refusal("websocket", problem)
            self._refuse(problem)

        def _hand_over_websocket(
            self, path: str, query: bytes, given: Headers, answer_with: Callable[[str | None], HandshakeAnswer]
        ) -> None:
            if self.transport.is_closing():
                return
            try:
                opening = gateway.admit_websocket(path, query, given)
            except Problem as problem:
                self._refuse_websocket(problem)
                return
            answer = answer_with(opening.subprotocol)
            self.transport.write(answer.response)
            if not answer.is_accepted:
                gateway.websocket_limit.leave()
                self.transport.close()
                return
            self._hand_over(
                WebSocketConnection(gateway, self.transport, self.server_state, answer.deflate, opening, evaluator)
            )

    return HandoverProtocol
