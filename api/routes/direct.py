"""Requests that are answered in the protocol, without ASGI, and how: one table.

Under uvicorn a request of the table takes neither the router nor the middlewares nor the response objects of Starlette,
which together cost thirty times as much as an evaluation. The same functions decide on both ways: limits, credentials,
parameters, answers, problems, headers. tests/api/routes/test_direct.py compares the bytes.
"""

import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, cast

from fastapi.dependencies.utils import request_params_to_args
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams

from ..http.answer import Answer, problem_answer
from ..http.direct import Client, Written
from ..http.failure import INTERNAL_ERROR, answer_to, invalid_parameter
from ..http.problem import Problem
from ..http.request_head import parse_head
from ..http.response_headers import complete_headers
from . import changes, evaluation, export, flags, health, ofrep
from .plain_request import DirectRoute, PlainRequest, Services

__all__ = ["DIRECT_ROUTES", "DirectRoutes", "Span", "Traced"]

DIRECT_ROUTES: Mapping[Callable[..., Any], DirectRoute[Any]] = {
    changes.get_changes: changes.CHANGES,
    evaluation.evaluate: evaluation.EVALUATE,
    evaluation.evaluate_batch: evaluation.EVALUATE_BATCH,
    export.export: export.EXPORT,
    flags.get_flag: flags.FLAG,
    flags.list_flags: flags.FLAGS,
    health.healthz: health.HEALTHZ,
    ofrep.evaluate_all: ofrep.EVALUATE_ALL,
    ofrep.evaluate_one: ofrep.EVALUATE_ONE,
}
"""The endpoints that are answered here; all others are left to the application."""

# Heads are kept by their bytes. Those that are different each time, by a trace id for example, push the others out in
# the order of their arrival; these are parsed again.
_HEADS_KEPT = 512
_MAX_HEAD_BYTES = 2048

_BLOCKS_KEPT = 512

Headers = tuple[tuple[bytes, bytes], ...]


class Traced(Protocol):
    """An open trace span of a request."""

    def routed(self, path: str, /) -> None:
        """The request matched this route."""

    def answered(self, status: int, /) -> None: ...


Span = Callable[[str, str, Headers], AbstractContextManager[Traced]]
"""Opens the trace span of a request, from its method, path and headers."""


@dataclass(frozen=True, slots=True, eq=False)
class _Head:
    """A parsed head with everything about its requests that is the same each time.

    `arguments` are the parameters of the route; `problem` is why they were refused.
    """

    content_length: int
    keep_alive: bool
    method: str
    path: str
    query: bytes
    headers: Headers
    origin: bytes | None
    route: DirectRoute[Any]
    route_path: str
    arguments: Mapping[str, Any]
    problem: Problem | None


class DirectRoutes:
    """A `DirectWay` for the routes in `table`, which maps endpoints to how they answer.

    `routes` are all routes of the application, in its order: the first one that matches a path answers it, as in
    Starlette, and if that is not in the table, the application does.
    """

    def __init__(
        self,
        services: Services,
        routes: Sequence[APIRoute],
        table: Mapping[Callable[..., Any], DirectRoute[Any]],
        *,
        span: Span | None = None,
    ) -> None:
        self._services = services
        self._gateway = services.gateway
        self._routes = routes
        self._table = table
        self._span = span
        self._heads: dict[bytes, _Head | None] = {}
        self._blocks: dict[tuple[Headers, bytes | None, int | None, int], tuple[bytes, bytes]] = {}

    def head(self, data: bytes) -> _Head | None:
        try:
            return self._heads[data]
        except KeyError:
            pass
        if b"sec-websocket-key:" in data.lower():
            return None  # different each time
        head = self._parsed(data)
        if len(data) <= _MAX_HEAD_BYTES:
            if len(self._heads) >= _HEADS_KEPT:
                del self._heads[next(iter(self._heads))]
            self._heads[data] = head
        return head

    def begin(self, head: _Head, client: Client) -> PlainRequest | Written:
        gateway = self._gateway
        try:
            gateway.count_request(client, head.headers)
            identity = gateway.authentication.admit_request(head.path, head.headers)
        except Problem as problem:
            return self._refused(head, problem)
        peer = "" if client is None else client[0]
        request = PlainRequest(self._services, head, identity, peer)
        # In the order of the application: there, FastAPI reads the parameters before the route is called.
        if head.problem is None and head.route.check is not None:
            try:
                head.route.check(identity.grant)
            except Problem as problem:
                return self._refused(head, problem, route=head.route_path)
        return request

    def finish(self, head: _Head, begun: PlainRequest, body: bytes) -> Written | Coroutine[Any, Any, Written]:
        begun.body = body
        if self._span is not None:
            return self._traced(self._span, head, begun)
        try:
            if head.problem is not None:
                raise head.problem
            answer = head.route.answer(begun, **head.arguments)
        except Exception as error:
            return self._failed(head, begun, error)
        if type(answer) is Answer:
            return self._written(head, answer, begun.stale_ms)
        return self._later(head, begun, cast(Awaitable[Answer], answer))

    async def _later(self, head: _Head, request: PlainRequest, answer: Awaitable[Answer]) -> Written:
        try:
            return self._written(head, await answer, request.stale_ms)
        except Exception as error:
            return self._failed(head, request, error)

    async def _traced(self, span: Span, head: _Head, request: PlainRequest) -> Written:
        with span(head.method, head.path, head.headers) as traced:
            traced.routed(head.route_path)
            try:
                if head.problem is not None:
                    raise head.problem
                answer = head.route.answer(request, **head.arguments)
                done = answer if isinstance(answer, Answer) else await answer
                written = self._written(head, done, request.stale_ms)
            except Exception as error:
                written = self._failed(head, request, error)
            traced.answered(written.status)
            return written

    def _refused(self, head: _Head, problem: Problem, *, route: str | None = None) -> Written:
        if self._span is not None:
            with self._span(head.method, head.path, head.headers) as traced:
                if route is not None:
                    traced.routed(route)
                traced.answered(problem.status)
        return self._written(head, problem_answer(problem), None)

    def _failed(self, head: _Head, request: PlainRequest, error: Exception) -> Written:
        """The answer of the application's exception handlers."""
        answer = answer_to(error)
        if answer is not None:
            return self._written(head, answer, request.stale_ms)
        # As uvicorn reports a failure of the application.
        logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=error)
        return self._written(head, INTERNAL_ERROR, request.stale_ms)._replace(is_failure=True)

    def _written(self, head: _Head, answer: Answer, stale_ms: int | None) -> Written:
        status, headers, body = answer
        stale_s = None if stale_ms is None else stale_ms // 1000
        name = (headers, head.origin, stale_s, status)
        block = self._blocks.get(name)
        if block is None:
            block = self._block(answer, head.origin, stale_s)
            if len(self._blocks) >= _BLOCKS_KEPT:
                self._blocks.clear()
            self._blocks[name] = block
        # `tuple.__new__` takes half the time of the constructor.
        return tuple.__new__(Written, (status, block[0], block[1], body, False))

    def _block(self, answer: Answer, origin: bytes | None, stale_s: int | None) -> tuple[bytes, bytes]:
        gateway = self._gateway
        headers = complete_headers(
            answer.with_length(), stale_s=stale_s, cors=gateway.cors.headers(origin), cache_policy=gateway.cache_policy
        )
        before: list[bytes] = []
        after: list[bytes] = []
        lines = before
        for name, value in headers:
            if name == b"content-length":
                lines.append(b"content-length: ")
                lines = after
                lines.append(b"\r\n")
            else:
                lines.append(b"%b: %b\r\n" % (name, value))
        return b"".join(before), b"".join(after)

    def _parsed(self, data: bytes) -> _Head | None:
        plain = parse_head(data)
        if plain is None:
            return None
        try:
            self._gateway.allowed_hosts.check("1.1", plain.target, plain.headers)
        except Problem:
            return None  # refused before it comes to a route
        found = self._routed(plain.method, plain.path)
        if found is None:
            return None
        route, direct, path_parameters = found
        arguments, problem = _arguments(route, path_parameters, plain.query)
        return _Head(
            content_length=plain.content_length,
            keep_alive=plain.keep_alive,
            method=plain.method,
            path=plain.path,
            query=plain.query,
            headers=plain.headers,
            origin=next((value for name, value in plain.headers if name == b"origin"), None),
            route=direct,
            route_path=route.path,
            arguments=arguments,
            problem=problem,
        )

    def _routed(self, method: str, path: str) -> tuple[APIRoute, DirectRoute[Any], Mapping[str, Any]] | None:
        """The route that Starlette finds, if it is in the table, and its parameters in the path."""
        for route in self._routes:
            match = route.path_regex.match(path)
            if match is not None and method in (route.methods or ()):
                direct = self._table.get(route.endpoint)
                if direct is None:
                    return None
                convertors = route.param_convertors
                return route, direct, {name: convertors[name].convert(text) for name, text in match.groupdict().items()}
        return None


def _arguments(
    route: APIRoute, path_parameters: Mapping[str, Any], query: bytes
) -> tuple[Mapping[str, Any], Problem | None]:
    """The arguments of an endpoint, as FastAPI reads them, or the problem with them."""
    arguments, errors = request_params_to_args(route.dependant.path_params, path_parameters)
    more, more_errors = request_params_to_args(route.dependant.query_params, QueryParams(query))
    if errors or more_errors:
        return {}, invalid_parameter([*errors, *more_errors])
    return {**arguments, **more}, None
