"""Evaluation over the WebSocket."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect

from api.streams import websocket_evaluation
from tests.fixtures.server import RunningServer, serving
from tests.fixtures.vectors import VECTORS, differences, load_vectors
from tests.fixtures.websocket import receive


@pytest.fixture
async def vector_server(database_url: str) -> AsyncIterator[RunningServer]:
    load_vectors(database_url)
    async with serving(database_url) as running:
        yield running


async def test_all_vectors_pass_over_the_websocket(vector_server: RunningServer) -> None:
    failed = {}
    async with connect(vector_server.websocket_url) as socket:
        for number, vector in enumerate(VECTORS):
            await socket.send(json.dumps({"type": "evaluate", "requestId": str(number), **vector["request"]}))
            answer = await receive(socket)
            assert answer["type"] == "evaluation_result", (vector["name"], answer)
            assert answer["requestId"] == str(number)
            assert int(answer["position"]) >= 1
            if wrong := differences(vector["expected"], answer["result"]):
                failed[vector["name"]] = wrong
    assert not failed


async def test_a_position_that_does_not_come_is_waited_for_within_bounds(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_evaluation, "_MIN_POSITION_WAIT_S", 0.5)
    monkeypatch.setattr(websocket_evaluation, "_MAX_WAITING", 2)
    questions: list[dict[str, Any]] = [
        {"type": "evaluate", "requestId": "one", "flagKey": "a"},
        {"type": "evaluate_batch", "requestId": "batch", "flagKeys": ["a"], "entities": [{}]},
        {"type": "evaluate", "requestId": "one too many", "flagKey": "a"},
    ]
    async with connect(server.websocket_url) as socket:
        for question in questions:
            await socket.send(json.dumps({**question, "minPosition": "1000000"}))
        await socket.send('{"type":"ping","requestId":"meanwhile"}')
        answers = [await receive(socket) for _ in range(4)]
    assert [(answer["requestId"], answer.get("code")) for answer in answers] == [
        ("one too many", "too_many_waiting"),
        ("meanwhile", None),
        ("one", "position_not_reached"),
        ("batch", "position_not_reached"),
    ]
    assert "1000000" in answers[2]["message"]


async def test_over_the_websocket_an_error_carries_the_request_id(memory_server: RunningServer) -> None:
    async with connect(memory_server.websocket_url) as socket:
        await socket.send('{"type":"evaluate","requestId":"bad","flagKey":"a","entityContext":[1]}')
        answer = await receive(socket)
    assert (answer["type"], answer["requestId"]) == ("error", "bad")
    assert "entityContext" in answer["message"]


async def test_a_large_batch_leaves_the_loop_to_others_and_is_answered_last(memory_server: RunningServer) -> None:
    entities = [{"entityID": f"u{number}"} for number in range(2_500)]
    batch = {"type": "evaluate_batch", "requestId": "batch", "entities": entities, "flagKeys": ["a", "b", "c", "d"]}
    async with connect(memory_server.websocket_url, max_size=None) as socket:
        await socket.send(json.dumps(batch))
        await socket.send(json.dumps({"type": "ping", "requestId": "ping"}))
        first, second = await receive(socket), await receive(socket)
    assert (first["type"], second["requestId"]) == ("pong", "batch")
    assert len(second["results"]) == 10_000
