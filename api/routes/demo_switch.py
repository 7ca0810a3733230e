"""Turns flags on and off from the page. Only the demo has this endpoint, on its own embedded database."""

from typing import Annotated, Protocol

from fastapi import APIRouter, Body, Path

from ..http.problem import Problem

__all__ = ["DemoSwitch", "Switch"]


class Switch(Protocol):
    """What changes the flag in the database."""

    async def set_enabled(self, key: str, *, enabled: bool) -> bool:
        """Turn the flag on or off; False if there is no such flag."""


class DemoSwitch:
    """`PUT /api/v1/demo/flags/{key}` with the body `{"enabled": true}`; the change arrives on the stream."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self.router = APIRouter(include_in_schema=False)
        self.router.add_api_route("/api/v1/demo/flags/{key:path}", self._put, methods=["PUT"])

    async def _put(
        self,
        key: Annotated[str, Path(max_length=255)],
        enabled: Annotated[bool, Body(embed=True, strict=True)],
    ) -> dict[str, object]:
        if not await self._switch.set_enabled(key, enabled=enabled):
            raise Problem(404, "unknown_flag", f"there is no flag {key!r}")
        return {"key": key, "enabled": enabled}
