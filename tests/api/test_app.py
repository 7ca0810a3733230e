"""What the application adds to every response."""

import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from api.access.authentication import IDENTITY, Authentication
from api.access.cors import Cors
from api.app import Application
from api.limits.connection_limit import ConnectionLimit
from api.limits.request_rate import RequestRateLimiter
from api.streams.gateway import Gateway
from api.streams.stream_query import own_endpoint
from tests.fixtures.authenticated import SECRET, client, token
from tests.fixtures.hostile import raw
from tests.fixtures.server import RunningServer, serving


@pytest.fixture
async def one_server(database_url: str) -> AsyncIterator[RunningServer]:
    async with serving(database_url, auth_jwt_secret=SECRET) as running:
        yield running


async def test_answers_say_that_they_are_data(one_server: RunningServer) -> None:
    async with client(one_server, token()) as http:
        answer = await http.get("/api/v1/flags")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/flags/",
        "/api/v1/tables/a/rows/",
        "/docs/",
        "/page/",
        "/healthz/",
        "//evil.example",
        "//evil.example/",
        "//evil.example/..",
        "//evil.example//healthz/",
        "/%2F%2Fevil.example/",
        "/%2fevil.example%2f",
        "/\\\\evil.example/",
        "/%5Cevil.example/",
        "/.//evil.example/",
        "/healthz/%2e%2e//evil.example/",
        "/%0d%0alocation:%20https://evil.example/",
    ],
)
async def test_no_request_is_answered_with_a_redirect(memory_server: RunningServer, path: str) -> None:
    """A slash at the end was redirected to the other form, on the host that the client named."""
    port = httpx.URL(memory_server.url).port
    assert port is not None
    for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS"):
        for more in ("", "X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\n"):
            request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n"
            async with raw(port) as connection:
                await connection.send(request.encode())
                head = (await connection.head()).lower()
            assert not head.startswith(b"http/1.1 3"), head
            assert b"\r\nlocation:" not in head


PAGE = b"https://app.example.com"


class Web:
    """Stands in for FastAPI: answers 200 and keeps what reached it."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-frame-options", b"SAMEORIGIN")]})
        await send({"type": "http.response.body", "body": b""})


def application(
    *, authenticator: Any = None, request_rate: RequestRateLimiter | None = None
) -> tuple[Application, Web]:
    pipelines: Any = SimpleNamespace(is_loaded=False)
    gateway = Gateway(
        pipelines,
        ConnectionLimit("SSE", 1),
        ConnectionLimit("WebSocket", 1),
        {"/stream": own_endpoint},
        authentication=Authentication(authenticator),
        cors=Cors([PAGE.decode()]),
        request_rate=request_rate,
    )
    web = Web()
    return Application(web, gateway, websocket_path="/ws"), web  # type: ignore[arg-type]


async def answer(
    app: Application, path: str, *headers: tuple[bytes, bytes], method: str = "GET", peer: str = "203.0.113.7"
) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": headers,
        "client": (peer, 1),
    }
    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


async def test_an_ordinary_request_reaches_fastapi_with_its_identity() -> None:
    app, web = application()
    status, headers, _ = await answer(app, "/api/v1/flags", (b"origin", PAGE))
    assert status == 200
    assert [scope["path"] for scope in web.scopes] == ["/api/v1/flags"]
    assert web.scopes[0][IDENTITY].grant.admin
    assert headers[b"access-control-allow-origin"] == PAGE
    assert headers[b"x-content-type-options"] == b"nosniff"


async def test_a_header_of_the_response_is_not_replaced() -> None:
    app, _ = application()
    _, headers, _ = await answer(app, "/")
    assert headers[b"x-frame-options"] == b"SAMEORIGIN"


async def test_a_stream_endpoint_does_not_reach_fastapi() -> None:
    app, web = application()
    status, headers, body = await answer(app, "/stream")
    assert (status, json.loads(body)["code"]) == (503, "not_ready")
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert web.scopes == []


async def test_a_request_without_a_credential_does_not_reach_fastapi() -> None:
    app, web = application(authenticator=SimpleNamespace(is_loaded=True))
    status, headers, body = await answer(app, "/api/v1/flags", (b"origin", PAGE))
    assert (status, json.loads(body)["code"]) == (401, "credential_missing")
    assert headers[b"access-control-allow-origin"] == PAGE
    assert web.scopes == []
    assert (await answer(app, "/healthz"))[0] == 200


async def test_requests_beyond_the_rate_do_not_reach_fastapi() -> None:
    app, web = application(request_rate=RequestRateLimiter(per_s_and_client=1))
    assert (await answer(app, "/healthz"))[0] == 200
    assert (await answer(app, "/healthz"))[0] == 429
    assert (await answer(app, "/healthz", peer="203.0.113.8"))[0] == 200
    assert len(web.scopes) == 2


async def test_a_preflight_is_answered_for_every_path() -> None:
    app, web = application(authenticator=SimpleNamespace(is_loaded=True))
    for path in ("/api/v1/flags", "/stream"):
        status, headers, _ = await answer(app, path, (b"origin", PAGE), method="OPTIONS")
        assert (status, headers[b"access-control-allow-origin"]) == (204, PAGE)
        refused, headers, body = await answer(app, path, (b"origin", b"https://evil.example.com"), method="OPTIONS")
        assert (refused, json.loads(body)["code"]) == (403, "origin_not_allowed")
        assert b"access-control-allow-origin" not in headers
    assert web.scopes == []
