"""The history of a flag: user, time, and before → after of each change."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from cdc.core.log.point_in_time import AtPosition, parse_point_in_time
from cdc.errors import InvalidInput
from cdc.history.flag_history import flag_history
from cdc.node.pipeline import Pipeline

from ..access.authentication import grant_of
from .flags import schema_of
from .present import present_catalog

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["flags"])

_MAX_LIMIT = 200


@router.get("/flags/{key:path}/history", summary="The changes of a flag, newest first")
async def history(
    request: Request,
    key: str,
    limit: Annotated[int, Query(ge=1, le=_MAX_LIMIT)] = 20,
    before: Annotated[str | None, Query(description="Only changes before this position.")] = None,
    schema: str | None = None,
) -> dict[str, Any]:
    """A response may contain fewer than `limit` changes, even none, although there are more: then `next` is not null. A
    flag that never existed, or that the credential may not see, has an empty history."""
    pipeline: Pipeline = request.app.state.pipeline
    grant = grant_of(request)
    name = schema_of(present_catalog(request), schema, grant)
    position = None
    if before is not None:
        point = parse_point_in_time("before", before)
        if not isinstance(point, AtPosition):
            raise InvalidInput(
                "before must be a position; use the `next` of the previous page", name="before", code="invalid_moment"
            )
        position = point.position
    found = await flag_history(pipeline.past, name, key, grant, before=position, limit=limit)
    return {
        "flagKey": key,
        "schema": name,
        "changes": found.entries,
        "next": None if found.next is None else str(found.next),
        "endsBecause": found.reason,
    }
