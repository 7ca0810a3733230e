"""Request bodies of limited size."""

from typing import Any

import httpx
import pytest
from fastapi import Request

from api.http.problem import Problem
from api.http.request_body import MAX_BODY_BYTES, read_body
from tests.fixtures.server import RunningServer


async def test_a_body_beyond_the_limit_is_refused(memory_server: RunningServer) -> None:
    async with httpx.AsyncClient(base_url=memory_server.url) as client:
        response = await client.post("/api/v1/evaluation", content=b" " * 2_000_000)
    assert response.status_code == 413


class Client:
    """Sends a body in pieces; `sent` counts the pieces that were taken."""

    def __init__(self, *pieces: bytes, disconnects: bool = False) -> None:
        self._messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": piece, "more_body": number < len(pieces) or disconnects}
            for number, piece in enumerate(pieces, 1)
        ]
        if disconnects:
            self._messages.append({"type": "http.disconnect"})
        self.sent = 0

    async def receive(self) -> dict[str, Any]:
        self.sent += 1
        return self._messages[self.sent - 1]

    def request(self) -> Request:
        return Request({"type": "http"}, self.receive)


async def test_a_body_in_pieces_is_read_whole() -> None:
    assert await read_body(Client(b"{", b"", b"}").request()) == b"{}"
    assert len(await read_body(Client(b"x" * MAX_BODY_BYTES).request())) == MAX_BODY_BYTES


async def test_the_rest_of_a_body_that_is_too_large_is_not_read() -> None:
    client = Client(*[b"x" * (MAX_BODY_BYTES // 2 + 1)] * 5)
    with pytest.raises(Problem) as caught:
        await read_body(client.request())
    assert (caught.value.status, caught.value.code) == (413, "body_too_large")
    assert client.sent == 2


async def test_a_client_that_disconnects_is_no_error_of_the_server() -> None:
    with pytest.raises(Problem) as caught:
        await read_body(Client(b"{", disconnects=True).request())
    assert (caught.value.status, caught.value.code) == (400, "body_incomplete")
