"""The export that Flagent's clients refetch after every event: never older than any event that anyone was sent.

An event may have reached a client through another process than the one that answers now. So the newest position is
asked of the database first, once for all who wait, and the answer waits until this process has it. The text is made
once per position.
"""

import asyncio
import gzip
import hashlib
import json
import logging

from fastapi import APIRouter, Request, Response

from cdc.core.log.position import Position
from cdc.core.subscription.grant import Grant
from cdc.core.wire.export import export_text
from cdc.errors import SourceError
from cdc.node.pipeline import Pipeline

from ..access.authentication import grant_of
from ..http.content_encoding import accepts_gzip
from .flags import schema_of

__all__ = ["EXPORT_PATH", "Exports", "matches_tag", "router"]

logger = logging.getLogger(__name__)

EXPORT_PATH = "/api/v1/export/eval_cache/json"

router = APIRouter(prefix="/api/v1", tags=["compatibility"])

# How long an answer waits for this process to catch up with the database before it is given from what there is.
_CATCH_UP_S = 2.0

_GZIP_LEVEL = 6

# Texts for schemas, codings and grants; a grant of its own for everyone must not fill the memory.
_TEXTS_KEPT = 64


class Exports:
    """The texts of the present position, one per schema, plain and compressed."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._texts: dict[tuple[str, bool, Grant | None], tuple[Position, bytes]] = {}
        self._asking: asyncio.Task[Position] | None = None

    async def caught_up(self) -> None:
        """Wait until the catalog holds every commit that was visible when this was called."""
        try:
            newest = await asyncio.shield(self._ask())
        except SourceError as error:
            # The stream says that it is stale; the export is as old as the stream, so nothing is contradicted.
            logger.warning("Export without asking the database", extra={"action": "export_stale", "reason": str(error)})
            return
        await self._pipeline.hub.reached(newest, _CATCH_UP_S)

    def _ask(self) -> asyncio.Task[Position]:
        # A question that was asked before this call could miss what was committed meanwhile; one that has not been
        # sent yet serves everybody who comes until it is.
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_newest())
        return self._asking

    async def _ask_newest(self) -> Position:
        await asyncio.sleep(0)
        self._asking = None
        return await self._pipeline.newest_position()

    def body(self, schema: str, *, compressed: bool, grant: Grant) -> bytes:
        catalog = self._pipeline.hub.catalog
        name = (schema, compressed, grant if grant.is_restricted else None)
        position, body = self._texts.get(name, (Position(-1), b""))
        if position != catalog.position:
            # Clients evaluate with it, so attachments are as evaluation gives them, with quotes that REST strips.
            flags = (
                catalog.evaluation_view(schema, flag["id"]) or flag
                for _, flag in catalog.flags(schema)
                if grant.allows_flag(schema, flag)
            )
            text = export_text(flags, revision=str(self._pipeline.hub.here()))
            body = text.encode()
            if compressed:
                body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
            if len(self._texts) >= _TEXTS_KEPT:
                self._texts.clear()
            self._texts[name] = (catalog.position, body)
        return body


@router.get(
    EXPORT_PATH.removeprefix(router.prefix),
    summary="Every enabled flag, in the shape that every client of Flagent reads",
)
async def export(request: Request, schema: str | None = None) -> Response:
    pipeline: Pipeline = request.app.state.pipeline
    exports: Exports = request.app.state.exports
    await exports.caught_up()
    grant = grant_of(request)
    name = schema_of(pipeline.hub.catalog, schema, grant)
    # Weak: the same tag stands for the plain and for the compressed text.
    etag = f'W/"{pipeline.hub.here()}{_mark(grant)}"'
    headers = {"etag": etag, "cache-control": "no-cache", "vary": "accept-encoding"}
    if request.app.state.guard.authenticator is not None:
        headers |= {"cache-control": "private, no-cache", "vary": "accept-encoding, authorization, x-api-key, cookie"}
    if matches_tag(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    compressed = accepts_gzip(request.headers.get("accept-encoding", "").encode())
    if compressed:
        headers["content-encoding"] = "gzip"
    return Response(
        exports.body(name, compressed=compressed, grant=grant), media_type="application/json", headers=headers
    )


def _mark(grant: Grant) -> str:
    """Tells answers of one position to holders of different grants apart."""
    if not grant.is_restricted:
        return ""
    return "-" + hashlib.sha256(json.dumps(grant.to_json()).encode()).hexdigest()[:12]


def matches_tag(header: str, etag: str) -> bool:
    """Whether If-None-Match names this tag (RFC 9110, section 13.1.2: weak comparison)."""
    return header.strip() == "*" or any(
        tag.strip().removeprefix("W/") == etag.removeprefix("W/") for tag in header.split(",")
    )
