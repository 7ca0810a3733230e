"""Answers plain requests to some paths as soon as they are read, without ASGI.

A plain request (`api.http.request_head`) that begins where a read begins is taken here, if its path is one that the
`DirectWay` answers; every other byte goes on to uvicorn's protocol. Requests are answered in their order: while an
answer is pending, on either way, those behind it take uvicorn's way and its queue. What the protocol keeps for the
client (deadlines, the timeout of an idle connection, the order of answers, the end at a shutdown) is the same on both.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from ..http.answer import Pieces
from ..http.direct import DirectHead, DirectWay, Written
from ..http.request_body import MAX_BODY_BYTES
from ..limits.http_limits import BoundedHttpProtocol

__all__ = ["DirectHttpProtocol"]

# The longest head that is looked for. A longer one is left to uvicorn's protocol, which has the real limit.
_MAX_HEAD_BYTES = 8 * 1024

# So many pipelined requests of one read are answered here; the rest waits for its turn on uvicorn's way.
_TURN_REQUESTS = 16

_CLOSE = b"connection: close\r\n"


class _PendingAnswer:
    """An answer that waits, in the place of uvicorn's cycle of a request and its response."""

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.message_event = _NoEvent()


class _NoEvent:
    """Further messages of a pending answer are not awaited: its request is complete."""

    def set(self) -> None:
        pass


class DirectHttpProtocol(BoundedHttpProtocol):
    """uvicorn's protocol with a shorter way for plain requests; `direct` None leaves all of them to the application."""

    direct: DirectWay | None = None

    # Of the request whose body is arriving: its head, what `begin` returned, and its body so far.
    _head: DirectHead | None = None
    _begun: Any = None
    _body: bytearray
    # What is still to arrive of a body whose request was refused already.
    _ignored_bytes = 0

    _is_mid_message = False
    _answered_at_s = 0.0

    # The lines of uvicorn's default headers, for the list that they were made from.
    _default_headers: list[tuple[bytes, bytes]] | None = None
    _default_lines = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if self.config.access_log:
            self.direct = None  # only uvicorn's way writes it
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._head is not None or self._ignored_bytes:
            data = self._take_body(data)
            if not data:
                return
        # Without data it is called by itself, to go on with what it has not parsed yet.
        if not data or (data := self._take_requests(data)):
            self._feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head = self._begun = None
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._is_mid_message = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._is_mid_message = False
        super().on_message_complete()

    def timeout_keep_alive_handler(self) -> None:
        # Not renewed for each request, which would cost more than the rest of its protocol.
        self.timeout_keep_alive_task = None
        remaining_s = self._answered_at_s + self.timeout_keep_alive - self.loop.time()
        if remaining_s <= 0:
            super().timeout_keep_alive_handler()
        elif self.cycle is None or self.cycle.response_complete:
            self.timeout_keep_alive_task = self.loop.call_later(remaining_s, self.timeout_keep_alive_handler)

    def _feed(self, data: bytes) -> None:
        """Give what was read to uvicorn's protocol."""
        super().data_received(data)

    def _may_take(self) -> bool:
        """Whether the connection is between two requests, and nothing holds back the answer to the next one."""
        cycle = self.cycle
        return (
            (cycle is None or cycle.response_complete)
            and not self._is_mid_message
            and not self._unparsed
            and not self._is_ended
            and self._unless_health is None
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def _take_requests(self, data: bytes) -> bytes:
        """Answer the requests at the begin of what was read; returns what is left to uvicorn's protocol."""
        at, size, direct = 0, len(data), self.direct
        if direct is None:
            return data
        for _ in range(_TURN_REQUESTS):
            if not self._may_take():
                break
            end = data.find(b"\r\n\r\n", at, at + _MAX_HEAD_BYTES) + 4
            if end == 3 or (head := direct.head(data[at:end])) is None or head.content_length > MAX_BODY_BYTES:
                break
            if self._is_proxy and self.connection_counter.attribute(self.transport, head.headers) is not None:
                break
            if self._deadline is not None:
                self._cancel_deadline()
            begun = direct.begin(head, self.client)
            at = end + head.content_length
            if at > size:
                self._await_body(head, begun, data[end:])
                return b""
            answer = begun if isinstance(begun, Written) else direct.finish(head, begun, data[end:at])
            if isinstance(answer, Written):
                self._write(answer, head)
            else:
                self._write_later(answer, head)
            if at == size:
                return b""
        return data[at:] if at else data

    def _await_body(self, head: DirectHead, begun: Any, body: bytes) -> None:
        self._unset_keepalive_if_required()
        self._start_deadline()
        self._is_head_open = False
        if type(begun) is Written:
            self._ignored_bytes = head.content_length - len(body)
            self._write(begun, head)
        else:
            self._head, self._begun, self._body = head, begun, bytearray(body)

    def _take_body(self, data: bytes) -> bytes:
        """Take what belongs to the body that is arriving; returns what comes after it."""
        if self._ignored_bytes:
            ignored = min(self._ignored_bytes, len(data))
            self._ignored_bytes -= ignored
            if not self._ignored_bytes:
                self._end_body()
            return data[ignored:]
        head = self._head
        assert head is not None
        missing = head.content_length - len(self._body)
        self._body += data if len(data) <= missing else data[:missing]
        if len(data) >= missing:
            body, begun = bytes(self._body), self._begun
            self._head = self._begun = None
            self._body = bytearray()
            self._end_body()
            if not self.transport.is_closing():
                self._finish(head, begun, body)
        return data[missing:]

    def _end_body(self) -> None:
        self._cancel_deadline()
        self._is_head_open = True

    def _finish(self, head: DirectHead, begun: Any, body: bytes) -> None:
        assert self.direct is not None
        answer = self.direct.finish(head, begun, body)
        if isinstance(answer, Written):
            self._write(answer, head)
        else:
            self._write_later(answer, head)

    def _write(self, answer: Written, head: DirectHead) -> None:
        keep_alive = head.keep_alive
        self.transport.write(self._encoded(answer, keep_alive=keep_alive))
        self.server_state.total_requests += 1
        if not keep_alive or answer.is_failure:
            self.transport.close()
            return
        self._answered_at_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _encoded(self, answer: Written, *, keep_alive: bool) -> bytes:
        default_headers = self.server_state.default_headers
        if default_headers is not self._default_headers:
            self._default_headers = default_headers
            self._default_lines = b"".join([b"%b: %b\r\n" % header for header in default_headers])
        status, before, after, body, _ = answer
        length = b"%d" % len(body) if after else b""
        close = b"\r\n" if keep_alive else _CLOSE + b"\r\n"
        whole = b"" if isinstance(body, Pieces) else body
        return b"".join((STATUS_LINE[status], self._default_lines, before, length, after, close, whole))

    def _write_later(self, answer: Coroutine[Any, Any, Written], head: DirectHead) -> None:
        self._unset_keepalive_if_required()
        pending: Any = _PendingAnswer(keep_alive=head.keep_alive)
        self.cycle = pending
        task = self.loop.create_task(self._wait(answer, pending))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _wait(self, answer: Coroutine[Any, Any, Written], pending: _PendingAnswer) -> None:
        written = await answer
        if self.flow.write_paused and not self.transport.is_closing():
            await self.flow.drain()
        pending.response_started = True
        if self.transport.is_closing():
            return
        self.transport.write(self._encoded(written, keep_alive=pending.keep_alive))
        if isinstance(written.body, Pieces):
            await self._write_pieces(written.body)
            if self.transport.is_closing():
                return
        pending.response_complete = True
        if not pending.keep_alive or written.is_failure:
            self.transport.close()
        self._answered_at_s = self.loop.time()
        self.on_response_complete()

    async def _write_pieces(self, body: Pieces) -> None:
        """Write at the speed of the client; ends early once the connection does."""
        for part in body.parts:
            self.transport.write(part)
            await asyncio.sleep(0)
            if self.flow.write_paused:
                await self.flow.drain()
            if self.transport.is_closing():
                return
