"""Health and version, for Flagent's clients."""

from fastapi import APIRouter, Request

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["health"])


@router.get("/health", summary="Liveness, in Flagent's format")
async def health() -> dict[str, str]:
    return {"status": "OK"}


@router.get("/info", summary="Version")
async def info(request: Request) -> dict[str, object]:
    return {
        "version": request.app.version,
        "buildTime": None,
        "gitCommit": None,
        "enterpriseEnabled": False,
        "licenseValid": None,
    }
