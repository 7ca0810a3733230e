"""What the query string of a stream asks for, on each path with an event stream."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol
from urllib.parse import parse_qsl

from cdc.core.errors import InvalidInput
from cdc.core.subscription.selection import Selection
from cdc.core.wire.dialect import ENVELOPES, EVENTS, Dialect
from cdc.core.wire.ofrep import REFETCH
from cdc.core.wire.query import StreamRequest, parse_stream_query
from cdc.core.wire.realtime import REALTIME

from ..access.credential import TOKEN_PARAMETER
from ..http.problem import Problem

__all__ = [
    "StreamEndpointSpec",
    "asked",
    "asked_before",
    "is_common",
    "own_surface",
    "realtime_surface",
    "refetch_surface",
]

_COMMON_BYTES = 256

_LAST_EVENT_ID = "lastEventId"

_INTEGER = re.compile(r"-?[0-9]{1,10}", re.ASCII)


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


def asked(surface: StreamEndpointSpec, query: bytes) -> tuple[StreamRequest, Dialect, str]:
    """What a query string asks for, and the last event id in it; raises `Problem`."""
    pairs = _pairs(query)
    try:
        request, dialect = surface(pairs)
    except InvalidInput as error:
        raise Problem.of_input(error) from error
    return request, dialect, next((value for name, value in pairs if name == _LAST_EVENT_ID), "")


# After a restart ten thousand clients ask the same few questions: read once, and one selection is shared by all.
asked_before = lru_cache(maxsize=1024)(asked)


def is_common(query: bytes) -> bool:
    """Whether others may ask the same; what is only of this client, or long, is not kept."""
    return len(query) <= _COMMON_BYTES and _LAST_EVENT_ID.encode() not in query and b"token" not in query


def _pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=2_000)
    except ValueError as error:
        raise Problem(
            400, "invalid_query", "the query string is not valid UTF-8 in percent encoding, or too long"
        ) from error
