"""What Flagent's clients ask a server about itself."""

from fastapi import APIRouter, Request

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["health"])


@router.get("/health", summary="The process lives")
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
