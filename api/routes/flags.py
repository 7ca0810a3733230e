"""Flags, in the format and with the parameters of Flagent's own API (`GET /flags`, `GET /flags/{id}`)."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from cdc.core.flags.catalog import Catalog
from cdc.core.flags.default_schema import default_schema
from cdc.core.flags.flag_filter import FlagFilter
from cdc.core.log.point_in_time import parse_point_in_time
from cdc.core.subscription.grant import Grant
from cdc.core.text.kotlin_text import to_boolean, to_integer
from cdc.history.rewind import refuse_before_attachment
from cdc.node.pipeline import Pipeline

from ..access.authentication import grant_of
from ..http.first_values import first_values
from ..http.problem import Problem
from .present import present_catalog

__all__ = ["AT", "POSITION_HEADER", "catalog_at", "newest_first", "router", "schema_of"]

router = APIRouter(prefix="/api/v1", tags=["flags"])

Flag = Mapping[str, Any]


POSITION_HEADER = "flagent-position"
"""The response header with the position, as an event id, of a response about the past."""

AT = Query(None, description="A position, event id or RFC 3339 time; the response is as of then instead of now.")


async def catalog_at(request: Request, at: object, response: Response) -> Catalog:
    """The catalog as of `at`, or the present one; for the past, sets the response header with its position."""
    present = present_catalog(request)
    if at is None:
        return present
    pipeline: Pipeline = request.app.state.pipeline
    catalog = await pipeline.past.at(parse_point_in_time("at", at))
    response.headers[POSITION_HEADER] = str(catalog.here)
    return catalog


def newest_first(catalog: Catalog, schema: str) -> Iterator[Flag]:
    """The live flags of a schema in the order of Flagent's lists."""
    yield from reversed([flag for _, flag in catalog.flags(schema)])


def schema_of(catalog: Catalog, schema: str | None, grant: Grant) -> str:
    """The schema of a request: the one it names, else `public`, else the first one that the grant allows.

    Raises `Problem` for a schema that is not attached or not allowed, and `OutOfReach` if the catalog is from before
    the schema was attached.
    """
    attached = tuple(name for name in catalog.schemas if grant.allows_schema(name))
    if schema is None:
        schema = default_schema(attached)
    elif schema not in attached:
        raise Problem(
            404, "unknown_schema", f"schema {schema!r} is not attached; attached: {', '.join(attached) or 'none'}"
        )
    refuse_before_attachment(catalog, schema)
    return schema


_FILTERS = {
    "limit": "An integer; 0 for the total alone.",
    "offset": "An integer.",
    "enabled": "`true` in any case; anything else is false.",
    "description": "The whole description.",
    "key": "",
    "descriptionLike": "A part of the description, in any case; `%` is any text, `_` one character.",
    "preload": "Whether segments and variants are shown: `true` in any case.",
    "deleted": "`true`, in any case: the deleted flags, which are not available.",
    "includeArchived": "The same; ignored beside `deleted`.",
    "tags": "Separated by commas; a flag has to have at least one.",
    "environmentId": "An integer; flags without an environment belong to all.",
    "projectId": "An integer.",
}
_PARAMETERS = [
    {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
    for name, text in _FILTERS.items()
]


@router.get("/flags", summary="Live flags, newest first", openapi_extra={"parameters": _PARAMETERS})
async def list_flags(
    request: Request, response: Response, schema: str | None = None, at: str | None = AT
) -> list[dict[str, Any]]:
    """The header `X-Total-Count` is the number of flags without `limit` and `offset`. Segments and variants are empty
    unless `preload` is true. Deleted flags are not available: a request for them returns an empty list.

    As in Flagent, a value that is not an integer where one is expected is ignored, and so are unknown parameters.
    """
    grant = grant_of(request)
    catalog = await catalog_at(request, at, response)
    name = schema_of(catalog, schema, grant)
    query = first_values(request.scope["query_string"])
    limit, offset = _integer(query, "limit"), _integer(query, "offset") or 0
    if limit is not None and limit < 0:
        raise Problem(400, "invalid_parameter", "limit must not be negative", fields={"parameter": "limit"})
    found: list[Flag] = []
    # `deleted=false` counts, whatever `includeArchived` says.
    if not to_boolean(query.get("deleted", query.get("includeArchived", ""))):
        selected = FlagFilter(
            enabled=to_boolean(query["enabled"]) if "enabled" in query else None,
            description=query.get("description"),
            key=query.get("key"),
            description_like=query.get("descriptionLike"),
            tags=query.get("tags"),
            environment_id=_integer(query, "environmentId", bits=64),
            project_id=_integer(query, "projectId", bits=64),
        )
        found = [
            flag for flag in newest_first(catalog, name) if grant.allows_flag(name, flag) and selected.matches(flag)
        ]
    response.headers["x-total-count"] = str(len(found))
    page = found[max(offset, 0) :][:limit]
    preload = to_boolean(query.get("preload", ""))
    return [dict(flag) if preload else {**flag, "segments": [], "variants": []} for flag in page]


def _integer(query: Mapping[str, str], name: str, *, bits: int = 32) -> int | None:
    return to_integer(query[name], bits=bits) if name in query else None


@router.get("/flags/{flag_id}", summary="One live flag, with segments and variants")
async def get_flag(
    request: Request,
    response: Response,
    flag_id: Annotated[str, "an id"],
    schema: str | None = None,
    at: str | None = AT,
) -> dict[str, Any]:
    grant = grant_of(request)
    id = to_integer(flag_id, bits=32)
    if id is None:
        raise Problem(
            400,
            "invalid_parameter",
            f"flagID is {flag_id[:64]!r}, but must be an integer",
            fields={"parameter": "flagID"},
        )
    catalog = await catalog_at(request, at, response)
    name = schema_of(catalog, schema, grant)
    flag = catalog.flag_json(name, id)
    if flag is None or not grant.allows_flag(name, flag):
        raise Problem(404, "flag_not_found", f"no live flag has id {id} in schema {name!r}")
    return dict(flag)
