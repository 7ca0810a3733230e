"""The WebSocket path of the application."""

import json
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from api.http.problem import Problem
from api.streams.asgi_websocket import WebSocketEndpoint
from cdc.source.memory import MemoryLog
from tests.fixtures.server import RunningServer, serving
from tests.fixtures.websocket_client import talking


async def test_a_plain_get_on_the_path_is_refused(either_memory_server: RunningServer) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.get(either_memory_server.url + "/ws")
    assert response.status_code in (404, 426)


async def test_it_can_be_switched_off(memory_log: MemoryLog) -> None:
    async with serving(memory_log, websocket_enabled=False) as server:
        with pytest.raises(InvalidStatus) as refused:
            async with talking(server):
                pass
    assert refused.value.response.status_code in (403, 404)


async def refuse(extensions: dict[str, Any]) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """The messages of a refused handshake, and the refusals that were counted."""
    sent: list[dict[str, Any]] = []
    counted: list[tuple[str, str]] = []

    def admit(path: str, query: bytes, headers: Any) -> Any:
        raise Problem(503, "too_many_connections", "all connections are in use", retry_after_s=3)

    gateway: Any = SimpleNamespace(
        admit_websocket=admit, count_refusal=lambda transport, problem: counted.append((transport, problem.code))
    )

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/ws", "query_string": b"", "headers": [], "extensions": extensions}
    await WebSocketEndpoint(gateway)(scope, receive, send)
    return sent, counted


async def test_a_refused_handshake_is_answered_with_the_problem() -> None:
    sent, counted = await refuse({"websocket.http.response": {}})
    assert [message["type"] for message in sent] == ["websocket.http.response.start", "websocket.http.response.body"]
    assert sent[0]["status"] == 503
    assert (b"retry-after", b"3") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["code"] == "too_many_connections"
    assert counted == [("websocket", "too_many_connections")]


async def test_a_server_without_denial_responses_closes_instead() -> None:
    sent, counted = await refuse({})
    assert sent == [{"type": "websocket.close", "code": 1013, "reason": "all connections are in use"}]
    assert counted == [("websocket", "too_many_connections")]
