"""The export that Flagent's clients refetch after every event; it is never older than an event any client received.

The client may have received the event from another process. So the newest position is read from the database first,
once for all requests that wait, and the response waits until this process has reached it. Each chunk of flags is
encoded and compressed once, so that after a change the export costs one chunk and a join.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from functools import partial

from fastapi import APIRouter, Request, Response

from cdc.core.log.position import EventId, Position
from cdc.core.subscription.grant import Grant
from cdc.core.wire.deflate import GzipMember, GzipPart
from cdc.core.wire.export import export_part, export_part_in_turns, export_parts
from cdc.errors import SourceError
from cdc.node.pipeline import Pipeline

from ..http.answer import JSON_TYPE, Answer, Pieces
from ..http.content_encoding import accepts_gzip
from ..http.entity_tag import matches_tag
from ..http.turns import Turns
from .flags import schema_of
from .plain_request import DirectRoute, PlainRequest

__all__ = ["EXPORT", "EXPORT_PATH", "Exports", "router"]

logger = logging.getLogger(__name__)

EXPORT_PATH = "/api/v1/export/eval_cache/json"

router = APIRouter(prefix="/api/v1", tags=["compatibility"])

# How long a response waits for this process to catch up with the database; after that it uses the present state.
_CATCH_UP_S = 2.0

# By schema and grant. Bounded, because every credential may have a different grant.
_BODIES_KEPT = 64
_BYTES_KEPT = 64 * 1024 * 1024

_EXPORT = "export"

_VARY = (b"vary", b"accept-encoding")


class ExportBody:
    """An export as of `here`, in parts that it shares with those of other positions."""

    def __init__(self, here: EventId, parts: Sequence[GzipPart], own_bytes: int) -> None:
        """`own_bytes` is the size of the parts that are not shared."""
        self.here = here
        self.own_bytes = own_bytes
        self._parts = parts
        self._gzipped: bytes | None = None

    @property
    def size_bytes(self) -> int:
        """The size of the uncompressed body."""
        return sum([part.size_bytes for part in self._parts])

    def pieces(self) -> Iterator[bytes]:
        """The uncompressed body, about fifty kilobytes at a time."""
        return (part.data for part in self._parts)

    async def gzipped(self) -> bytes:
        """The compressed body, joined once, in turns."""
        if self._gzipped is None:
            member = GzipMember()
            await Turns().list_of(map(member.add, self._parts))
            self._gzipped = member.data()
        return self._gzipped


class Exports:
    """The exports of the present position, by schema and grant."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._bodies: dict[tuple[str, Grant | None], ExportBody] = {}
        self._making: dict[tuple[str, Grant | None, EventId], asyncio.Task[ExportBody]] = {}
        self._query: asyncio.Task[Position] | None = None

    async def caught_up(self) -> None:
        """Wait until the catalog contains every commit that was visible at the time of the call."""
        try:
            newest = await asyncio.shield(self._newest_position())
        except SourceError as error:
            # The export is as old as the stream, and the stream reports that it is stale.
            logger.warning(
                "The export was served without reading the newest position",
                extra={"action": "export_stale", "reason": str(error)},
            )
            return
        await self._pipeline.hub.reached(newest, _CATCH_UP_S)

    def _newest_position(self) -> asyncio.Task[Position]:
        # A query sent before this call could miss commits since then. One that has not been sent yet serves all
        # requests until it is.
        if self._query is None:
            self._query = asyncio.create_task(self._read_newest_position())
        return self._query

    async def _read_newest_position(self) -> Position:
        await asyncio.sleep(0)
        self._query = None
        return await self._pipeline.newest_position()

    async def body(self, schema: str, grant: Grant) -> ExportBody:
        """The export of a schema at the present position, limited to the flags of the grant; made once, in turns."""
        here = self._pipeline.hub.catalog.here
        name = (schema, grant if grant.is_restricted else None)
        # Not by position alone: after a restore it is used again.
        body = self._bodies.get(name)
        if body is not None and body.here == here:
            return body
        key = (*name, here)
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = asyncio.create_task(self._make(schema, name[1]))
            making.add_done_callback(lambda _: self._making.pop(key, None))
        body = await asyncio.shield(making)
        kept = sum(each.own_bytes for each in self._bodies.values())
        if len(self._bodies) >= _BODIES_KEPT or kept + body.own_bytes > _BYTES_KEPT:
            self._bodies.clear()
        self._bodies[name] = body
        return body

    async def _make(self, schema: str, grant: Grant | None) -> ExportBody:
        catalog = self._pipeline.hub.catalog
        here, chunks = catalog.here, catalog.chunks(schema)
        parts: list[GzipPart] = []
        own_bytes = 0
        turns = Turns()
        # Newest first, as Flagent lists them.
        for _, chunk in reversed(chunks):
            flags = chunk.flags
            if grant is not None:
                flags = tuple([flag for flag in flags if grant.allows(schema, flag.key, flag.scope)])
            if len(flags) == len(chunk.flags):
                if not chunk.has_encoded(_EXPORT):
                    chunk.keep(_EXPORT, await turns.result_of(export_part_in_turns(flags)))
                parts.append(chunk.encoded(_EXPORT, partial(export_part, flags)))
            elif flags:
                parts.append(await turns.result_of(export_part_in_turns(flags)))
                own_bytes += len(parts[-1].block)
        return ExportBody(here, export_parts(parts, revision=str(here)), own_bytes)


@router.get(
    EXPORT_PATH.removeprefix(router.prefix),
    summary="Every enabled flag, in the format of Flagent's clients",
)
async def export(request: Request, schema: str | None = None) -> Response:
    return await EXPORT.respond(request, schema)


async def _answer(request: PlainRequest, schema: str | None) -> Answer:
    exports, pipeline = request.services.exports, request.services.pipeline
    request.present_catalog()
    await exports.caught_up()
    name = schema_of(request.present_catalog(), schema, request.grant)
    etag = _tag(pipeline.hub.here(), request.grant)
    if matches_tag(request.header(b"if-none-match").decode("latin-1"), etag):
        return Answer(304, ((b"etag", etag.encode()), _VARY), b"")
    body = await exports.body(name, request.grant)
    headers = (JSON_TYPE, (b"etag", _tag(body.here, request.grant).encode()), _VARY)
    if accepts_gzip(request.header(b"accept-encoding")):
        return Answer(200, (*headers, (b"content-encoding", b"gzip")), await body.gzipped())
    return Answer(200, headers, Pieces(body.pieces(), body.size_bytes))


EXPORT = DirectRoute(_answer)


def _tag(here: EventId, grant: Grant) -> str:
    """Weak, because the plain and the compressed body share it."""
    return f'W/"{here}{_mark(grant)}"'


def _mark(grant: Grant) -> str:
    """The part of the tag that differs between grants at one position."""
    if not grant.is_restricted:
        return ""
    return "-" + hashlib.sha256(json.dumps(grant.to_json()).encode()).hexdigest()[:12]
