"""Which pages may read responses and open WebSockets."""

from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from tests.fixtures.authenticated import SECRET, ask, client, token
from tests.fixtures.server import RunningServer, serving

PAGE = "https://app.example.com"


async def test_pages_of_the_list_may_read_and_others_may_not(database_url: str) -> None:
    for with_handover in (True, False):
        async with (
            serving(
                database_url, auth_jwt_secret=SECRET, web_cors_origins=(PAGE,), with_handover=with_handover
            ) as server,
            client(server, token()) as http,
        ):
            for path in ("/api/v1/flags", "/api/v1/events/stream", "/realtime/sse"):
                for origin, is_allowed in ((PAGE, True), ("https://evil.example.com", False), ("null", False)):
                    async with http.stream("GET", path, headers={"origin": origin}) as response:
                        assert response.status_code == 200
                        assert response.headers.get("access-control-allow-origin") == (origin if is_allowed else None)
                        assert "origin" in response.headers["vary"]
                        if is_allowed:
                            assert response.headers["access-control-allow-credentials"] == "true"
                            exposed = response.headers["access-control-expose-headers"]
                            assert {"ETag", "Retry-After", "X-Total-Count"} <= set(exposed.split(", "))
                        assert response.headers["x-content-type-options"] == "nosniff"
            refused = await http.get("/api/v1/events/stream", headers={"origin": PAGE, "authorization": "Bearer x"})
            assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)


async def test_a_preflight_needs_no_credential(one_server: RunningServer, database_url: str) -> None:
    async with (
        serving(database_url, auth_jwt_secret=SECRET, web_cors_origins=(PAGE,)) as server,
        client(server) as http,
    ):
        asked = {"origin": PAGE, "access-control-request-method": "GET"}
        for path in ("/api/v1/events/stream", "/api/v1/flags"):
            answer = await http.options(path, headers=asked)
            assert answer.status_code == 204
            allowed = answer.headers["access-control-allow-headers"].split(", ")
            assert {"X-API-Key", "Authorization", "Last-Event-ID", "Content-Type"} <= set(allowed)
        refused = await http.options("/api/v1/flags", headers={**asked, "origin": "https://evil.example.com"})
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers


async def test_any_page_may_read_without_cookies_where_all_are_allowed(database_url: str) -> None:
    async with serving(database_url, auth_jwt_secret=SECRET, web_cors_origins=("*",)) as server:
        async with client(server, token()) as http:
            answer = await http.get("/api/v1/flags", headers={"origin": PAGE})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


async def test_a_page_elsewhere_may_not_open_a_websocket(database_url: str) -> None:
    for with_handover in (True, False):
        for asks in (True, False):
            settings: dict[str, Any] = {"auth_jwt_secret": SECRET} if asks else {}
            async with serving(
                database_url, with_handover=with_handover, web_cors_origins=(PAGE,), **settings
            ) as server:
                cookie = {"cookie": f"access_token={token()}"}
                local = Origin("http://localhost:5173")
                allowed = [None, Origin(PAGE), Origin(server.url), *([] if asks else [local])]
                for origin in allowed:
                    async with connect(server.websocket_url, origin=origin, additional_headers=cookie) as socket:
                        assert (await ask(socket, type="subscribe"))["type"] == "subscribed"
                for origin in (Origin("https://evil.example.com"), Origin("null"), *([local] if asks else [])):
                    with pytest.raises(InvalidStatus) as caught:
                        async with connect(server.websocket_url, origin=origin, additional_headers=cookie):
                            pass
                    assert caught.value.response.status_code == 403
