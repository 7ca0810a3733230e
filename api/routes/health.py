"""Liveness and readiness."""

from fastapi import APIRouter, Request, Response

from ..access.authentication import grant_of
from ..http.answer import Answer, json_answer
from ..streams.gateway import Gateway
from .plain_request import DirectRoute, PlainRequest

__all__ = ["HEALTHZ", "router"]

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Liveness", response_model=dict[str, str])
async def healthz(request: Request) -> Response:
    return await HEALTHZ.respond(request)


_ALIVE = json_answer('{"status":"ok"}')


def _answer_alive(_: PlainRequest) -> Answer:
    return _ALIVE


HEALTHZ = DirectRoute(_answer_alive)


@router.get("/readyz", summary="Readiness: flags are loaded and fresh", responses={503: {"description": "Not ready"}})
async def readyz(request: Request, response: Response) -> dict[str, object]:
    gateway: Gateway = request.app.state.gateway
    pipeline = gateway.pipelines.flags
    freshness = pipeline.freshness()
    response.status_code = 200 if gateway.is_ready else 503
    response.headers["cache-control"] = "no-store"
    answer: dict[str, object] = {"ready": gateway.is_ready, "loaded": gateway.is_loaded, "fresh": freshness.fresh}
    if not grant_of(request).admin:
        # The state and addresses of the server itself require the right `admin`.
        return answer
    reason = pipeline.listener.reason
    if not reason and not gateway.pipelines.is_loaded:
        reason = "the lanes have not been read from the database yet"
    return {
        **answer,
        "ageMs": freshness.age_ms,
        "listener": pipeline.listener.mode,
        "reason": reason,
        "position": str(pipeline.hub.catalog.position),
        "log": pipeline.hub.catalog.log,
        "captureProblems": list(pipeline.capture_problems),
    }
