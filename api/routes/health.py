"""Whether the process lives, and whether it may be sent clients."""

from fastapi import APIRouter, Request, Response

from ..access.authentication import grant_of
from ..streams.gateway import Gateway

__all__ = ["router"]

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="The process lives")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="The catalog is loaded and proven current", responses={503: {"description": "Not yet"}})
async def readyz(request: Request, response: Response) -> dict[str, object]:
    gateway: Gateway = request.app.state.gateway
    pipeline = gateway.pipelines.flags
    freshness = pipeline.freshness()
    response.status_code = 200 if gateway.is_ready else 503
    response.headers["cache-control"] = "no-store"
    told: dict[str, object] = {"ready": gateway.is_ready, "loaded": gateway.is_loaded, "fresh": freshness.fresh}
    if not grant_of(request).admin:
        # Addresses and states of the inside are for those who run the server.
        return told
    reason = pipeline.listener.reason
    if not reason and not gateway.pipelines.is_loaded:
        reason = "the streams of tables have not been read yet"
    return {
        **told,
        "ageMs": freshness.age_ms,
        "listener": pipeline.listener.mode,
        "reason": reason,
        "position": str(pipeline.hub.catalog.position),
        "log": pipeline.hub.catalog.log,
    }
