"""Flags, in the format and with the parameters of Flagent's own API (`GET /flags`, `GET /flags/{id}`)."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from cdc.core.flags.catalog import Catalog
from cdc.core.flags.default_schema import default_schema
from cdc.core.log.point_in_time import parse_point_in_time
from cdc.core.subscription.grant import Grant
from cdc.history.rewind import refuse_before_attachment
from cdc.node.pipeline import Pipeline

from ..access.authentication import grant_of
from ..http.problem import Problem

__all__ = ["AT", "POSITION_HEADER", "catalog_at", "router", "schema_of"]

router = APIRouter(prefix="/api/v1", tags=["flags"])

_MAX_INT = 2**31 - 1

Flag = Mapping[str, Any]


POSITION_HEADER = "flagent-position"
"""The response header with the position, as an event id, of a response about the past."""

AT = Query(None, description="A position, event id or RFC 3339 time; the response is as of then instead of now.")


async def catalog_at(pipeline: Pipeline, at: object, response: Response) -> Catalog:
    """The catalog as of `at`, or the present one; for the past, sets the response header with its position."""
    if at is None:
        return pipeline.hub.catalog
    catalog = await pipeline.past.at(parse_point_in_time("at", at))
    response.headers[POSITION_HEADER] = str(catalog.here)
    return catalog


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


@router.get("/flags", summary="Live flags, newest first")
async def list_flags(
    request: Request,
    response: Response,
    limit: Annotated[int | None, Query(ge=0, le=_MAX_INT)] = None,
    offset: Annotated[int, Query(ge=0, le=_MAX_INT)] = 0,
    enabled: bool | None = None,
    description: str | None = None,
    key: str | None = None,
    description_like: Annotated[str | None, Query(alias="descriptionLike")] = None,
    preload: bool = False,
    deleted: bool = False,
    include_archived: Annotated[bool, Query(alias="includeArchived")] = False,
    tags: Annotated[str | None, Query(description="Comma-separated; a flag has to have at least one.")] = None,
    environment_id: Annotated[int | None, Query(alias="environmentId")] = None,
    project_id: Annotated[int | None, Query(alias="projectId")] = None,
    schema: str | None = None,
    at: str | None = AT,
) -> list[dict[str, Any]]:
    """The header `X-Total-Count` is the number of flags without `limit` and `offset`. Segments and variants are empty
    unless `preload` is true. Deleted flags are not available: a request for them returns an empty list."""
    grant = grant_of(request)
    catalog = await catalog_at(request.app.state.pipeline, at, response)
    name = schema_of(catalog, schema, grant)
    if deleted or include_archived:
        found: list[Flag] = []
    else:
        wanted_tags = {tag.strip() for tag in tags.split(",")} if tags else None
        found = [
            flag
            for flag in _newest_first(catalog, name)
            if grant.allows_flag(name, flag)
            and (enabled is None or flag["enabled"] == enabled)
            and (description is None or flag["description"] == description)
            and (key is None or flag["key"] == key)
            and (description_like is None or description_like.lower() in flag["description"].lower())
            and (wanted_tags is None or any(tag["value"] in wanted_tags for tag in flag["tags"]))
            and (environment_id is None or flag["environmentId"] in (None, environment_id))
            and (project_id is None or flag["projectId"] == project_id)
        ]
    response.headers["x-total-count"] = str(len(found))
    page = found[offset : None if limit is None else offset + limit]
    return [dict(flag) if preload else {**flag, "segments": [], "variants": []} for flag in page]


@router.get("/flags/{flag_id}", summary="One live flag, with segments and variants")
async def get_flag(
    request: Request,
    response: Response,
    flag_id: Annotated[str, "an id"],
    schema: str | None = None,
    at: str | None = AT,
) -> dict[str, Any]:
    grant = grant_of(request)
    if not (flag_id.isascii() and flag_id.isdigit() and len(flag_id) <= 10):
        raise Problem(
            400,
            "invalid_parameter",
            f"flagID is {flag_id[:64]!r}, but must be an integer",
            fields={"parameter": "flagID"},
        )
    catalog = await catalog_at(request.app.state.pipeline, at, response)
    name = schema_of(catalog, schema, grant)
    flag = catalog.flag_json(name, int(flag_id))
    if flag is None or not grant.allows_flag(name, flag):
        raise Problem(404, "flag_not_found", f"no live flag has id {flag_id} in schema {name!r}")
    return dict(flag)


def _newest_first(catalog: Catalog, schema: str) -> Iterator[Flag]:
    yield from reversed([flag for _, flag in catalog.flags(schema)])
