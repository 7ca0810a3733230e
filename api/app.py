"""The ASGI application: stream endpoints first, all other paths through FastAPI.

Stream endpoints bypass FastAPI's router: after a deploy they receive ten thousand connections at once, and they need
nothing the router does.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cdc.errors import InvalidInput, OutOfReach, SourceError, TooBusy
from cdc.evaluation.evaluator import Evaluator as CatalogEvaluator
from cdc.node.exposures import Exposures
from cdc.node.pipeline import Pipeline
from cdc.observe.status import StatusReader

from .access.authentication import IDENTITY
from .docs import Docs
from .http.answer import problem_answer
from .http.cache_policy import CachePolicy
from .http.failure import INTERNAL_ERROR, answer_to, invalid_parameter
from .http.problem import PROBLEM_SCHEMA, PROBLEM_TYPE, Problem
from .http.problem_response import send_problem
from .http.response_headers import complete_headers
from .http.staleness import staleness
from .http.websocket_handshake import upgrade_required, wrong_address
from .page import Page
from .routes import (
    changes,
    evaluation,
    export,
    exposures,
    flag_history,
    flags,
    health,
    info,
    ofrep,
    realtime,
    snapshot,
    status,
    stream_tokens,
    tables,
)
from .routes.metrics import Metrics
from .routes.metrics import router as metrics_router
from .routes.plain_request import Services, to_response
from .streams.asgi_sse import SseEndpoint
from .streams.asgi_websocket import WebSocketEndpoint, deny_websocket
from .streams.gateway import REFUSAL, Gateway
from .streams.websocket_evaluation import Evaluator

__all__ = ["Application", "create_app"]


class Application:
    """Dispatches by connection type and path, counts every request against the rate limits, and applies CORS and
    authentication to those that open no stream.

    `web` is the FastAPI application behind it.
    """

    def __init__(
        self, web: FastAPI, gateway: Gateway, *, websocket_path: str | None, evaluator: Evaluator | None = None
    ) -> None:
        self.web = web
        self._gateway = gateway
        stream = SseEndpoint(gateway)
        self._endpoints: dict[tuple[str, str], ASGIApp] = {("http", path): stream for path in gateway.endpoints}
        self._websocket_path = websocket_path
        if websocket_path is not None:
            self._endpoints["websocket", websocket_path] = WebSocketEndpoint(gateway, evaluator)
            self._endpoints["http", websocket_path] = _refuse_ordinary_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get((scope["type"], scope.get("path", "")))
        if scope["type"] != "lifespan" and REFUSAL not in scope:
            try:
                self._gateway.count_request(scope.get("client"), scope["headers"])
            except Problem as problem:
                scope[REFUSAL] = problem
        origin = next((value for name, value in scope.get("headers", ()) if name == b"origin"), None)
        send = _with_headers(send, scope, self._gateway.cors.headers(origin), self._gateway.cache_policy)
        if scope["type"] == "websocket" and endpoint is None:
            path, is_stream = scope["path"], scope["path"] in self._gateway.endpoints
            refusal = scope.get(REFUSAL) or wrong_address(path, self._websocket_path, is_stream=is_stream)
            self._gateway.count_refusal("websocket", refusal)
            await deny_websocket(scope, receive, send, refusal)
            return
        if scope["type"] != "http":
            await (endpoint or self.web)(scope, receive, send)
            return
        if REFUSAL in scope and (endpoint is None or scope["method"] == "OPTIONS"):
            await send_problem(send, scope[REFUSAL])
            return
        if scope["method"] == "OPTIONS" and origin is not None:
            await self._answer_preflight(origin, send)
            return
        if endpoint is None:
            try:
                scope[IDENTITY] = self._gateway.authentication.admit_request(scope["path"], scope["headers"])
            except Problem as problem:
                await send_problem(send, problem)
                return
        await (endpoint or self.web)(scope, receive, send)

    async def _answer_preflight(self, origin: bytes, send: Send) -> None:
        """Answer a preflight request. Browsers send it without credentials, so it requires none."""
        headers = self._gateway.cors.preflight(origin)
        if headers is None:
            await send_problem(
                send,
                Problem(
                    403,
                    "origin_not_allowed",
                    "this origin may not read responses here; add it to FLAGENT_CDC_CORS_ORIGINS",
                ),
            )
            return
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


async def _refuse_ordinary_request(scope: Scope, receive: Receive, send: Send) -> None:
    await send_problem(send, scope.get(REFUSAL) or upgrade_required(scope["path"]))


def _with_headers(send: Send, scope: Scope, cors: list[tuple[bytes, bytes]], cache_policy: CachePolicy) -> Send:
    """Add the headers for caches, CORS and security headers except those that the response already has, and the mark of
    a stale one."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            headers = complete_headers(
                message["headers"], stale_s=staleness(scope), cors=cors, cache_policy=cache_policy
            )
            message = {**message, "headers": headers}
        await send(message)

    return send_with_headers


# In this order: the first route that matches a path answers it.
_ROOMS = (
    health,
    info,
    flag_history,
    flags,
    changes,
    export,
    exposures,
    evaluation,
    ofrep,
    realtime,
    snapshot,
    status,
    stream_tokens,
    tables,
)

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
    usage: Exposures | None = None,
) -> FastAPI:
    """The FastAPI application, with every endpoint that is not a stream.

    `page` None leaves the page out, `metrics` None the endpoint `/metrics`; without `usage` no exposures are taken.
    """
    web = FastAPI(
        title="flagent-cdc",
        version=version,
        description="The change stream of feature flags in PostgreSQL.",
        # `Docs` serves the documentation without scripts of others.
        docs_url=None,
        redoc_url=None,
        # A redirect would repeat what the client put into Host and path, as in `//evil.example/`.
        redirect_slashes=False,
        lifespan=lifespan,
        # All errors are problems. Without this, FastAPI documents its own error format, 422.
        responses={
            "default": {
                "description": "The reason for the error",
                "content": {PROBLEM_TYPE: {"schema": PROBLEM_SCHEMA}},
            }
        },
    )
    exports = export.Exports(pipeline)
    web.state.services = Services(pipeline, evaluator, gateway, exports, version)
    web.state.pipeline = pipeline
    web.state.evaluator = evaluator
    web.state.gateway = gateway
    web.state.authentication = gateway.authentication
    web.state.status = StatusReader(pipeline) if status_reader is None else status_reader
    web.state.metrics = metrics
    web.state.exposures = usage
    web.state.snapshots = snapshot.Snapshots(pipeline)
    for kind in (Problem, InvalidInput, OutOfReach, TooBusy, SourceError):
        web.add_exception_handler(kind, _on_error)
    web.add_exception_handler(Exception, _on_failure)
    web.add_exception_handler(HTTPException, _on_http_exception)
    web.add_exception_handler(RequestValidationError, _on_invalid_request)
    routers = [each.router for each in _ROOMS]
    if metrics is not None:
        routers.append(metrics_router)
    routers.append(Docs().router)
    if page is not None:
        routers.append(page.router)
    for router in routers:
        web.include_router(router)
    web.state.routes = [route for router in routers for route in router.routes]
    return web


async def _on_error(request: Request, error: Exception) -> Response:
    answer = answer_to(error)
    assert answer is not None, "registered for our errors alone"
    return to_response(answer)


async def _on_failure(request: Request, error: Exception) -> Response:
    """Starlette raises the error again, and uvicorn logs it."""
    return to_response(INTERNAL_ERROR)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    detail = f"no such path: {request.url.path}" if error.status_code == 404 else str(error.detail)
    response = to_response(problem_answer(Problem(error.status_code, code, detail)))
    response.headers.update(error.headers or {})
    return response


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return to_response(problem_answer(invalid_parameter(error.errors())))
