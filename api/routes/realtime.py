"""Flagent's realtime paths: the health endpoint beside the stream. Flagent's documentation and server disagree on the
prefix, so both are served."""

from fastapi import APIRouter, Request

from ..streams.gateway import Gateway

__all__ = ["REALTIME_PATHS", "router"]

REALTIME_PATHS = ("/realtime/sse", "/api/v1/realtime/sse")

router = APIRouter(tags=["compatibility"])


@router.get("/realtime/sse/health", summary="Health of the realtime stream")
@router.get("/api/v1/realtime/sse/health", include_in_schema=False)
async def health(request: Request) -> dict[str, str]:
    gateway: Gateway = request.app.state.gateway
    return {"status": "healthy", "activeConnections": str(gateway.sse_limit.open_count), "protocol": "SSE"}
