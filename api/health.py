"""Whether the process lives, and whether it may be sent clients."""

from fastapi import APIRouter, Request, Response

from cdc.streams import Streams

from .guard import Guard, grant_of

__all__ = ["router"]

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="The process lives")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="The catalog is loaded and proven current", responses={503: {"description": "Not yet"}})
async def readyz(request: Request, response: Response) -> dict[str, object]:
    streams: Streams = request.app.state.gateway.streams
    guard: Guard = request.app.state.guard
    feed = streams.flags
    freshness = feed.freshness()
    is_ready = streams.is_ready and guard.is_ready
    response.status_code = 200 if is_ready else 503
    response.headers["cache-control"] = "no-store"
    told: dict[str, object] = {"ready": is_ready, "loaded": streams.is_loaded, "fresh": freshness.fresh}
    if not grant_of(request).admin:
        # Addresses and states of the inside are for those who run the server.
        return told
    return {
        **told,
        "ageMs": freshness.age_ms,
        "listener": feed.listener.mode,
        "reason": feed.listener.reason or ("" if streams.is_loaded else "the streams of tables have not been read yet"),
        "position": str(feed.hub.catalog.position),
        "log": feed.hub.catalog.log,
    }
