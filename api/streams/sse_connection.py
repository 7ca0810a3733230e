"""An SSE stream on a connection that was handed over by uvicorn."""

import asyncio
import random
from functools import lru_cache

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from cdc.fanout.subscriber import CloseReason
from cdc.node.pipeline import Pipeline

from ..http.cache_policy import CachePolicy
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
            lines = _lines(
                self._gateway.cache_policy, (*opening.headers, *opening.cors), is_chunked=opening.format.is_chunked
            )
            head = _response_head(self._server_state, lines)
            self._gateway.begin_stream(opening, self.subscriber, head)

    def close(self, reason: CloseReason, text: str) -> None:
        self._close_with(f": {text}\n\n".encode())

    def _close_for_restart(self) -> None:
        if not self._transport.is_closing():
            self._close_with(self.subscriber.format.dialect.closing(random.randint(*RETRY_MS)))  # noqa: S311 - jitter

    def _close_with(self, raw: bytes) -> None:
        format = self.subscriber.format
        self._finish(format.frame(raw) + (b"0\r\n\r\n" if format.is_chunked else b""))


def _response_head(server_state: ServerState, lines: bytes) -> bytes:
    default = b"".join([b"%b: %b\r\n" % header for header in server_state.default_headers])
    return b"".join((STATUS_LINE[200], default, lines))


@lru_cache(maxsize=64)
def _lines(cache_policy: CachePolicy, headers: Headers, *, is_chunked: bool) -> bytes:
    """The lines of the headers of a response, and the empty one; nearly all streams have the same."""
    framing = (b"transfer-encoding", b"chunked") if is_chunked else (b"connection", b"close")
    return b"".join([b"%b: %b\r\n" % header for header in (*cache_policy.apply(headers), framing)]) + b"\r\n"
