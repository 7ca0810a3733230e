"""Usage of flags: clients that evaluate themselves report how often they got each variant."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from cdc.core.exposure import ExposureKey, read_exposures, usage_document
from cdc.core.flags.catalog import Catalog
from cdc.core.subscription.grant import Grant
from cdc.node.exposures import Exposures

from ..access.authentication import grant_of
from ..http.problem import Problem
from ..http.request_body import read_body
from .flags import schema_of
from .present import present_catalog

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["usage"])

MAX_MINUTES = 10_000
_DEFAULT_SPAN = timedelta(days=1)

_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}


def _exposures(request: Request) -> Exposures:
    exposures: Exposures | None = request.app.state.exposures
    if exposures is None:
        raise Problem(
            404,
            "exposures_disabled",
            "this server does not take exposures; set FLAGENT_CDC_EXPOSURES=on on a server that reads the database",
        )
    return exposures


@router.post("/exposures", status_code=202, summary="Report counts of variants", openapi_extra=_BODY)
async def report(request: Request) -> JSONResponse:
    """`{"exposures": [{"flagKey", "variantKey", "count", "schema"}]}`, up to 1 000 entries with counts up to 1 000 000.
    `variantKey` is null where an evaluation gave no variant, `schema` is optional. The server adds the counts to its
    own minute.
    """
    exposures = _exposures(request)
    grant = grant_of(request)
    if request.app.state.authentication.authenticator is not None and not grant.expose:
        raise Problem(
            403, "not_allowed", "this credential is not authorized to report exposures; it needs the scope `expose`"
        )
    entries = read_exposures(await read_body(request))
    catalog = present_catalog(request)
    accepted, unknown = 0, dict[str, None]()
    for entry in entries:
        schema = _schema(catalog, entry.schema, grant)
        flag = None if schema is None else catalog.find(schema, entry.flag)
        if schema is None or flag is None or not grant.allows_flag(schema, flag):
            unknown[entry.flag] = None
            exposures.unknown += entry.count
            continue
        exposures.add(ExposureKey(schema, entry.flag, entry.variant), entry.count)
        accepted += 1
    return JSONResponse({"accepted": accepted, "unknown": list(unknown)}, 202)


def _schema(catalog: Catalog, name: str | None, grant: Grant) -> str | None:
    """The schema of an entry; None where there is none of this name for the credential."""
    if name is None:
        return schema_of(catalog, None, grant)
    return name if name in catalog.schemas and grant.allows_schema(name) else None


@router.get("/flags/{key}/usage", summary="How often each variant of a flag was used")
async def usage(
    request: Request,
    key: str,
    since: Annotated[
        datetime | None, Query(alias="from", description="RFC 3339; without it, a day before `to`.")
    ] = None,
    until: Annotated[datetime | None, Query(alias="to", description="RFC 3339; without it, now.")] = None,
    schema: str | None = None,
) -> dict[str, Any]:
    """The counts by minute, oldest first, at most 10 000 of them; `total` is their sum."""
    exposures = _exposures(request)
    grant = grant_of(request)
    catalog = present_catalog(request)
    name = schema_of(catalog, schema, grant)
    flag = catalog.find(name, key)
    if flag is None or not grant.allows_flag(name, flag):
        raise Problem(404, "flag_not_found", f"no live flag has the key {key!r} in schema {name!r}")
    end = _in_utc(until) or datetime.now(UTC) + timedelta(minutes=1)
    begin = _in_utc(since) or end - _DEFAULT_SPAN
    if begin >= end:
        raise Problem(400, "invalid_parameter", "from must be before to", fields={"parameter": "from"})
    return usage_document(key, await exposures.usage(name, key, begin, end, MAX_MINUTES))


def _in_utc(time: datetime | None) -> datetime | None:
    """A time without a zone is taken as UTC."""
    return time if time is None or time.tzinfo is not None else time.replace(tzinfo=UTC)
