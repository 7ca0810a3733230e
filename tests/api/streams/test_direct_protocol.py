"""What the protocol keeps for its clients on the direct way: deadlines, idle connections, the order of answers, the end
of the server. tests/api/routes/test_direct.py compares the answers themselves with those through ASGI."""

import asyncio
import json
from typing import Any

import pytest

from api.streams.direct_protocol import DirectHttpProtocol
from cdc.source.memory import MemoryLog
from tests.fixtures.hostile import raw
from tests.fixtures.server import RunningServer, port_of, serving, until

EVALUATION = b"POST /api/v1/evaluation HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = HEALTH[:-2] + b"Connection: close\r\n\r\n"


def evaluation(**fields: Any) -> bytes:
    body = json.dumps({"flagKey": "a", **fields}).encode()
    return EVALUATION % len(body) + body


def protocols(server: RunningServer) -> list[DirectHttpProtocol]:
    return [each for each in server.uvicorn.server_state.connections if isinstance(each, DirectHttpProtocol)]


async def test_an_idle_connection_is_closed_after_its_last_answer(memory_server: RunningServer) -> None:
    memory_server.uvicorn.config.timeout_keep_alive = 0
    async with raw(port_of(memory_server)) as connection:
        await connection.send(HEALTH)
        assert (await connection.read_to_end()).startswith(b"HTTP/1.1 200 ")


async def test_each_answer_renews_the_time_of_an_idle_connection(
    memory_server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw(port_of(memory_server)) as connection:
        await connection.send(HEALTH)
        await connection.head()
        (protocol,) = protocols(memory_server)
        # The timer of the first answer ends, but there was another one since.
        protocol.timeout_keep_alive_handler()
        assert protocol.timeout_keep_alive_task is not None
        assert not protocol.transport.is_closing()
        protocol._answered_at_s -= protocol.timeout_keep_alive
        protocol.timeout_keep_alive_handler()
        assert protocol.transport.is_closing()


async def test_a_body_that_does_not_arrive_ends_the_connection(memory_log: MemoryLog) -> None:
    async with serving(memory_log, limits_request_timeout_s=0.1) as server, raw(port_of(server)) as connection:
        await connection.send(HEALTH + evaluation(entityID="u")[:-3])
        received = await connection.read_to_end()
        assert received.count(b"HTTP/1.1 ") == 1, "an answer to the second would be read as one to the first"


async def test_a_client_that_goes_away_in_its_body_leaves_nothing_behind(memory_server: RunningServer) -> None:
    async with raw(port_of(memory_server)) as connection:
        await connection.send(evaluation(entityID="u")[:-3])
        await until(lambda: any(each._head is not None for each in protocols(memory_server)), "the head's arrival")
        (protocol,) = protocols(memory_server)
    await until(lambda: not protocols(memory_server), "the connection's end")
    assert protocol._head is None
    assert protocol._deadline is None


async def test_an_answer_that_waits_holds_back_those_behind_it(memory_server: RunningServer) -> None:
    large = {"entities": [{"entityID": f"u{number}"} for number in range(2_000)], "flagKeys": ["a"]}
    body = json.dumps(large).encode()
    batch = EVALUATION.replace(b"evaluation ", b"evaluation/batch ") % len(body) + body
    async with raw(port_of(memory_server)) as connection:
        await connection.send(batch + evaluation(entityID="last") + LAST)
        received = await connection.read_to_end()
    first, second, third = (received.index(text) for text in (b"evaluationResults", b'"entityID":"last"', b'"status"'))
    assert first < second < third


async def test_a_server_that_shuts_down_answers_what_waits(memory_log: MemoryLog) -> None:
    large = {"entities": [{"entityID": f"u{number}"} for number in range(5_000)], "flagKeys": ["a"]}
    body = json.dumps(large).encode()
    batch = EVALUATION.replace(b"evaluation ", b"evaluation/batch ") % len(body) + body
    async with serving(memory_log) as server, raw(port_of(server)) as connection:
        await connection.send(batch)
        await until(
            lambda: any(each.cycle is not None and not each.cycle.response_complete for each in protocols(server)),
            "the answer's begin",
        )
        for each in protocols(server):
            each.shutdown()  # as uvicorn calls it
        received = await connection.read_to_end()
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.partition(b"\r\n\r\n")[0].endswith(b"\r\nconnection: close")
    assert received.endswith(b"]}")


async def test_many_requests_of_one_read_leave_the_loop_to_others(memory_server: RunningServer) -> None:
    turns = 0
    async with raw(port_of(memory_server)) as connection:
        await connection.send(HEALTH * 500 + LAST)
        reading = asyncio.ensure_future(connection.read_to_end())
        while not reading.done():
            await asyncio.sleep(0)
            turns += 1
        assert (await reading).count(b"HTTP/1.1 200 OK") == 501
    assert turns > 20
