"""The captured tables over HTTP: their list, their row schemas, and all rows of one."""

import asyncio
import logging
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.types import Receive, Scope, Send

from cdc.change_feed.backfill import Backfill, Backfills
from cdc.core.change_feed.row_schema import row_schema
from cdc.core.log.captured_table import CapturedTable
from cdc.core.row_filter.row_filter import RowFilter
from cdc.core.text.json_text import encode
from cdc.core.wire.changes import ChangeFormat
from cdc.core.wire.query import row_query
from cdc.core.wire.rows import CONTENT_TYPE, RowLines
from cdc.errors import InvalidInput, SourceError, TooBusy
from cdc.node.pipelines import Pipelines

from ..access.authentication import grant_of
from ..http.problem import Problem
from ..limits.path_prefix import public_path

__all__ = ["router"]

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/api/v1", tags=["tables"])

_SCHEMA_TYPE = "application/schema+json"


@router.get("/tables", summary="The captured tables")
async def list_tables(request: Request) -> dict[str, Any]:
    """`columns` are the visible columns, null if all are visible. `key` is empty for a table without a key."""
    tables: Backfills = request.app.state.pipeline.tables
    return {"tables": [_described(table) for table in await tables.captured(grant_of(request))]}


def _described(table: CapturedTable) -> dict[str, Any]:
    return {
        "name": table.name,
        "schema": table.schema,
        "table": table.table,
        "kind": "flagent" if table.is_of_flags else "watched",
        "key": list(table.key),
        "columns": None if table.included is None else list(table.included),
        "masked": list(table.masked),
        "operations": list(table.operations),
        "isFiltered": table.is_filtered,
        "lane": table.lane.name,
    }


@router.get("/tables/{name:path}/schema", summary="JSON Schema (2020-12) of a table's rows")
async def get_schema(request: Request, name: str) -> Response:
    tables: Backfills = request.app.state.pipeline.tables
    table = await _find(request, name)
    columns, types = await tables.columns(table)
    path = public_path(request, f"/api/v1/tables/{table.name}/schema")
    document = row_schema(table, columns, types, id=str(request.base_url).removesuffix("/") + path)
    return Response(encode(document), media_type=_SCHEMA_TYPE)


@router.get(
    "/tables/{name:path}/rows", summary="Every row of a watched table, and the cursor of the changes after them"
)
async def get_rows(
    request: Request,
    name: str,
    format: Annotated[ChangeFormat, Query(description="`json` or `debezium`")] = ChangeFormat.JSON,
    where: Annotated[str | None, Query(description="Only rows that satisfy this condition.")] = None,
    param: Annotated[list[str] | None, Query(description="The values of `$1`, `$2`, … in `where`.")] = None,
    columns: Annotated[str | None, Query(description="Only these columns, with commas between them.")] = None,
) -> Response:
    """Newline-delimited JSON. The last line has `next`, the cursor for `/api/v1/changes`; without it the response is
    incomplete."""
    if format is ChangeFormat.CLOUDEVENTS:
        raise InvalidInput("format must be json or debezium for the rows of a table", name="format")
    table, grant = await _find(request, name), grant_of(request)
    pipelines: Pipelines = request.app.state.gateway.pipelines
    await pipelines.learn_of((table.name,))
    query = row_query((table.name,), where, param or (), columns)
    filter = pipelines.row_filters((table.name,), query, grant).get(table.name)
    if filter is None and grant.rules_of(table.schema, table.name):
        raise Problem(404, "unknown_table", f"no table {name[:64]!r} is watched")
    return _Rows(request.app.state.pipeline.tables, table, filter, format, request.app.version)


async def _find(request: Request, name: str) -> CapturedTable:
    tables: Backfills = request.app.state.pipeline.tables
    try:
        return await tables.find(name, grant_of(request))
    except InvalidInput as error:
        if error.code != "unknown_table":
            raise
        raise Problem(404, error.code, str(error)) from error


class _Rows(Response):
    """Streams the rows at the speed of the client: each part is sent before the next one is read."""

    def __init__(
        self, tables: Backfills, table: CapturedTable, filter: RowFilter | None, format: ChangeFormat, version: str
    ) -> None:
        self._tables = tables
        self._table = table
        self._filter = filter
        self._format = format
        self._version = version
        self._has_begun = False
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        disconnected = asyncio.ensure_future(_until_disconnected(receive))
        try:
            async with self._tables.backfill(self._table, self._filter) as backfill:
                await self._send(backfill, send, disconnected)
        except (TimeoutError, TooBusy, SourceError) as error:
            if not self._has_begun:
                raise
            # The response has begun and cannot become an error: the client sees that its last line is missing.
            logger.warning(
                "A backfill was aborted",
                extra={"action": "backfill_aborted", "table": self._table.name, "reason": str(error) or "too slow"},
            )
        finally:
            disconnected.cancel()

    async def _send(self, backfill: Backfill, send: Send, disconnected: "asyncio.Future[None]") -> None:
        snapshot = backfill.snapshot
        lines = RowLines(
            self._format,
            self._table,
            snapshot.cursor,
            at=snapshot.committed_at,
            database=snapshot.database,
            version=self._version,
        )
        headers = [
            (b"content-type", CONTENT_TYPE.encode()),
            (b"x-accel-buffering", b"no"),
        ]
        self._has_begun = True
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _write(send, lines.begin(snapshot.estimated_rows if self._filter is None else None))
        async for rows in backfill.rows():
            if disconnected.done():
                return
            await _write(send, lines.rows(rows))
        await _write(send, lines.end(backfill.sent), is_last=True)


async def _write(send: Send, text: str, *, is_last: bool = False) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": not is_last})


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
