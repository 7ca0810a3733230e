"""Who may open a stream, and how it begins.

The same code decides for every kind of connection: those that were handed over to a slim protocol and those that run
through ASGI. It only needs the request's head, and does not wait.
"""

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, Protocol
from urllib.parse import parse_qsl

from cdc.auth.identity import Identity
from cdc.core.errors import InvalidEventId, InvalidInput
from cdc.core.log.position import EventId, LogId
from cdc.core.subscription.grant import Grant
from cdc.core.subscription.selection import Selection, Selections
from cdc.core.wire import sse
from cdc.core.wire.dialect import ENVELOPES, EVENTS, Dialect
from cdc.core.wire.format import Format
from cdc.core.wire.ofrep import COALESCED_REFETCH, REFETCH
from cdc.core.wire.query import StreamRequest, parse_stream_query
from cdc.core.wire.realtime import REALTIME
from cdc.fanout.subscriber import Sink, Subscriber
from cdc.node.pipeline import Pipeline
from cdc.node.pipelines import Pipelines

from ..access.authentication import AuthenticatedStream, Authentication
from ..access.cors import Cors
from ..access.credential import SUBPROTOCOL, TOKEN_PARAMETER
from ..access.credential_expiry import CredentialExpiryWatcher
from ..http.content_encoding import accepts_gzip
from ..http.problem import Problem
from ..limits.handshake_rate import HandshakeRateLimiter
from ..limits.http_limits import ConnectionCounter, Limits
from ..limits.request_rate import RequestRateLimiter

__all__ = [
    "RETRY_MS",
    "STREAM_HEADERS",
    "ConnectionLimit",
    "Gateway",
    "Opening",
    "SocketOpening",
    "StreamEndpointSpec",
    "own_surface",
    "realtime_surface",
    "refetch_surface",
]

Headers = Sequence[tuple[bytes, bytes]]

# When a client should come back: spread, so that they do not return in one wave.
RETRY_MS = (2_000, 4_000)

_RETRY_AFTER_S = (1, 5)

_MAX_QUERY_BYTES = 64 * 1024

# A stream that was opened just now is read for the first time.
_LOAD_S = 2.0

_COMMON_BYTES = 256

_LAST_EVENT_ID = "lastEventId"

# A holder who does not see every event gets one notice for all of such a window.
_GATHER_MS = 10

_INTEGER = re.compile(r"-?[0-9]{1,10}", re.ASCII)

STREAM_HEADERS: Headers = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
    (b"vary", b"accept-encoding"),
    (b"x-content-type-options", b"nosniff"),
)


class ConnectionLimit:
    """Counts what is open of one kind, and refuses what is beyond `limit`."""

    __slots__ = ("kind", "limit", "open_count")

    def __init__(self, kind: str, limit: int) -> None:
        self.kind = kind
        self.limit = limit
        self.open_count = 0

    def enter(self) -> None:
        """Raises `Problem` where there is no place; otherwise the caller must `leave` once."""
        if self.open_count >= self.limit:
            raise Problem(
                503,
                "too_many_connections",
                f"all {self.limit} {self.kind} connections are in use; come back later",
                retry_after_s=random.randint(*_RETRY_AFTER_S),  # noqa: S311 - jitter, not a secret
            )
        self.open_count += 1

    def leave(self) -> None:
        self.open_count -= 1


class StreamEndpointSpec(Protocol):
    """One path with an event stream: what its query means, and in which dialect it is answered."""

    def __call__(self, pairs: Sequence[tuple[str, str]], /) -> tuple[StreamRequest, Dialect]:
        """Raises `InvalidInput`."""

    def __hash__(self) -> int: ...


def own_surface(pairs: Sequence[tuple[str, str]]) -> tuple[StreamRequest, Dialect]:
    """Our own stream, with every parameter that it has."""
    request = parse_stream_query([pair for pair in pairs if pair[0] not in (_LAST_EVENT_ID, TOKEN_PARAMETER)])
    return request, ENVELOPES if request.envelope else EVENTS


def realtime_surface(pairs: Sequence[tuple[str, str]]) -> tuple[StreamRequest, Dialect]:
    """Flagent's realtime stream: `flagKey` and `flagID`, and an event must pass both where both are given.

    As there, numbers that are none and parameters that nobody knows are passed over.
    """
    keys = [value for name, value in pairs if name == "flagKey"]
    ids = [int(value) for name, value in pairs if name == "flagID" and _INTEGER.fullmatch(value)]
    if keys and ids:
        return StreamRequest(Selection.of(flag_keys=keys, within_ids=ids)), REALTIME
    return StreamRequest(Selection.of(flag_keys=keys, flag_ids=ids)), REALTIME


def refetch_surface(pairs: Sequence[tuple[str, str]]) -> tuple[StreamRequest, Dialect]:
    """OFREP's refetch notices, about every flag; a new stream begins with one, which is this dialect's snapshot."""
    return StreamRequest(Selection.of(), snapshot=True), REFETCH


@dataclass(frozen=True, slots=True)
class Opening:
    """An SSE stream that has been admitted and not yet begun."""

    pipeline: Pipeline
    request: StreamRequest
    last_event_id: str | None
    format: Format
    headers: Headers
    identity: Identity
    cors: Headers = ()


@dataclass(frozen=True, slots=True)
class SocketOpening:
    """A WebSocket that has been admitted; without an identity its first message must bring a credential."""

    entrant: AuthenticatedStream
    subprotocol: str | None


class Gateway:
    """The way into the hub, for every kind of connection."""

    def __init__(
        self,
        pipelines: Pipelines,
        sse_door: ConnectionLimit,
        websocket_door: ConnectionLimit,
        surfaces: Mapping[str, StreamEndpointSpec],
        *,
        guard: Authentication | None = None,
        origins: Cors | None = None,
    ) -> None:
        self.pipelines = pipelines
        self.guard = Authentication() if guard is None else guard
        self.origins = Cors(with_local=True) if origins is None else origins
        self.watch = CredentialExpiryWatcher(self.guard.authenticator)
        self.surfaces = surfaces
        self.admission = HandshakeRateLimiter(0)
        self.visitors = ConnectionCounter(Limits())
        self.quota = RequestRateLimiter()
        # Counted where the answer is given: one connection may be decided about twice, before and in ASGI.
        self.refusals: Counter[tuple[str, str]] = Counter()
        self.sse_door = sse_door
        self.websocket_door = websocket_door

    @property
    def is_loaded(self) -> bool:
        """Whether anybody can be let in: the flags, the streams and the keys have been read."""
        return self.pipelines.is_loaded and self.guard.is_loaded

    @property
    def is_ready(self) -> bool:
        """Whether clients may be sent here: loaded, and the flags proven current."""
        return self.is_loaded and self.pipelines.flags.is_ready

    # -- SSE ---------------------------------------------------------------------------------------------------

    def admit_stream(self, path: str, query: bytes, headers: Headers, *, is_chunked: bool) -> Opening:
        """Decide about a request for one of the `surfaces`; raises `Problem`. What is admitted must be left."""
        self._refuse_until_loaded()
        if len(query) > _MAX_QUERY_BYTES:
            raise Problem(414, "query_too_long", f"the query string is longer than {_MAX_QUERY_BYTES} bytes")
        last_event_id: str | None = None
        reads_gzip = False
        origin: bytes | None = None
        for name, value in headers:
            if name == b"last-event-id":
                # The header wins: a browser sends it along with an address that still has the first id in it.
                last_event_id = value.decode("utf-8", "replace")
            elif name == b"accept-encoding":
                reads_gzip = accepts_gzip(value)
            elif name == b"origin":
                origin = value
        entrant = self.guard.admit_stream(path, headers, query)
        assert entrant.identity is not None, "a stream cannot bring its credential later"
        surface = self.surfaces[path]
        request, dialect, given_id = (_asked_before if _is_common(query) else _asked)(surface, query)
        if last_event_id is None:
            last_event_id = given_id
        grant = entrant.identity.grant
        if grant.is_restricted:
            request = replace(request, selection=request.selection.within(grant))
            if dialect is REFETCH:
                request, dialect = replace(request, batch_ms=_GATHER_MS), COALESCED_REFETCH
        pipeline = self._feed_of(Selections((request.selection,)))
        self._refuse_until_loaded(pipeline)
        self.sse_door.enter()
        self.guard.use_up(entrant)
        format = _shared(Format(dialect, "gzip" if reads_gzip else "identity", is_chunked=is_chunked))
        coding: Headers = ((b"content-encoding", b"gzip"),) if reads_gzip else ()
        cors = self.origins.headers(origin)
        return Opening(
            pipeline, request, last_event_id or None, format, (*STREAM_HEADERS, *coding), entrant.identity, tuple(cors)
        )

    def subscriber_of(self, opening: Opening, sink: Sink) -> Subscriber:
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
            # A client that comes back is told at once that the replay has ended, and how fresh it is now.
            on_live=None if opening.last_event_id is None else opening.pipeline.sse_keepalive.send_now,
        )

    def begin_stream(self, opening: Opening, subscriber: Subscriber, head: bytes = b"") -> None:
        """Register the stream: its first blocks, and all that follows, go to its sink from here on.

        `head` is the response's own, sent in one write with the first blocks: each write is a system call, and of a
        connection's beginning the largest part.
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
        self.watch.add(subscriber, opening.identity)
        opening.pipeline.join(
            subscriber,
            first=[head + format.preamble() + format.frame(first)],
            last_event_id=opening.last_event_id,
            snapshot=opening.request.snapshot,
        )

    # -- WebSocket ---------------------------------------------------------------------------------------------

    def admit_websocket(self, path: str, query: bytes, headers: Headers) -> SocketOpening:
        """Decide about a WebSocket handshake; raises `Problem`. What is admitted must be left."""
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
        if not self.origins.allows_socket(origin, host):
            raise Problem(403, "origin_not_allowed", "pages of this origin may not open a WebSocket here")
        entrant = self.guard.admit_stream(path, headers, query, may_wait=True)
        self.websocket_door.enter()
        self.guard.use_up(entrant)
        is_offered = any(offer.strip() == SUBPROTOCOL.encode() for offer in offers.split(b","))
        return SocketOpening(entrant, SUBPROTOCOL if is_offered else None)

    def begin_websocket(self, opening: SocketOpening, subscriber: Subscriber) -> None:
        if opening.entrant.identity is not None:
            self.watch.add(subscriber, opening.entrant.identity)
        self.pipelines.flags.join(subscriber)

    # -- both --------------------------------------------------------------------------------------------------

    def leave(self, subscriber: Subscriber, pipeline: Pipeline) -> None:
        """The connection of a subscriber of this pipeline is gone."""
        pipeline.leave(subscriber)
        self.watch.remove(subscriber)
        (self.sse_door if subscriber.format.transport == "sse" else self.websocket_door).leave()

    def count_refusal(self, transport: Literal["sse", "websocket"], problem: Problem) -> None:
        """A stream of this kind was answered with a problem."""
        self.refusals[transport, problem.code] += 1

    async def pipeline_of_tables(self, tables: Sequence[str], grant: Grant, log: LogId | None) -> Pipeline:
        """The feed that has the changes of these tables, that of the flags where none are named; raises `Problem`.

        `log` is whose position the client has: where it is another one, the tables may have moved just now.
        """
        if not tables:
            return self.pipelines.flags
        self._refuse_until_loaded()
        await self.pipelines.learn_of(tables)
        selections = Selections((Selection.of(tables=tables).within(grant),))
        pipeline = self._feed_of(selections)
        if log is not None and log != pipeline.hub.catalog.log:
            await self.pipelines.look()
            pipeline = self._feed_of(selections)
        await pipeline.loaded(_LOAD_S)
        self._refuse_until_loaded(pipeline)
        return pipeline

    def _feed_of(self, selections: Selections) -> Pipeline:
        try:
            return self.pipelines.of(selections)
        except InvalidInput as error:
            raise Problem.of_input(error) from error

    def _refuse_until_loaded(self, pipeline: Pipeline | None = None) -> None:
        if not (self.pipelines if pipeline is None else pipeline).is_loaded:
            raise Problem(
                503,
                "not_ready",
                "the database has not been read yet; come back soon",
                retry_after_s=random.randint(*_RETRY_AFTER_S),  # noqa: S311 - jitter, not a secret
            )


def _shared(format: Format) -> Format:
    """One object for all who read alike; there are a dozen at most."""
    return _formats.setdefault(format, format)


_formats: dict[Format, Format] = {}


def _asked(surface: StreamEndpointSpec, query: bytes) -> tuple[StreamRequest, Dialect, str]:
    """What a query string asks for, and the last event id in it; raises `Problem`."""
    pairs = _pairs(query)
    try:
        request, dialect = surface(pairs)
    except InvalidInput as error:
        raise Problem.of_input(error) from error
    return request, dialect, next((value for name, value in pairs if name == _LAST_EVENT_ID), "")


# After a restart ten thousand clients ask the same few questions: read once, and one selection is shared by all.
_asked_before = lru_cache(maxsize=1024)(_asked)


def _is_common(query: bytes) -> bool:
    """Whether others may ask the same; what is only of this client, or long, is not kept."""
    return len(query) <= _COMMON_BYTES and _LAST_EVENT_ID.encode() not in query and b"token" not in query


def _pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=2_000)
    except ValueError as error:
        raise Problem(
            400, "invalid_query", "the query string is not valid UTF-8 in percent encoding, or too long"
        ) from error


def _comment_on(last_event_id: str) -> bytes:
    """Say what is wrong with an id that cannot be read, where a person who looks at the stream will see it."""
    try:
        EventId.parse(last_event_id)
    except InvalidEventId as error:
        line = str(error).translate({10: " ", 13: " "})
        return f": {line}\n\n".encode("utf-8", "replace")
    return b""
