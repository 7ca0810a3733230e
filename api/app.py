"""The ASGI application: streams first, everything else through FastAPI.

The streams' paths are looked at before FastAPI's router: they carry ten thousand connects at once after a deploy, and
need none of what the router does. Their parameters still stand in the OpenAPI document.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cdc.errors import InvalidInput, OutOfReach, SourceError, TooBusy
from cdc.evaluation.evaluator import Evaluator as CatalogEvaluator
from cdc.node.pipeline import Pipeline
from cdc.observe.status import StatusReader

from .access.authentication import IDENTITY
from .http.problem import PROBLEM_SCHEMA, PROBLEM_TYPE, Problem
from .http.problem_response import send_problem
from .page import Page
from .routes import (
    changes,
    evaluation,
    export,
    flag_history,
    flags,
    health,
    info,
    ofrep,
    realtime,
    status,
    stream_tokens,
    tables,
)
from .routes.metrics import Metrics
from .routes.metrics import router as metrics_router
from .streams.asgi_sse import StreamEndpoint
from .streams.asgi_websocket import SocketEndpoint
from .streams.gateway import Gateway
from .streams.websocket_session import Evaluator

__all__ = ["Application", "create_app"]

logger = logging.getLogger(__name__)


class Application:
    """Dispatches by path and type of connection; `web` is the FastAPI application."""

    def __init__(
        self, web: FastAPI, gateway: Gateway, *, websocket_path: str | None, evaluator: Evaluator | None = None
    ) -> None:
        self.web = web
        self._gateway = gateway
        stream = StreamEndpoint(gateway)
        self._endpoints: dict[tuple[str, str], ASGIApp] = {("http", path): stream for path in gateway.surfaces}
        if websocket_path is not None:
            self._endpoints["websocket", websocket_path] = SocketEndpoint(gateway, evaluator)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get((scope["type"], scope.get("path", "")))
        if scope["type"] != "http":
            await (endpoint or self.web)(scope, receive, send)
            return
        origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
        send = _dressed(send, self._gateway.origins.headers(origin))
        if scope["method"] == "OPTIONS" and origin is not None:
            await self._answer_preflight(origin, send)
            return
        if endpoint is None:
            try:
                peer = scope["client"][0] if scope.get("client") else ""
                self._gateway.quota.use(self._gateway.visitors.proxies.client(peer, scope["headers"]))
                scope[IDENTITY] = self._gateway.guard.admit_request(scope["path"], scope["headers"])
            except Problem as problem:
                await send_problem(send, problem)
                return
        await (endpoint or self.web)(scope, receive, send)

    async def _answer_preflight(self, origin: bytes, send: Send) -> None:
        """A browser asks before it sends; never with credentials, so nobody is asked for any."""
        headers = self._gateway.origins.preflight(origin)
        if headers is None:
            await send_problem(
                send, Problem(403, "origin_not_allowed", "pages of this origin may not read answers here")
            )
            return
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)

# Data is no page: nothing in it is to be run or shown as one.
_OF_DATA = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


def _dressed(send: Send, cors: list[tuple[bytes, bytes]]) -> Send:
    """Adds the headers that protect browsers, where the answer does not bring its own."""

    async def dressed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message["headers"])
            present = {name.lower(): value for name, value in headers}
            headers += [(name, value) for name, value in (*_SECURITY, *cors) if name == b"vary" or name not in present]
            if _OF_DATA[0] not in present and not present.get(b"content-type", b"").startswith(b"text/html"):
                headers.append(_OF_DATA)
            message = {**message, "headers": headers}
        await send(message)

    return dressed


Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(
    pipeline: Pipeline,
    evaluator: CatalogEvaluator,
    gateway: Gateway,
    version: str,
    lifespan: Lifespan | None = None,
    *,
    status_reader: StatusReader | None = None,
    page: Page | None = None,
    metrics: Metrics | None = None,
) -> FastAPI:
    """The FastAPI part: every surface that is not a stream."""
    web = FastAPI(
        title="flagent-cdc",
        version=version,
        description="The change stream of feature flags in PostgreSQL.",
        redoc_url=None,
        lifespan=lifespan,
        # Every refusal has this form; with it said, the framework does not promise one of its own, 422.
        responses={"default": {"description": "Why not", "content": {PROBLEM_TYPE: {"schema": PROBLEM_SCHEMA}}}},
    )
    web.state.pipeline = pipeline
    web.state.evaluator = evaluator
    web.state.gateway = gateway
    web.state.guard = gateway.guard
    web.state.status = StatusReader(pipeline) if status_reader is None else status_reader
    web.state.metrics = metrics
    web.state.exports = export.Exports(pipeline)
    web.add_exception_handler(Problem, _on_problem)
    for kind in (InvalidInput, OutOfReach, TooBusy, SourceError):
        web.add_exception_handler(kind, _on_error)
    web.add_exception_handler(HTTPException, _on_http_exception)
    web.add_exception_handler(RequestValidationError, _on_invalid_request)
    for room in (
        health,
        info,
        flag_history,
        flags,
        changes,
        export,
        evaluation,
        ofrep,
        realtime,
        status,
        stream_tokens,
        tables,
    ):
        web.include_router(room.router)
    if metrics is not None:
        web.include_router(metrics_router)
    if page is not None:
        web.include_router(page.router)
    return web


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    headers = {name.decode(): value.decode() for name, value in error.headers()}
    return Response(error.body(), error.status, headers)


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidInput | OutOfReach | TooBusy | SourceError)
    if isinstance(error, SourceError):
        logger.warning("A request without the database", extra={"action": "request_failed", "reason": str(error)})
    return await _on_problem(request, Problem.of(error))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    detail = f"there is nothing at {request.url.path}" if error.status_code == 404 else str(error.detail)
    response = await _on_problem(request, Problem(error.status_code, code, detail))
    response.headers.update(error.headers or {})
    return response


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    return await _on_problem(
        request, Problem(400, "invalid_parameter", f"{name}: {first['msg']}", fields={"parameter": name})
    )
