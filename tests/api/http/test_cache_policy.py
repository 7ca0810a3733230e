"""Caches: a policy for every response, held against every route of the application."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.routing import Route
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from api.access.credential import header_credential
from api.http.cache_policy import CachePolicy
from cdc.source.memory import MemoryLog
from tests.fixtures.authenticated import EXPORT, SECRET, client, token
from tests.fixtures.server import RunningServer, serving

CREDENTIALS = {"authorization", "cookie", "sec-websocket-protocol", "x-api-key"}

METHODS = ("GET", "HEAD", "POST", "PUT", "OPTIONS")


def check(headers: httpx.Headers, about: Any) -> None:
    """No shared cache may keep the response, and one that does all the same keeps credentials apart."""
    assert len(headers.get_list("cache-control")) == len(headers.get_list("vary")) == 1, about
    directives = set(headers["cache-control"].split(", "))
    assert "private" in directives, about
    assert "public" not in directives, about
    assert "no-store" in directives or "etag" in headers, about
    assert set(headers["vary"].split(", ")) >= CREDENTIALS, about


def application(server: RunningServer) -> Any:
    return server.uvicorn.config.app


def routes(router: Any) -> Iterator[Route]:
    for route in router.routes:
        if isinstance(route, Route):
            yield route
        else:
            yield from routes(route.original_router)


def paths(server: RunningServer) -> Iterator[str]:
    """Every path of the application, with a value for each parameter, and some that do not exist."""
    app = application(server)
    for route in routes(app.web):
        yield re.sub(r"{[^}]*}", "1", route.path)
    yield from app.web.state.gateway.endpoints
    yield from ("/ws", "/no/such/path", "/api/v1/flags/", "//x/y")


async def test_every_route_keeps_its_answers_out_of_shared_caches(memory_log: MemoryLog, with_handover: bool) -> None:
    whole, narrow = token(admin=True), token(flags=["a"])
    credentials: list[dict[str, str]] = [
        {},
        {"x-api-key": "wrong"},
        {"authorization": f"Bearer {whole}"},
        {"authorization": f"Bearer {narrow}"},
        {"cookie": f"access_token={whole}", "if-none-match": "*"},
        {"x-api-key": whole, "origin": "https://app.example.com", "access-control-request-method": "GET"},
    ]
    seen = set()
    async with (
        serving(
            memory_log,
            with_handover=with_handover,
            auth_jwt_secret=SECRET,
            web_cors_origins=("https://app.example.com",),
        ) as server,
        client(server) as http,
    ):
        for path in paths(server):
            for method in METHODS:
                for headers in credentials:
                    async with http.stream(method, server.url + path, headers=headers) as response:
                        check(response.headers, (method, path, headers, response.status_code))
                        seen.add(response.status_code)
    assert seen >= {200, 201, 204, 304, 400, 401, 403, 404, 405}


async def test_open_paths_and_refusals_of_limits_do_so_too(memory_log: MemoryLog, with_handover: bool) -> None:
    async with (
        serving(
            memory_log,
            with_handover=with_handover,
            auth_jwt_secret=SECRET,
            auth_open_realtime=True,
            sse_max_clients=1,
            limits_requests_per_second=2,
        ) as server,
        client(server) as http,
    ):
        async with http.stream("GET", "/realtime/sse") as stream, http.stream("GET", "/realtime/sse") as full:
            assert (stream.status_code, full.status_code) == (200, 503)
            check(stream.headers, "an open stream")
            check(full.headers, "no place")
        responses = await asyncio.gather(*(http.get(EXPORT) for _ in range(8)))
        for response in responses:
            check(response.headers, response.status_code)
        assert 429 in [response.status_code for response in responses]
        for request in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 200 + b"\r\n"):
            check(await raw_headers(server, request), request[:20])


async def raw_headers(server: RunningServer, request: bytes) -> httpx.Headers:
    url = httpx.URL(server.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    fields = (line.partition(b": ") for line in head.split(b"\r\n")[1:-2])
    return httpx.Headers([(name, value) for name, _, value in fields])


async def test_a_refused_websocket_does_so_too(memory_log: MemoryLog, with_handover: bool) -> None:
    async with serving(memory_log, with_handover=with_handover, auth_jwt_secret=SECRET) as server:
        for headers in ({"x-api-key": "wrong"}, {"origin": "https://evil.example.com"}):
            with pytest.raises(InvalidStatus) as refused:
                async with connect(server.websocket_url, additional_headers=headers):
                    pass
            check(httpx.Headers(list(refused.value.response.headers.raw_items())), headers)


async def test_head_answers_like_get_and_leaves_no_stream(memory_log: MemoryLog, with_handover: bool) -> None:
    async with (
        serving(memory_log, with_handover=with_handover) as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        for _ in range(2):
            answer = await http.head("/api/v1/events/stream")
            assert (answer.status_code, answer.content) == (200, b"")
            assert answer.headers["content-type"].startswith("text/event-stream")
        assert application(server).web.state.gateway.sse_limit.open_count == 0
        assert server.pipeline.hub.subscriber_count == 0


async def test_without_credentials_only_what_names_a_lifetime_is_kept(memory_server: RunningServer) -> None:
    async with client(memory_server) as http:
        for path, expected in (("/api/v1/flags", "no-store"), (EXPORT, "no-cache"), ("/", "no-cache")):
            answer = await http.get(path)
            assert answer.headers["cache-control"] == expected, path
            assert not CREDENTIALS & set(answer.headers.get("vary", "").split(", "))


@pytest.mark.parametrize("name", sorted(CREDENTIALS))
def test_every_header_that_may_hold_a_credential_is_in_vary(name: str) -> None:
    value = {
        "authorization": b"Bearer k",
        "cookie": b"access_token=k",
        "sec-websocket-protocol": b"flagent.v1, flagent.key.aw",
    }.get(name, b"k")
    assert header_credential([(name.encode(), value)], "access_token") == "k"
    assert name in dict(CachePolicy(is_private=True).apply([]))[b"vary"].decode().split(", ")


@pytest.mark.parametrize(
    ("is_private", "given", "expected"),
    [
        (False, [], b"no-store"),
        (False, [(b"etag", b'"a"')], b"no-cache"),
        (False, [(b"cache-control", b"public, max-age=60")], b"public, max-age=60"),
        (True, [], b"private, no-store"),
        (True, [(b"etag", b'"a"')], b"private, no-cache"),
        (True, [(b"etag", b'"a"'), (b"cache-control", b"public, max-age=60")], b"private, max-age=60"),
        (True, [(b"cache-control", b"Public, max-age=60, s-maxage=60, immutable")], b"private, no-store"),
        (True, [(b"cache-control", b"no-cache, no-transform")], b"private, no-store, no-cache, no-transform"),
        (True, [(b"cache-control", b"no-store"), (b"cache-control", b"private")], b"private, no-store"),
    ],
)
def test_a_policy_completes_the_directives(is_private: bool, given: list[tuple[bytes, bytes]], expected: bytes) -> None:
    assert dict(CachePolicy(is_private=is_private).apply(given))[b"cache-control"] == expected


def test_vary_is_one_header_with_each_name_once() -> None:
    headers = [(b"vary", b"Accept-Encoding, Cookie"), (b"vary", b"origin"), (b"x", b"y")]
    applied = CachePolicy(is_private=True).apply(headers)
    assert [value for name, value in applied if name == b"vary"] == [
        b"accept-encoding, cookie, origin, authorization, sec-websocket-protocol, x-api-key"
    ]
    assert (b"x", b"y") in applied
    assert dict(CachePolicy(is_private=False).apply(headers))[b"vary"] == b"accept-encoding, cookie, origin"
