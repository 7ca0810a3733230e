"""Admission of streams: authentication, limits, and the first messages.

Connections that were handed over and connections that run through ASGI share this code. It needs only the head of the
request, and never waits.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cdc.auth.identity import Identity
from cdc.core.errors import InvalidEventId, InvalidInput
from cdc.core.log.position import EventId, LogId
from cdc.core.subscription.grant import Grant
from cdc.core.subscription.selection import Selection, Selections
from cdc.core.wire import sse
from cdc.core.wire.format import Format
from cdc.core.wire.ofrep import COALESCED_REFETCH, REFETCH
from cdc.core.wire.query import StreamRequest
from cdc.errors import SourceError
from cdc.fanout.subscriber import Sink, Subscriber
from cdc.node.pipeline import Pipeline
from cdc.node.pipelines import Pipelines

from ..access.authentication import AuthenticatedStream, Authentication
from ..access.cors import Cors
from ..access.credential import SUBPROTOCOL
from ..access.credential_expiry import CredentialExpiryWatcher
from ..http.cache_policy import CachePolicy
from ..http.content_encoding import accepts_gzip
from ..http.problem import Problem
from ..limits.allowed_hosts import AllowedHosts
from ..limits.connection_limit import RETRY_AFTER_S, ConnectionLimit
from ..limits.handshake_rate import HandshakeRateLimiter
from ..limits.http_limits import ConnectionCounter, Limits
from ..limits.path_prefix import PathPrefix
from ..limits.request_rate import RequestRateLimiter
from .stream_query import StreamEndpointSpec, parse_query

__all__ = ["REFUSAL", "RETRY_MS", "STREAM_HEADERS", "Gateway", "SseOpening", "WebSocketOpening", "not_ready"]

Headers = Sequence[tuple[bytes, bytes]]

REFUSAL = "flagent_cdc.refusal"
"""The key in an ASGI scope of the `Problem` with which a request is to be answered: it was counted and refused before
it came to the application, and is not decided on again."""

# The range of the reconnection delay sent to clients: jittered, so that they do not return in one wave.
RETRY_MS = (2_000, 4_000)

_MAX_QUERY_BYTES = 64 * 1024

# How long a request waits for a lane that was created a moment ago to be loaded.
_LOAD_S = 2.0

# The window of OFREP notices for a restricted grant: one notice, whichever of the window's events are visible.
_RESTRICTED_REFETCH_MS = 10

STREAM_HEADERS: Headers = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
    (b"vary", b"accept-encoding"),
    (b"x-content-type-options", b"nosniff"),
)


@dataclass(frozen=True, slots=True)
class SseOpening:
    """An SSE stream that has been admitted and has not begun yet."""

    pipeline: Pipeline
    request: StreamRequest
    last_event_id: str | None
    format: Format
    headers: Headers
    identity: Identity
    cors: Headers = ()


@dataclass(frozen=True, slots=True)
class WebSocketOpening:
    """A WebSocket that has been admitted. Without an identity, its first message has to be `auth`."""

    authenticated: AuthenticatedStream
    subprotocol: str | None


class Gateway:
    """Admits SSE streams and WebSockets, and connects them with the hub of their lane."""

    def __init__(
        self,
        pipelines: Pipelines,
        sse_limit: ConnectionLimit,
        websocket_limit: ConnectionLimit,
        endpoints: Mapping[str, StreamEndpointSpec],
        *,
        authentication: Authentication | None = None,
        cors: Cors | None = None,
        handshake_rate: HandshakeRateLimiter | None = None,
        connection_counter: ConnectionCounter | None = None,
        request_rate: RequestRateLimiter | None = None,
        allowed_hosts: AllowedHosts | None = None,
        path_prefix: PathPrefix | None = None,
    ) -> None:
        """`endpoints` maps each path with an event stream to its meaning. Without the keyword arguments there is no
        authentication, pages of this machine may read, and nothing but the two connection limits is limited.
        """
        self.pipelines = pipelines
        self.sse_limit = sse_limit
        self.websocket_limit = websocket_limit
        self.endpoints = endpoints
        self.authentication = authentication or Authentication()
        self.credential_expiry = CredentialExpiryWatcher(self.authentication.authenticator)
        self.cache_policy = CachePolicy(is_private=self.authentication.authenticator is not None)
        self.cors = cors or Cors(with_local=True)
        self.handshake_rate = handshake_rate or HandshakeRateLimiter()
        self.connection_counter = connection_counter or ConnectionCounter(Limits())
        self.request_rate = request_rate or RequestRateLimiter()
        self.allowed_hosts = allowed_hosts or AllowedHosts()
        self.path_prefix = path_prefix or PathPrefix()
        self.refusals: Counter[tuple[str, str]] = Counter()

    @property
    def is_loaded(self) -> bool:
        """Whether streams can be admitted: the flags, the lanes and the API keys have been read."""
        return self.pipelines.is_loaded and self.authentication.is_loaded

    @property
    def is_ready(self) -> bool:
        """Whether the server should receive clients: it is loaded, and the freshness of its flags is confirmed."""
        return self.is_loaded and self.pipelines.flags.is_ready

    def count_request(self, client: tuple[str, int] | None, headers: Headers) -> None:
        """Count a request, handshakes and streams included, against the rate limits; raises `Problem`."""
        if self.request_rate.is_limited:
            self.request_rate.use(self.connection_counter.proxies.client(client[0] if client else "", headers))

    def admit_stream(self, path: str, query: bytes, headers: Headers, *, is_chunked: bool) -> SseOpening:
        """Admit a request to one of the `endpoints`; raises `Problem`. Without an exception the caller must call
        `leave` once."""
        self._refuse_until_loaded()
        if len(query) > _MAX_QUERY_BYTES:
            raise Problem(
                414,
                "query_too_long",
                f"the query string exceeds {_MAX_QUERY_BYTES} bytes; select less, or use a WebSocket",
            )
        last_event_id: str | None = None
        reads_gzip = False
        origin: bytes | None = None
        for name, value in headers:
            if name == b"last-event-id":
                # The header takes precedence: a browser that reconnects sends it with a URL that has the first id.
                last_event_id = value.decode("utf-8", "replace")
            elif name == b"accept-encoding":
                reads_gzip = accepts_gzip(value)
            elif name == b"origin":
                origin = value
        authenticated = self.authentication.admit_stream(path, headers, query)
        assert authenticated.identity is not None, "only a WebSocket may send its credential later"
        request, dialect, query_event_id = parse_query(self.endpoints[path], query)
        if last_event_id is None:
            last_event_id = query_event_id
        grant = authenticated.identity.grant
        if grant.is_restricted:
            request = replace(request, selection=request.selection.within(grant))
            if dialect is REFETCH:
                request, dialect = replace(request, batch_ms=_RESTRICTED_REFETCH_MS), COALESCED_REFETCH
        request = self._filtered(request)
        pipeline = self._pipeline_of(Selections((request.selection,)))
        self._refuse_until_loaded(pipeline)
        self.sse_limit.enter()
        self.authentication.consume_token(authenticated)
        format = _interned(Format(dialect, "gzip" if reads_gzip else "identity", is_chunked=is_chunked))
        encoding: Headers = ((b"content-encoding", b"gzip"),) if reads_gzip else ()
        cors = self.cors.headers(origin)
        return SseOpening(
            pipeline,
            request,
            last_event_id or None,
            format,
            (*STREAM_HEADERS, *encoding),
            authenticated.identity,
            tuple(cors),
        )

    async def look_for_tables(self, problem: Problem) -> None:
        """After a stream was refused: return where a table that is not known may have been watched a moment ago, once
        that was looked up; raises the problem where it is another one, or `not_ready` where it cannot be looked up."""
        if problem.code != "unknown_table":
            raise problem
        try:
            await self.pipelines.look_again()
        except SourceError as error:
            raise not_ready() from error

    def subscriber_of(self, opening: SseOpening, sink: Sink) -> Subscriber:
        """A subscriber for an admitted stream; it receives nothing before `begin_stream`."""
        request = opening.request
        return Subscriber(
            sink,
            opening.pipeline.hub,
            opening.format,
            Selections((request.selection,)),
            batch_s=request.batch_ms / 1000,
            overflow=request.overflow,
            stamps=request.stamps,
            grant=opening.identity.grant,
            # The end of a replay is followed by a keep-alive at once, with the position and the freshness.
            on_live=None if opening.last_event_id is None else opening.pipeline.sse_keepalive.send_now,
        )

    def begin_stream(self, opening: SseOpening, subscriber: Subscriber, head: bytes = b"") -> None:
        """Subscribe: the first blocks and all later events go to the subscriber's sink.

        `head` is the head of the response, sent in one write with the first blocks: a write is a system call, the
        largest part of the cost of a new stream.
        """
        format, hub = opening.format, opening.pipeline.hub
        freshness = hub.freshness()
        first = sse.retry(random.randint(*RETRY_MS))  # noqa: S311 - jitter, not a secret
        if opening.last_event_id is not None:
            first += _comment_on(opening.last_event_id)
        first += format.dialect.connected(
            hub.here(),
            is_fresh=freshness.fresh,
            age_ms=freshness.age_ms,
            heartbeat_ms=round(hub.limits.keep_alive_s * 1000),
        )
        self.credential_expiry.add(subscriber, opening.identity)
        opening.pipeline.join(
            subscriber,
            first=[head + format.preamble() + format.frame(first)],
            last_event_id=opening.last_event_id,
            snapshot=opening.request.snapshot,
        )

    def admit_websocket(self, path: str, query: bytes, headers: Headers) -> WebSocketOpening:
        """Admit a WebSocket handshake; raises `Problem`. Without an exception the caller must call `leave` once."""
        self._refuse_until_loaded()
        origin = host = None
        offers = b""
        for name, value in headers:
            if name == b"origin":
                origin = value
            elif name == b"host":
                host = value
            elif name == b"sec-websocket-protocol":
                offers += b"," + value
        if not self.cors.allows_socket(origin, host):
            raise Problem(
                403,
                "origin_not_allowed",
                "this origin may not open a WebSocket here; add it to FLAGENT_CDC_CORS_ORIGINS",
            )
        if not self.cors.trusts_cookie(origin, host):
            headers = [header for header in headers if header[0] != b"cookie"]
        authenticated = self.authentication.admit_stream(path, headers, query, may_wait=True)
        self.websocket_limit.enter()
        self.authentication.consume_token(authenticated)
        is_offered = any(offer.strip() == SUBPROTOCOL.encode() for offer in offers.split(b","))
        return WebSocketOpening(authenticated, SUBPROTOCOL if is_offered else None)

    def begin_websocket(self, opening: WebSocketOpening, subscriber: Subscriber) -> None:
        """Start the heartbeats of an admitted WebSocket; its session subscribes when the client asks for it."""
        if opening.authenticated.identity is not None:
            self.credential_expiry.add(subscriber, opening.authenticated.identity)
        self.pipelines.flags.join(subscriber)

    def leave(self, subscriber: Subscriber, pipeline: Pipeline) -> None:
        """Release an admitted stream of a pipeline: its subscription, its keep-alives and its place in the limit."""
        pipeline.leave(subscriber)
        self.credential_expiry.remove(subscriber)
        (self.sse_limit if subscriber.format.transport == "sse" else self.websocket_limit).leave()

    def count_refusal(self, transport: Literal["sse", "websocket"], problem: Problem) -> None:
        """Count a stream that was answered with a problem."""
        self.refusals[transport, problem.code] += 1

    async def pipeline_of_tables(self, tables: Sequence[str], grant: Grant, log: LogId | None) -> Pipeline:
        """The pipeline of the lane with these tables, of the default lane without any; raises `Problem`.

        `log` is the log of the client's cursor. When it is not the lane's, the tables may have moved a moment ago, and
        the lanes are read again.
        """
        if not tables:
            # Which rows are Flagent's, and so what a credential may read, is known from the catalog.
            self._refuse_until_loaded(self.pipelines.flags)
            return self.pipelines.flags
        self._refuse_until_loaded()
        await self.pipelines.learn_of(tables)
        selections = Selections((Selection.of(tables=tables).within(grant),))
        pipeline = self._pipeline_of(selections)
        if log is not None and log != pipeline.hub.catalog.log:
            await self.pipelines.look()
            pipeline = self._pipeline_of(selections)
        await pipeline.loaded(_LOAD_S)
        self._refuse_until_loaded(pipeline)
        return pipeline

    def _filtered(self, request: StreamRequest) -> StreamRequest:
        try:
            selection = self.pipelines.compiled(request.selection)
        except InvalidInput as error:
            raise Problem.of_input(error) from error
        return request if selection is request.selection else replace(request, selection=selection)

    def _pipeline_of(self, selections: Selections) -> Pipeline:
        try:
            return self.pipelines.of(selections)
        except InvalidInput as error:
            raise Problem.of_input(error) from error

    def _refuse_until_loaded(self, pipeline: Pipeline | None = None) -> None:
        if not (self.pipelines if pipeline is None else pipeline).is_loaded:
            raise not_ready()


def not_ready() -> Problem:
    """The answer to whatever needs the flags while they have not been read."""
    return Problem(
        503,
        "not_ready",
        "the server has not read the database yet; retry after the time in Retry-After",
        retry_after_s=random.randint(*RETRY_AFTER_S),  # noqa: S311 - jitter, not a secret
    )


def _interned(format: Format) -> Format:
    """One object for all streams of one format; there are a dozen at most."""
    return _formats.setdefault(format, format)


_formats: dict[Format, Format] = {}


def _comment_on(last_event_id: str) -> bytes:
    """A comment that explains an unreadable id to a person who looks at the stream; empty for a readable one."""
    try:
        EventId.parse(last_event_id)
    except InvalidEventId as error:
        line = str(error).translate({10: " ", 13: " "})
        return f": {line}\n\n".encode("utf-8", "replace")
    return b""
