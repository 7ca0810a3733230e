"""The stream endpoints: what a query string selects on each, and in which dialect the stream answers."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from cdc.core.errors import InvalidInput
from cdc.core.subscription.selection import Selection
from cdc.core.text.kotlin_text import to_integer
from cdc.core.wire.dialect import ENVELOPES, EVENTS, Dialect
from cdc.core.wire.ofrep import REFETCH
from cdc.core.wire.query import StreamRequest, parse_stream_query
from cdc.core.wire.realtime import REALTIME

from ..access.credential import TOKEN_PARAMETER
from ..http.problem import Problem
from ..http.query_string import decode_query

__all__ = ["StreamEndpointSpec", "own_endpoint", "parse_query", "realtime_endpoint", "refetch_endpoint"]

_LAST_EVENT_ID = "lastEventId"

_MAX_CACHED_BYTES = 256


class StreamEndpointSpec(Protocol):
    """A stream endpoint: the meaning of its query parameters, and its dialect."""

    def __call__(self, pairs: Sequence[tuple[str, str]], /) -> tuple[StreamRequest, Dialect]:
        """Raises `InvalidInput`."""

    def __hash__(self) -> int: ...


def own_endpoint(pairs: Sequence[tuple[str, str]]) -> tuple[StreamRequest, Dialect]:
    """`/api/v1/events/stream`: every parameter of the protocol."""
    request = parse_stream_query([pair for pair in pairs if pair[0] not in (_LAST_EVENT_ID, TOKEN_PARAMETER)])
    return request, ENVELOPES if request.envelope else EVENTS


def realtime_endpoint(pairs: Sequence[tuple[str, str]]) -> tuple[StreamRequest, Dialect]:
    """Flagent's realtime stream: `flagKey` and `flagID`; with both, an event must match both.

    Unknown parameters and values of `flagID` that are not integers are ignored, as Flagent does. A new stream begins
    with a notice, which is the snapshot of this dialect.
    """
    keys = [value for name, value in pairs if name == "flagKey"]
    ids = [id for name, value in pairs if name == "flagID" and (id := to_integer(value, bits=64)) is not None]
    selection = (
        Selection.of(flag_keys=keys, within_ids=ids) if keys and ids else Selection.of(flag_keys=keys, flag_ids=ids)
    )
    return StreamRequest(selection, snapshot=True), REALTIME


def refetch_endpoint(pairs: Sequence[tuple[str, str]]) -> tuple[StreamRequest, Dialect]:
    """OFREP's refetch notices about all flags. A new stream begins with one, which is the snapshot of this dialect."""
    return StreamRequest(Selection.of(), snapshot=True), REFETCH


def parse_query(endpoint: StreamEndpointSpec, query: bytes) -> tuple[StreamRequest, Dialect, str]:
    """The request in a query string, its dialect and its `lastEventId` ("" without one); raises `Problem`.

    After a restart ten thousand clients send the same few queries: each is parsed once, and they share its selection.
    """
    # Long queries, and those that belong to one client, stay out of the cache.
    is_shared = len(query) <= _MAX_CACHED_BYTES and _LAST_EVENT_ID.encode() not in query and b"token" not in query
    return (_parse_cached if is_shared else _parse)(endpoint, query)


def _parse(endpoint: StreamEndpointSpec, query: bytes) -> tuple[StreamRequest, Dialect, str]:
    pairs = decode_query(query)
    try:
        request, dialect = endpoint(pairs)
    except InvalidInput as error:
        raise Problem.of_input(error) from error
    return request, dialect, next((value for name, value in pairs if name == _LAST_EVENT_ID), "")


_parse_cached = lru_cache(maxsize=1024)(_parse)
