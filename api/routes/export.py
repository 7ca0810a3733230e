"""The export that Flagent's clients refetch after every event; it is never older than an event any client received.

The client may have received the event from another process. So the newest position is read from the database first,
once for all requests that wait, and the response waits until this process has reached it. The text is encoded once per
position.
"""

import asyncio
import gzip
import hashlib
import json
import logging

from fastapi import APIRouter, Request, Response

from cdc.core.log.position import EventId, Position
from cdc.core.subscription.grant import Grant
from cdc.core.wire.export import export_text
from cdc.errors import SourceError
from cdc.node.pipeline import Pipeline

from ..access.authentication import grant_of
from ..http.content_encoding import accepts_gzip
from ..http.entity_tag import matches_tag
from .flags import newest_first, schema_of
from .present import present_catalog

__all__ = ["EXPORT_PATH", "Exports", "router"]

logger = logging.getLogger(__name__)

EXPORT_PATH = "/api/v1/export/eval_cache/json"

router = APIRouter(prefix="/api/v1", tags=["compatibility"])

# How long a response waits for this process to catch up with the database; after that it uses the present state.
_CATCH_UP_S = 2.0

_GZIP_LEVEL = 6

# Texts by schema, encoding and grant. Bounded, because every credential may have a different grant.
_TEXTS_KEPT = 64


class Exports:
    """The texts of the present position, by schema, encoding and grant."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._texts: dict[tuple[str, bool, Grant | None], tuple[EventId | None, bytes]] = {}
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

    def body(self, schema: str, *, compressed: bool, grant: Grant) -> bytes:
        """The export of a schema at the present position, limited to the flags of the grant."""
        catalog = self._pipeline.hub.catalog
        name = (schema, compressed, grant if grant.is_restricted else None)
        here, body = self._texts.get(name, (None, b""))
        # Not by position alone: after a restore it is used again.
        if here != catalog.here:
            # Clients evaluate with the export, so attachments are as evaluation returns them, with quotes REST strips.
            flags = (
                catalog.evaluation_view(schema, flag["id"]) or flag
                for flag in newest_first(catalog, schema)
                if grant.allows_flag(schema, flag)
            )
            text = export_text(flags, revision=str(catalog.here))
            body = text.encode()
            if compressed:
                body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
            if len(self._texts) >= _TEXTS_KEPT:
                self._texts.clear()
            self._texts[name] = (catalog.here, body)
        return body


@router.get(
    EXPORT_PATH.removeprefix(router.prefix),
    summary="Every enabled flag, in the format of Flagent's clients",
)
async def export(request: Request, schema: str | None = None) -> Response:
    pipeline: Pipeline = request.app.state.pipeline
    exports: Exports = request.app.state.exports
    present_catalog(request)
    await exports.caught_up()
    grant = grant_of(request)
    name = schema_of(present_catalog(request), schema, grant)
    # Weak, because the plain and the compressed text share it.
    etag = f'W/"{pipeline.hub.here()}{_mark(grant)}"'
    headers = {"etag": etag, "vary": "accept-encoding"}
    if matches_tag(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    compressed = accepts_gzip(request.headers.get("accept-encoding", "").encode())
    if compressed:
        headers["content-encoding"] = "gzip"
    return Response(
        exports.body(name, compressed=compressed, grant=grant), media_type="application/json", headers=headers
    )


def _mark(grant: Grant) -> str:
    """The part of the tag that differs between grants at one position."""
    if not grant.is_restricted:
        return ""
    return "-" + hashlib.sha256(json.dumps(grant.to_json()).encode()).hexdigest()[:12]
