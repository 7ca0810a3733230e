"""Liveness and readiness."""

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import Request, Response

from api.access.authentication import IDENTITY
from api.routes.health import readyz
from cdc.auth.identity import Identity
from cdc.core.subscription.grant import Grant
from tests.fixtures.server import RunningServer


def gateway_of(*, is_loaded: bool, is_ready: bool, lanes_loaded: bool = True, reason: str = "") -> Any:
    pipeline = SimpleNamespace(
        capture_problems=("public.flags: has no triggers",),
        freshness=lambda: SimpleNamespace(fresh=is_ready, age_ms=12),
        listener=SimpleNamespace(mode="listening", reason=reason),
        hub=SimpleNamespace(catalog=SimpleNamespace(position=7, log="k7q2mx")),
    )
    pipelines = SimpleNamespace(flags=pipeline, is_loaded=lanes_loaded)
    return SimpleNamespace(pipelines=pipelines, is_loaded=is_loaded, is_ready=is_ready)


async def readiness(gateway: Any, *, admin: bool) -> tuple[int, dict[str, object]]:
    app = SimpleNamespace(state=SimpleNamespace(gateway=gateway))
    request = Request({"type": "http", "app": app, IDENTITY: Identity("x", Grant(admin=admin))})
    response = Response()
    answer = await readyz(request, response)
    assert response.headers["cache-control"] == "no-store"
    return response.status_code, answer


async def test_the_process_is_alive(memory_server: RunningServer) -> None:
    async with httpx.AsyncClient(base_url=memory_server.url) as http:
        answer = await http.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("is_loaded", "is_ready", "status"), [(True, True, 200), (True, False, 503), (False, False, 503)]
)
async def test_the_status_is_that_of_the_gateway(is_loaded: bool, is_ready: bool, status: int) -> None:
    gateway = gateway_of(is_loaded=is_loaded, is_ready=is_ready)
    assert await readiness(gateway, admin=False) == (
        status,
        {"ready": is_ready, "loaded": is_loaded, "fresh": is_ready},
    )


async def test_the_state_of_the_server_is_for_administrators() -> None:
    gateway = gateway_of(is_loaded=True, is_ready=True)
    status, answer = await readiness(gateway, admin=True)
    assert status == 200
    assert answer == {
        "ready": True,
        "loaded": True,
        "fresh": True,
        "ageMs": 12,
        "listener": "listening",
        "reason": "",
        "position": "7",
        "log": "k7q2mx",
        # Says nothing about readiness: what is captured is delivered.
        "captureProblems": ["public.flags: has no triggers"],
    }


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("", "the lanes have not been read from the database yet"), ("no connection", "no connection")],
)
async def test_a_server_that_is_not_ready_gives_the_reason(reason: str, expected: str) -> None:
    gateway = gateway_of(is_loaded=False, is_ready=False, lanes_loaded=False, reason=reason)
    assert (await readiness(gateway, admin=True))[1]["reason"] == expected
