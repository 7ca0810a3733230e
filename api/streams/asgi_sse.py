"""SSE streams through ASGI, for servers that cannot hand connections over."""

import random
from collections.abc import AsyncIterator

import anyio
from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from cdc.fanout.subscriber import CloseReason

from ..http.problem import Problem
from ..http.problem_response import send_problem
from .asgi_sink import AsgiSink
from .gateway import REFUSAL, RETRY_MS, Gateway, SseOpening

__all__ = ["SseEndpoint"]

# A client that does not read for this long is disconnected.
_SEND_TIMEOUT_S = 60.0

# The period over which a server that shuts down spreads the ends of its streams.
_FAREWELL_S = 1.5

_METHOD_NOT_ALLOWED = Problem(
    405, "method_not_allowed", "event streams support GET only", more_headers=((b"allow", b"GET, HEAD"),)
)


class SseEndpoint:
    """The ASGI application of all stream endpoints; answers with SSE, or with a problem."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await send_problem(send, _METHOD_NOT_ALLOWED)
            return
        try:
            opening = await self._admit(scope)
        except Problem as problem:
            self._gateway.count_refusal("sse", problem)
            await send_problem(send, problem)
            return
        if scope["method"] == "HEAD":
            self._gateway.sse_limit.leave()
            await send({"type": "http.response.start", "status": 200, "headers": list(opening.headers)})
            await send({"type": "http.response.body", "body": b""})
            return
        closing = anyio.Event()
        sink = AsgiSink()
        sink.subscriber = subscriber = self._gateway.subscriber_of(opening, sink)
        response = EventSourceResponse(
            self._blocks(opening, sink, closing),
            headers={name.decode(): value.decode() for name, value in opening.headers if name != b"content-type"},
            ping=0,
            send_timeout=_SEND_TIMEOUT_S,
            shutdown_event=closing,
            shutdown_grace_period=_FAREWELL_S + 1,
        )
        try:
            await response(scope, receive, send)
        finally:
            self._gateway.leave(subscriber, opening.pipeline)

    async def _admit(self, scope: Scope) -> SseOpening:
        try:
            if (refusal := scope.get(REFUSAL)) is not None:
                raise refusal
            return self._gateway.admit_stream(scope["path"], scope["query_string"], scope["headers"], is_chunked=False)
        except Problem as problem:
            await self._gateway.look_for_tables(problem)
        return self._gateway.admit_stream(scope["path"], scope["query_string"], scope["headers"], is_chunked=False)

    async def _blocks(self, opening: SseOpening, sink: AsgiSink, closing: anyio.Event) -> AsyncIterator[bytes]:
        assert sink.subscriber is not None
        self._gateway.begin_stream(opening, sink.subscriber)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_close_at, closing, sink)
            async for chunk in sink.chunks():
                yield chunk
            tasks.cancel_scope.cancel()
        if sink.closed_for is CloseReason.RESTARTING:
            yield opening.format.frame(opening.format.dialect.closing(random.randint(*RETRY_MS)))  # noqa: S311 - jitter, not a secret


async def _close_at(closing: anyio.Event, sink: AsgiSink) -> None:
    await closing.wait()
    await anyio.sleep(random.uniform(0, _FAREWELL_S))  # noqa: S311 - jitter, not a secret
    sink.close(CloseReason.RESTARTING, "restarting")
