"""The ASGI application: streams first, everything else through FastAPI.

The streams' paths are looked at before FastAPI's router: they carry ten thousand connects at once after a deploy, and
need none of what the router does. Their parameters still stand in the OpenAPI document.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from cdc.evaluator import Evaluator as CatalogEvaluator
from cdc.feed import Feed

from . import evaluation, export, flags, health, info, ofrep, realtime
from .gateway import Gateway
from .problem import Problem
from .session import Evaluator
from .socket import SocketEndpoint
from .stream import StreamEndpoint

__all__ = ["Application", "create_app"]


class Application:
    """Dispatches by path and type of connection; `web` is the FastAPI application."""

    def __init__(
        self, web: FastAPI, gateway: Gateway, *, websocket_path: str | None, evaluator: Evaluator | None = None
    ) -> None:
        self.web = web
        stream = StreamEndpoint(gateway)
        self._endpoints: dict[tuple[str, str], ASGIApp] = {("http", path): stream for path in gateway.surfaces}
        if websocket_path is not None:
            self._endpoints["websocket", websocket_path] = SocketEndpoint(gateway, evaluator)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get((scope["type"], scope.get("path", "")), self.web)
        await endpoint(scope, receive, send)


Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(
    feed: Feed, evaluator: CatalogEvaluator, gateway: Gateway, version: str, lifespan: Lifespan | None = None
) -> FastAPI:
    """The FastAPI part: every surface that is not a stream."""
    web = FastAPI(
        title="flagent-cdc",
        version=version,
        description="The change stream of feature flags in PostgreSQL.",
        redoc_url=None,
        lifespan=lifespan,
    )
    web.state.feed = feed
    web.state.evaluator = evaluator
    web.state.gateway = gateway
    web.state.exports = export.Exports(feed)
    web.add_exception_handler(Problem, _on_problem)
    web.add_exception_handler(HTTPException, _on_http_exception)
    web.add_exception_handler(RequestValidationError, _on_invalid_request)
    for room in (health, info, flags, export, evaluation, ofrep, realtime):
        web.include_router(room.router)
    return web


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    headers = {name.decode(): value.decode() for name, value in error.headers()}
    return Response(error.body(), error.status, headers)


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
