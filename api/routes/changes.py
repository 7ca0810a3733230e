"""The change feed over HTTP: pull with a cursor and long polling, in three formats."""

import asyncio
import gzip
import hashlib
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from starlette.datastructures import QueryParams

from cdc.core.change_feed.cursor import Cursor
from cdc.core.change_feed.logged_change import ChangePage
from cdc.core.wire.changes import ChangeFormat, content_type, page_text
from cdc.core.wire.fields import MAX_TEXT
from cdc.core.wire.query import row_query

from ..http.answer import Answer
from ..http.content_encoding import accepts_gzip
from ..http.entity_tag import matches_tag
from ..http.problem import Problem
from .plain_request import DirectRoute, PlainRequest

__all__ = ["CHANGES", "router"]

router = APIRouter(prefix="/api/v1", tags=["changes"])

MAX_LIMIT = 5_000
MAX_WAIT_MS = 60_000
_MAX_TABLES = 100

# Larger pages are encoded in another thread, so that they do not delay the streams.
_LARGE_CHANGES = 100
_LARGE_CHARACTERS = 256 * 1024

_CACHED_S = 86_400

_GZIP_LEVEL = 5
_WORTH_COMPRESSING_BYTES = 1024

_NEXT_HEADER = b"flagent-next"


@router.get("/changes", summary="Changes of rows, in commit order")
async def get_changes(
    request: Request,
    after: Annotated[
        str | None, Query(description="A cursor; without it, the feed starts at the oldest change.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 500,
    wait_ms: Annotated[int, Query(alias="waitMs", ge=0, le=MAX_WAIT_MS)] = 0,
    table: Annotated[
        list[Annotated[str, Query(min_length=1, max_length=MAX_TEXT)]] | None,
        Query(description="`schema.table` or `table`; repeatable.", max_length=_MAX_TABLES),
    ] = None,
    where: Annotated[str | None, Query(description="A condition for the rows of the one `table`.")] = None,
    param: Annotated[list[str] | None, Query(description="The values of `$1`, `$2`, … in `where`.")] = None,
    columns: Annotated[str | None, Query(description="Only these columns, with commas between them.")] = None,
    format: ChangeFormat = ChangeFormat.JSON,
) -> Response:
    """`next` is the cursor of the next page, also when this one is empty; the headers Flagent-Next and Link
    contain it too.

    A page that does not reach the end of the change log never changes, and may be cached.
    """
    return await CHANGES.respond(request, after, limit, wait_ms, table, where, param, columns, format)


async def _answer(
    request: PlainRequest,
    after: str | None,
    limit: int,
    wait_ms: int,
    table: Sequence[str] | None,
    where: str | None,
    param: Sequence[str] | None,
    columns: str | None,
    format: ChangeFormat,
) -> Answer:
    grant = request.grant
    if not grant.opens_rows:
        raise Problem(403, "not_allowed", "this credential is not authorized to read rows of tables, only flags")
    cursor = None if after is None else Cursor.parse(after)
    gateway, log = request.services.gateway, None if cursor is None else cursor.log
    query = row_query(table or (), where, param or (), columns)
    pipeline = await gateway.pipeline_of_tables(table or (), grant, log)
    filters = gateway.pipelines.row_filters(table or (), query, grant)
    page = await pipeline.changes.page(
        cursor, limit=limit, tables=table or (), grant=grant, filters=filters, wait_s=wait_ms / 1000
    )
    # The newest page still grows, and the oldest one, read without a cursor, is pruned.
    is_cacheable = cursor is not None and not page.is_open
    headers: tuple[tuple[bytes, bytes], ...] = (
        (_NEXT_HEADER, str(page.next).encode()),
        (b"link", f'<{_next_query(request, page.next)}>; rel="next"'.encode()),
        (b"vary", b"accept-encoding"),
    )
    compressed = accepts_gzip(request.header(b"accept-encoding"))
    arguments = (format, page, request.services.version, compressed)
    is_large = len(page.changes) > _LARGE_CHANGES or page.characters > _LARGE_CHARACTERS
    body, encoding, etag = await asyncio.to_thread(_body, *arguments) if is_large else _body(*arguments)
    if is_cacheable:
        lifetime = f"public, max-age={_CACHED_S}, immutable"
        headers = (*headers, (b"etag", etag.encode()), (b"cache-control", lifetime.encode()))
        if matches_tag(request.header(b"if-none-match").decode("latin-1"), etag.removeprefix("W/")):
            return Answer(304, headers, b"")
    return Answer(200, ((b"content-type", content_type(format).encode()), *headers, *encoding), body)


CHANGES = DirectRoute(_answer)


def _body(
    format: ChangeFormat, page: ChangePage, version: str, compressed: bool
) -> tuple[bytes, tuple[tuple[bytes, bytes], ...], str]:
    """The encoded body, its encoding headers, and the entity tag of its content."""
    plain = page_text(format, page, version).encode()
    etag = f'W/"{hashlib.sha256(plain).hexdigest()[:32]}"'
    if compressed and len(plain) >= _WORTH_COMPRESSING_BYTES:
        return gzip.compress(plain, _GZIP_LEVEL, mtime=0), ((b"content-encoding", b"gzip"),), etag
    return plain, (), etag


def _next_query(request: PlainRequest, next: Cursor) -> str:
    """The address of the next page, relative to the address of this one: a proxy may serve it under another path."""
    following = [pair for pair in QueryParams(request.query).multi_items() if pair[0] != "after"]
    return f"?{urlencode([*following, ('after', str(next))])}"
