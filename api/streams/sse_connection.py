"""An SSE stream on a connection that was handed over by uvicorn."""

import asyncio
import random

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from cdc.fanout.subscriber import CloseReason
from cdc.node.pipeline import Pipeline

from .connection import Connection
from .gateway import RETRY_MS, Gateway, Headers, SseOpening

__all__ = ["SseConnection"]


class SseConnection(Connection):
    """An SSE stream over HTTP/1.1. Input from the client is ignored."""

    __slots__ = ("_opening", "_pipeline")

    def __init__(
        self, gateway: Gateway, transport: asyncio.Transport, server_state: ServerState, opening: SseOpening
    ) -> None:
        super().__init__(gateway, transport, server_state)
        self._opening: SseOpening | None = opening
        self._pipeline = opening.pipeline
        self.subscriber = gateway.subscriber_of(opening, self)

    @property
    def pipeline(self) -> Pipeline:
        return self._pipeline

    def _begin(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            headers = self._gateway.cache_policy.apply((*opening.headers, *opening.cors))
            head = _response_head(self._server_state, headers, is_chunked=opening.format.is_chunked)
            self._gateway.begin_stream(opening, self.subscriber, head)

    def close(self, reason: CloseReason, text: str) -> None:
        self._close_with(f": {text}\n\n".encode())

    def _close_for_restart(self) -> None:
        if not self._transport.is_closing():
            self._close_with(self.subscriber.format.dialect.closing(random.randint(*RETRY_MS)))  # noqa: S311 - jitter

    def _close_with(self, raw: bytes) -> None:
        format = self.subscriber.format
        self._finish(format.frame(raw) + (b"0\r\n\r\n" if format.is_chunked else b""))


def _response_head(server_state: ServerState, headers: Headers, *, is_chunked: bool) -> bytes:
    lines = [STATUS_LINE[200]]
    framing = (b"transfer-encoding", b"chunked") if is_chunked else (b"connection", b"close")
    for name, value in (*server_state.default_headers, *headers, framing):
        lines += (name, b": ", value, b"\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)
