"""A request that was read completely, as the routes see it that are answered with and without ASGI."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Concatenate, Generic, NamedTuple, ParamSpec, Protocol

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from cdc.auth.identity import Identity
from cdc.core.flags.catalog import Catalog
from cdc.core.log.point_in_time import parse_point_in_time
from cdc.core.log.position import EventId
from cdc.core.subscription.grant import Grant
from cdc.evaluation.evaluator import Evaluator
from cdc.node.pipeline import Pipeline

from ..access.authentication import identity_of
from ..http.answer import Answer, Pieces
from ..http.request_body import read_body
from ..http.staleness import mark_stale
from ..limits.path_prefix import MOUNT
from ..streams.gateway import Gateway, not_ready

__all__ = ["POSITION_HEADER", "DirectRoute", "PlainRequest", "RequestLine", "Services", "to_response"]

Header = tuple[bytes, bytes]

POSITION_HEADER = b"flagent-position"
"""The response header with the position, as an event id, of a response about the past."""

P = ParamSpec("P")


class ExportedBody(Protocol):
    """An export; `routes.export` has it."""

    @property
    def here(self) -> EventId: ...
    @property
    def size_bytes(self) -> int: ...
    def pieces(self) -> Iterable[bytes]: ...
    async def gzipped(self) -> bytes: ...


class ExportSource(Protocol):
    """The exports of the present position; `routes.export` has them."""

    async def caught_up(self) -> None: ...
    async def body(self, schema: str, grant: Grant, /) -> ExportedBody: ...


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes answer from."""

    pipeline: Pipeline
    evaluator: Evaluator
    gateway: Gateway
    exports: ExportSource
    version: str


class RequestLine(Protocol):
    """What of the head of a request the routes use."""

    @property
    def path(self) -> str: ...
    @property
    def query(self) -> bytes: ...
    @property
    def headers(self) -> tuple[Header, ...]: ...


class PlainRequest:
    """`body` is empty where the route reads none; `peer` is the address of the client's connection; `mount` is the path
    under which another program has mounted the application, empty if none has."""

    __slots__ = ("_head", "body", "identity", "mount", "peer", "services", "stale_ms")

    def __init__(self, services: Services, head: RequestLine, identity: Identity, peer: str, mount: str = "") -> None:
        self.services = services
        self._head = head
        self.identity = identity
        self.peer = peer
        self.mount = mount
        self.body = b""
        self.stale_ms: int | None = None

    @property
    def path(self) -> str:
        return self._head.path

    @property
    def query(self) -> bytes:
        return self._head.query

    @property
    def headers(self) -> tuple[Header, ...]:
        return self._head.headers

    @property
    def grant(self) -> Grant:
        return self.identity.grant

    def header(self, name: bytes) -> bytes:
        """The first value of a header, its name in lower case; empty without it."""
        return next((value for other, value in self._head.headers if other == name), b"")

    def present_catalog(self) -> Catalog:
        """The flags as this server holds them now; raises `Problem` (503, `not_ready`) until they have been read for
        the first time.

        A server that has lost its source answers with what it has read last, and the response is marked.
        """
        pipeline = self.services.pipeline
        if not pipeline.is_loaded:
            raise not_ready()
        freshness = pipeline.freshness()
        if not freshness.fresh:
            self.stale_ms = freshness.age_ms
        return pipeline.hub.catalog

    def public_path(self, path: str) -> str:
        """The path as the client of this request has to write it."""
        # Behind a proxy of its own, the program that this is mounted in is found first.
        return self.services.gateway.path_prefix.of(self.peer, self.headers) + self.mount + path

    async def catalog_at(self, at: object) -> tuple[Catalog, Header]:
        """The catalog as of a point in time, and the header of the response with its position; raises as
        `present_catalog` does, and as `TimeTravel.at` does."""
        self.present_catalog()
        catalog = await self.services.pipeline.past.at(parse_point_in_time("at", at))
        return catalog, (POSITION_HEADER, str(catalog.here).encode())


class _ScopeHead(NamedTuple):
    path: str
    query: bytes
    headers: tuple[Header, ...]


@dataclass(frozen=True, slots=True)
class DirectRoute(Generic[P]):
    """How a route answers: `answer` with the request and the parameters of its endpoint, at once or, where it has to
    wait, with an awaitable. It raises what the routes of the ASGI application may raise.

    `check` is applied to the grant before the body is read.
    """

    answer: Callable[Concatenate[PlainRequest, P], Answer | Awaitable[Answer]]
    reads_body: bool = False
    check: Callable[[Grant], None] | None = None

    async def respond(self, request: Request, *arguments: P.args, **parameters: P.kwargs) -> Response:
        """Answer a request of the ASGI application."""
        scope = request.scope
        plain = PlainRequest(
            request.app.state.services,
            _ScopeHead(scope["path"], scope["query_string"], tuple(scope["headers"])),
            identity_of(request),
            "" if request.client is None else request.client.host,
            scope.get(MOUNT, ""),
        )
        if self.check is not None:
            self.check(plain.grant)
        if self.reads_body:
            plain.body = await read_body(request)
        try:
            answer = self.answer(plain, *arguments, **parameters)
            return to_response(answer if isinstance(answer, Answer) else await answer)
        finally:
            if plain.stale_ms is not None:
                mark_stale(scope, plain.stale_ms)


def to_response(answer: Answer) -> Response:
    body = answer.body
    if isinstance(body, Pieces):
        response: Response = StreamingResponse(_in_turns(body.parts), answer.status)
    else:
        response = Response(status_code=answer.status)
        response.body = body
    response.raw_headers = answer.with_length()
    return response


async def _in_turns(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
        await asyncio.sleep(0)
