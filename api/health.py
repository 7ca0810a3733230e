"""Whether the process lives, and whether it may be sent clients."""

from fastapi import APIRouter, Request, Response

from cdc.feed import Feed

__all__ = ["router"]

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="The process lives")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="The catalog is loaded and proven current", responses={503: {"description": "Not yet"}})
async def readyz(request: Request, response: Response) -> dict[str, object]:
    feed: Feed = request.app.state.feed
    freshness = feed.freshness()
    response.status_code = 200 if feed.is_ready else 503
    response.headers["cache-control"] = "no-store"
    return {
        "ready": feed.is_ready,
        "loaded": feed.is_loaded,
        "fresh": freshness.fresh,
        "ageMs": freshness.age_ms,
        "listener": feed.listener.mode,
        "reason": feed.listener.reason,
        "position": str(feed.hub.catalog.position),
        "log": feed.hub.catalog.log,
    }
