"""The snapshot of a selection as an ordinary request, for clients whose network allows no stream.

It is the message `snapshot` of the WebSocket, so its id is where a stream can resume. With `If-None-Match` and `waitMs`
it is a long poll: the response comes with the next commit.
"""

import asyncio
import hashlib
import json
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from cdc.core.errors import InvalidInput
from cdc.core.log.position import EventId, Position
from cdc.core.subscription.grant import Grant
from cdc.core.subscription.selection import Selections
from cdc.core.wire.deflate import COMMA, GzipPart, gzip_member
from cdc.core.wire.query import parse_stream_query
from cdc.core.wire.selected_flags import SelectedFlags
from cdc.core.wire.websocket import snapshot as snapshot_message
from cdc.errors import TooBusy
from cdc.node.pipeline import Pipeline

from ..access.authentication import grant_of
from ..http.content_encoding import accepts_gzip
from ..http.entity_tag import matches_tag
from ..http.problem import Problem
from ..http.query_string import decode_query
from .plain_request import POSITION_HEADER
from .present import present_catalog

__all__ = ["Snapshots", "router"]

router = APIRouter(prefix="/api/v1", tags=["flags"])

MAX_WAIT_MS = 60_000

_POSITION = POSITION_HEADER.decode()

_SELECTORS = ("flag", "flagID", "tag", "schema")

# Everyone who polls asks for the same few snapshots after a commit: each is encoded once. Clients choose their
# selections, so the number and the size are bounded.
_KEPT = 64
_KEPT_BYTES = 32 * 1024 * 1024

_PARAMETERS = [
    {
        "name": name,
        "in": "query",
        "required": False,
        "description": text,
        "schema": {"type": "array", "items": {"type": "string"}},
    }
    for name, text in {
        "flag": "Flags by key; repeatable. Selectors add up; without any, every flag is selected.",
        "flagID": "Flags by id; repeatable.",
        "tag": "Flags by tag; repeatable.",
        "schema": "Only flags of these schemas; repeatable.",
    }.items()
]


class Snapshots:
    """The encoded snapshots of the present position, by selection and encoding."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._here: EventId | None = None
        self._bodies: dict[tuple[Selections, bool], bytes] = {}
        self._bytes = 0

    async def body(self, selections: Selections, *, compressed: bool) -> tuple[EventId, bytes]:
        """The message `snapshot` of the selection, perhaps gzipped, and its id; made in turns."""
        here = self._pipeline.hub.catalog.here
        # Not by position alone: after a restore it is used again.
        if self._here != here:
            self._forget(here)
        key = (selections, compressed)
        body = self._bodies.get(key)
        if body is None:
            body = await self._make(selections, compressed=compressed)
            if self._here == here:
                if len(self._bodies) >= _KEPT or self._bytes + len(body) > _KEPT_BYTES:
                    self._forget(here)
                self._bodies[key] = body
                self._bytes += len(body)
        return here, body

    async def _make(self, selections: Selections, *, compressed: bool) -> bytes:
        catalog = self._pipeline.hub.catalog
        flags = SelectedFlags(catalog, selections)
        outline = snapshot_message(catalog.here, f'{{"position":"{flags.position}","flags":[\0]}}').encode()
        before, _, after = outline.partition(b"\0")
        texts: list[bytes] = []
        parts = [GzipPart.small(before)]
        for place in range(len(flags)):
            if place:
                await asyncio.sleep(0)
            if not compressed:
                if text := flags.text(place):
                    texts.append(text)
            elif part := flags.part(place):
                parts += [COMMA, part] if len(parts) > 1 else [part]
        if not compressed:
            return before + b",".join(texts) + after
        return gzip_member([*parts, GzipPart.small(after)])

    def _forget(self, here: EventId) -> None:
        self._here, self._bodies, self._bytes = here, {}, 0


@router.get(
    "/snapshot",
    summary="The flags of a selection, and where a stream resumes",
    openapi_extra={"parameters": _PARAMETERS},
)
async def get_snapshot(
    request: Request,
    wait_ms: Annotated[
        int,
        Query(
            alias="waitMs",
            ge=0,
            le=MAX_WAIT_MS,
            description="With `If-None-Match`: wait this long for a commit before the answer is 304.",
        ),
    ] = 0,
) -> Response:
    """The message `snapshot` of the WebSocket. `Flagent-Position` is its id; `Flagent-Stale` marks the answer of a
    server that has lost its source."""
    pipeline: Pipeline = request.app.state.pipeline
    snapshots: Snapshots = request.app.state.snapshots
    grant = grant_of(request)
    selections = _selections(request, grant)
    present_catalog(request)
    known = request.headers.get("if-none-match", "")
    if wait_ms and matches_tag(known, _tag(pipeline.hub.here(), grant)):
        await _next_commit(pipeline, wait_ms / 1000)
        present_catalog(request)
    etag = _tag(pipeline.hub.here(), grant)
    headers = {"vary": "accept-encoding"}
    if matches_tag(known, etag):
        return Response(status_code=304, headers={"etag": etag, **headers, _POSITION: str(pipeline.hub.here())})
    is_compressed = accepts_gzip(request.headers.get("accept-encoding", "").encode())
    here, body = await snapshots.body(selections, compressed=is_compressed)
    headers = {"etag": _tag(here, grant), **headers, _POSITION: str(here)}
    encoding = {"content-encoding": "gzip"} if is_compressed else {}
    return Response(body, media_type="application/json", headers={**headers, **encoding})


def _selections(request: Request, grant: Grant) -> Selections:
    pairs = [pair for pair in decode_query(request.scope["query_string"]) if pair[0] != "waitMs"]
    for name, _ in pairs:
        if name not in _SELECTORS:
            shown, allowed = name[:64], ", ".join((*_SELECTORS, "waitMs"))
            raise Problem(
                400,
                "unknown_parameter",
                f"there is no parameter {shown!r}; there are {allowed}",
                fields={"parameter": shown},
            )
    try:
        return Selections().add(parse_stream_query(pairs).selection.within(grant))
    except InvalidInput as error:
        raise Problem.of_input(error) from error


async def _next_commit(pipeline: Pipeline, timeout_s: float) -> None:
    try:
        await pipeline.changes.wait(Position(pipeline.hub.here().position + 1), timeout_s)
    except TooBusy:
        # The client polls again after its own interval; a refusal would make it wait longer.
        await asyncio.sleep(0)


def _tag(here: EventId, grant: Grant) -> str:
    """Weak, because the plain and the compressed text share it. Two grants never share one."""
    mark = (
        "" if not grant.is_restricted else "-" + hashlib.sha256(json.dumps(grant.to_json()).encode()).hexdigest()[:12]
    )
    return f'W/"{here}{mark}"'
