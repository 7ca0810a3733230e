"""Which pages may read responses and open WebSockets."""

from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from api.access.cors import ALLOWED_HEADERS, ALLOWED_METHODS, EXPOSED_HEADERS, Cors
from cdc.source.memory import MemoryLog
from tests.fixtures.authenticated import SECRET, ask, client, token
from tests.fixtures.server import serving

PAGE = "https://app.example.com"
EVIL = Origin("https://evil.example.com")

# The headers that the protocol names, of requests and of responses.
SENT_BY_CLIENTS = {"Authorization", "Cache-Control", "Content-Type", "If-None-Match", "Last-Event-ID", "X-API-Key"}
READ_BY_CLIENTS = {"ETag", "Flagent-Next", "Flagent-Position", "Link", "Retry-After", "X-Total-Count"}


async def test_pages_of_the_list_may_read_and_others_may_not(memory_log: MemoryLog) -> None:
    for with_handover in (True, False):
        async with (
            serving(
                memory_log, auth_jwt_secret=SECRET, web_cors_origins=(PAGE,), with_handover=with_handover
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
                            assert set(exposed.split(", ")) >= READ_BY_CLIENTS
                        assert response.headers["x-content-type-options"] == "nosniff"
            refused = await http.get("/api/v1/events/stream", headers={"origin": PAGE, "authorization": "Bearer x"})
            assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)


async def test_a_preflight_needs_no_credential(memory_log: MemoryLog) -> None:
    async with (
        serving(memory_log, auth_jwt_secret=SECRET, web_cors_origins=(PAGE,)) as server,
        client(server) as http,
    ):
        asked = {"origin": PAGE, "access-control-request-method": "GET"}
        for path in ("/api/v1/events/stream", "/api/v1/flags"):
            answer = await http.options(path, headers=asked)
            assert answer.status_code == 204
            allowed = answer.headers["access-control-allow-headers"].split(", ")
            assert set(allowed) >= SENT_BY_CLIENTS
        refused = await http.options("/api/v1/flags", headers={**asked, "origin": "https://evil.example.com"})
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers


async def test_any_page_may_read_without_cookies_where_all_are_allowed(memory_log: MemoryLog) -> None:
    async with serving(memory_log, auth_jwt_secret=SECRET, web_cors_origins=("*",)) as server:
        async with client(server, token()) as http:
            answer = await http.get("/api/v1/flags", headers={"origin": PAGE})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


async def test_a_cookie_does_not_open_a_websocket_for_a_page_that_only_the_asterisk_allows(
    memory_log: MemoryLog, with_handover: bool
) -> None:
    """A browser adds the visitor's cookie to the handshake of any page."""
    cookie = {"cookie": f"access_token={token()}"}
    for origins in (("*",), ("*", PAGE)):
        async with serving(
            memory_log, with_handover=with_handover, auth_jwt_secret=SECRET, web_cors_origins=origins
        ) as server:
            for origin in (EVIL, Origin(PAGE), Origin("null")):
                async with connect(server.websocket_url, origin=origin, additional_headers=cookie) as socket:
                    assert (await ask(socket, type="subscribe"))["code"] == "credential_missing"
                async with connect(server.websocket_url, origin=origin) as socket:
                    assert (await ask(socket, type="auth", token=token()))["type"] == "authenticated"
            for own in (None, Origin(server.url)):
                async with connect(server.websocket_url, origin=own, additional_headers=cookie) as socket:
                    assert (await ask(socket, type="subscribe"))["type"] == "subscribed"


async def test_a_page_elsewhere_may_not_open_a_websocket(memory_log: MemoryLog) -> None:
    for with_handover in (True, False):
        for asks in (True, False):
            settings: dict[str, Any] = {"auth_jwt_secret": SECRET} if asks else {}
            async with serving(memory_log, with_handover=with_handover, web_cors_origins=(PAGE,), **settings) as server:
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


@pytest.mark.parametrize(
    ("origin", "is_local"),
    [
        (b"http://localhost:5173", True),
        (b"https://127.0.0.1", True),
        (b"http://[::1]:8080", True),
        (b"http://localhost.example.com", False),
        (b"file://localhost", False),
        (b"null", False),
        (b"http://[", False),
        (b"http://localhost\xff", False),
    ],
)
def test_pages_of_this_machine_are_allowed_for_development_only(origin: bytes, is_local: bool) -> None:
    assert Cors(with_local=True).allows(origin) is is_local
    assert not Cors().allows(origin)


def test_an_origin_is_compared_without_case_and_whole() -> None:
    cors = Cors([PAGE])
    assert cors.allows(b"HTTPS://APP.example.com")
    for other in (b"http://app.example.com", b"https://app.example.com:8443", b"https://app.example.com.evil.example"):
        assert not cors.allows(other)


def test_a_cache_keeps_the_responses_to_different_origins_apart() -> None:
    vary = (b"vary", b"origin")
    assert Cors([PAGE]).headers(None) == [vary]
    assert Cors([PAGE]).headers(b"https://evil.example.com") == [vary]
    assert vary in Cors([PAGE]).headers(PAGE.encode())
    assert Cors().headers(PAGE.encode()) == []


def test_a_preflight_lists_what_is_allowed() -> None:
    headers = dict(Cors([PAGE]).preflight(PAGE.encode()) or ())
    assert headers[b"access-control-allow-methods"] == ALLOWED_METHODS
    assert headers[b"access-control-allow-headers"] == ALLOWED_HEADERS
    assert headers[b"access-control-expose-headers"] == EXPOSED_HEADERS
    assert Cors([PAGE]).preflight(b"https://evil.example.com") is None


def test_a_websocket_is_opened_from_no_page_or_from_a_page_of_this_server() -> None:
    cors = Cors()
    assert cors.allows_socket(None, b"flags.example.com")
    assert cors.allows_socket(b"https://flags.example.com", b"Flags.example.com ")
    assert not cors.allows_socket(b"https://flags.example.com:444", b"flags.example.com")
    assert not cors.allows_socket(b"https://evil.example.com", b"flags.example.com")
    assert not cors.allows_socket(b"null", None)
