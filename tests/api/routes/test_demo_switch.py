"""The endpoint by which the demo's page turns flags on and off; no other server has it."""

import httpx
import pytest
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError

from api.app import _on_error, _on_invalid_request
from api.http.problem import Problem
from api.routes.demo_switch import DemoSwitch
from tests.fixtures.server import RunningServer


class Recorder:
    def __init__(self) -> None:
        self.calls: list[tuple[str, bool]] = []

    async def set_enabled(self, key: str, *, enabled: bool) -> bool:
        self.calls.append((key, enabled))
        return key != "nowhere"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def client(recorder: Recorder) -> httpx.AsyncClient:
    web = FastAPI()
    web.add_exception_handler(Problem, _on_error)
    web.add_exception_handler(RequestValidationError, _on_invalid_request)
    web.include_router(DemoSwitch(recorder).router)
    return httpx.AsyncClient(transport=httpx.ASGITransport(web), base_url="http://demo/api/v1/demo/flags/")


async def test_a_flag_is_switched_by_its_key(client: httpx.AsyncClient, recorder: Recorder) -> None:
    answer = await client.put("payments.apple_pay", json={"enabled": False})
    assert (answer.status_code, answer.json()) == (200, {"key": "payments.apple_pay", "enabled": False})
    await client.put("a%2Fb", json={"enabled": True})
    assert recorder.calls == [("payments.apple_pay", False), ("a/b", True)]


async def test_an_unknown_flag_and_a_bad_body_are_refused(client: httpx.AsyncClient, recorder: Recorder) -> None:
    unknown = await client.put("nowhere", json={"enabled": True})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_flag")
    assert (await client.put("here", json={"enabled": "yes"})).status_code == 400
    assert (await client.put("here", json={})).status_code == 400
    assert recorder.calls == [("nowhere", True)]


async def test_a_server_that_is_no_demo_has_no_such_path(server: RunningServer) -> None:
    async with httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.put("/api/v1/demo/flags/here", json={"enabled": True})
        assert answer.status_code == 404
        assert 'data-switch=""' in (await client.get("/")).text
