"""The change feed over HTTP: pull with a cursor and long polling, in three formats."""

import asyncio
import gzip
import hashlib
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from cdc.core.change_feed.cursor import Cursor
from cdc.core.change_feed.logged_change import ChangePage
from cdc.core.wire.changes import ChangeFormat, content_type, page_text
from cdc.core.wire.fields import MAX_TEXT
from cdc.core.wire.query import row_query

from ..access.authentication import grant_of
from ..http.content_encoding import accepts_gzip
from ..http.entity_tag import matches_tag
from ..http.problem import Problem
from ..streams.gateway import Gateway

__all__ = ["router"]

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

_NEXT_HEADER = "flagent-next"


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
    grant = grant_of(request)
    if not grant.opens_rows:
        raise Problem(403, "not_allowed", "this credential is not authorized to read rows of tables, only flags")
    cursor = None if after is None else Cursor.parse(after)
    gateway: Gateway = request.app.state.gateway
    query = row_query(table or (), where, param or (), columns)
    pipeline = await gateway.pipeline_of_tables(table or (), grant, None if cursor is None else cursor.log)
    filters = gateway.pipelines.row_filters(table or (), query, grant)
    page = await pipeline.changes.page(
        cursor, limit=limit, tables=table or (), grant=grant, filters=filters, wait_s=wait_ms / 1000
    )
    # The newest page still grows, and the oldest one, read without a cursor, is pruned.
    is_cacheable = cursor is not None and not page.is_open
    headers = {
        _NEXT_HEADER: str(page.next),
        "link": f'<{_next_query(request, page.next)}>; rel="next"',
        "vary": "accept-encoding",
    }
    compressed = accepts_gzip(request.headers.get("accept-encoding", "").encode())
    arguments = (format, page, request.app.version, compressed)
    is_large = len(page.changes) > _LARGE_CHANGES or page.characters > _LARGE_CHARACTERS
    body, encoding, etag = await asyncio.to_thread(_body, *arguments) if is_large else _body(*arguments)
    if is_cacheable:
        headers |= {"etag": etag, "cache-control": f"public, max-age={_CACHED_S}, immutable"}
        if matches_tag(request.headers.get("if-none-match", ""), etag.removeprefix("W/")):
            return Response(status_code=304, headers=headers)
    return Response(body, headers={**headers, **encoding, "content-type": content_type(format)})


def _body(format: ChangeFormat, page: ChangePage, version: str, compressed: bool) -> tuple[bytes, dict[str, str], str]:
    """The encoded body, its encoding headers, and the entity tag of its content."""
    plain = page_text(format, page, version).encode()
    etag = f'W/"{hashlib.sha256(plain).hexdigest()[:32]}"'
    if compressed and len(plain) >= _WORTH_COMPRESSING_BYTES:
        return gzip.compress(plain, _GZIP_LEVEL, mtime=0), {"content-encoding": "gzip"}, etag
    return plain, {}, etag


def _next_query(request: Request, next: Cursor) -> str:
    """The address of the next page, relative to the address of this one: a proxy may serve it under another path."""
    following = [pair for pair in request.query_params.multi_items() if pair[0] != "after"]
    return f"?{urlencode([*following, ('after', str(next))])}"
