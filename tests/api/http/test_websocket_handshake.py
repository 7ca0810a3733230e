"""Handshakes that miss the WebSocket: what a person reads who connects to a wrong address, or with a wrong client."""

import json
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from api.http.problem import Problem
from api.http.websocket_handshake import check_handshake, wrong_address
from cdc.source.memory import MemoryLog
from tests.fixtures.authenticated import SECRET
from tests.fixtures.hostile import Raw, raw
from tests.fixtures.server import RunningServer, serving

STREAM = " is an event stream (SSE), not a WebSocket; connect to /ws"

FIELDS = {
    b"host": b"localhost",
    b"connection": b"Upgrade",
    b"upgrade": b"websocket",
    b"sec-websocket-version": b"13",
    b"sec-websocket-key": b"AAAAAAAAAAAAAAAAAAAAAA==",
}


def request(target: str = "/ws", method: str = "GET", version: str = "1.1", **changed: bytes | None) -> bytes:
    fields: dict[bytes, bytes | None] = {
        **FIELDS,
        **{name.replace("_", "-").encode(): value for name, value in changed.items()},
    }
    lines = [name + b": " + value for name, value in fields.items() if value is not None]
    return b"\r\n".join([f"{method} {target} HTTP/{version}".encode(), *lines, b"", b""])


async def read(connection: Raw) -> tuple[int, httpx.Headers, Any]:
    """One response with its body, decoded from JSON."""
    head = (await connection.head()).split(b"\r\n")
    lines = (line.partition(b": ") for line in head[1:-2])
    headers = httpx.Headers([(name, value) for name, _, value in lines])
    body = await connection.reader.readexactly(int(headers.get("content-length", 0)))
    return int(head[0].split(b" ")[1]), headers, json.loads(body) if body else None


async def answer(server: RunningServer, sent: bytes) -> tuple[int, httpx.Headers, Any]:
    port = httpx.URL(server.url).port
    assert port is not None
    async with raw(port) as connection:
        await connection.send(sent)
        return await read(connection)


async def test_a_wrong_address_is_named_with_the_right_one(memory_log: MemoryLog, with_handover: bool) -> None:
    for settings in ({}, {"auth_jwt_secret": SECRET}):
        async with serving(memory_log, with_handover=with_handover, **settings) as server:
            for path, what in (
                ("/", "no WebSocket at /; connect to /ws"),
                ("/ws/", "no WebSocket at /ws/; connect to /ws"),
                ("/api/v1/flags", "no WebSocket at /api/v1/flags; connect to /ws"),
                (
                    "/api/v1/events/stream",
                    "/api/v1/events/stream is an event stream (SSE), not a WebSocket; connect to /ws",
                ),
                ("/realtime/sse", f"/realtime/sse{STREAM}"),
            ):
                with pytest.raises(InvalidStatus) as refused:
                    async with connect(server.url.replace("http", "ws", 1) + path):
                        pass
                response = refused.value.response
                assert response.status_code == 404
                assert response.headers["content-type"] == "application/problem+json"
                problem = json.loads(response.body or b"")
                assert (problem["code"], problem["detail"]) == ("not_found", what)


async def test_where_websockets_are_disabled_the_answer_says_so(memory_log: MemoryLog, with_handover: bool) -> None:
    async with serving(memory_log, with_handover=with_handover, websocket_enabled=False) as server:
        status, _, problem = await answer(server, request())
        assert (status, problem["detail"]) == (404, "no WebSocket at /ws; WebSockets are disabled on this server")
        assert (await answer(server, b"GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n"))[0] == 404


async def test_an_ordinary_request_at_the_websocket_is_answered_with_what_it_is(
    memory_log: MemoryLog, with_handover: bool
) -> None:
    for settings in ({}, {"auth_jwt_secret": SECRET}):
        async with serving(memory_log, with_handover=with_handover, **settings) as server:
            for method, fields in (
                ("GET", {}),
                ("POST", {}),
                ("GET", {"connection": "Upgrade", "upgrade": "h2c"}),
                ("GET", {"connection": "close", "upgrade": "websocket"}),
            ):
                lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
                sent = f"{method} /ws HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode()
                status, headers, problem = await answer(server, sent)
                assert (status, problem["code"]) == (426, "upgrade_required")
                assert "/ws is a WebSocket" in problem["detail"]
                assert headers["upgrade"] == "websocket"
                assert "upgrade" in headers.get_list("connection")
                assert headers["sec-websocket-version"] == "13"


async def test_a_handshake_that_cannot_succeed_gets_a_reason(memory_log: MemoryLog, with_handover: bool) -> None:
    cases: list[tuple[bytes, int, str]] = [
        (request(sec_websocket_version=b"8"), 426, "unsupported_websocket_version"),
        (request(sec_websocket_version=b"13, 8"), 426, "unsupported_websocket_version"),
        (request(sec_websocket_version=None), 426, "unsupported_websocket_version"),
        (request("/nowhere", sec_websocket_version=b"8"), 426, "unsupported_websocket_version"),
        (request(sec_websocket_key=None), 400, "invalid_handshake"),
        (request(sec_websocket_key=b"AAAA"), 400, "invalid_handshake"),
        (request(sec_websocket_key=b"?"), 400, "invalid_handshake"),
        (request(sec_websocket_extensions=b';;;="'), 400, "invalid_handshake"),
        (request(sec_websocket_protocol=b"a b"), 400, "invalid_handshake"),
        (request(version="1.0"), 400, "invalid_handshake"),
        (request(transfer_encoding=b"chunked") + b"0\r\n\r\n", 400, "invalid_handshake"),
        (request(content_length=b"3") + b"abc", 400, "invalid_handshake"),
        (request(method="POST"), 405, "method_not_allowed"),
    ]
    async with serving(memory_log, with_handover=with_handover) as server:
        for sent, status, code in cases:
            found, headers, problem = await answer(server, sent)
            assert (found, problem["code"]) == (status, code), sent
            if status == 426:
                assert headers["sec-websocket-version"] == "13"
                assert headers["upgrade"] == "websocket"
        for sent in (request(), request(content_length=b"0")):
            assert (await answer(server, sent))[0] == 101


def test_a_long_address_is_repeated_in_part() -> None:
    assert len(wrong_address("/" + "a" * 10_000, "/ws", is_stream=False).detail) < 300


def test_a_whole_handshake_passes() -> None:
    check_handshake("GET", "1.1", list(FIELDS.items()))
    with pytest.raises(Problem, match="one Sec-WebSocket-Key"):
        check_handshake("GET", "1.1", [*FIELDS.items(), (b"sec-websocket-key", FIELDS[b"sec-websocket-key"])])
