"""Every test that reads a WebSocket meets heartbeats it did not ask for; the helper that all of them use skips them."""

import random
import re
from pathlib import Path

import pytest

from tests.fixtures.heartbeats import INJECTED, Injector
from tests.fixtures.server import RunningServer
from tests.fixtures.websocket import receive, request, send, websocket

ROOT = Path(__file__).parents[3]

# Where the raw messages are the subject: all that is sent, heartbeats themselves, closing, documented messages.
RAW = {
    "tests/api/access/test_authentication.py",
    "tests/api/access/test_row_rights.py",
    "tests/cdc/fanout/test_keepalive.py",
    "tests/cdc/jetstream/test_tier.py",
    "tests/docs/test_asyncapi.py",
    "tests/faults/test_database.py",
    "tests/fixtures/heartbeats.py",
    "tests/fixtures/websocket.py",
    "tests/api/streams/test_heartbeats.py",
}


def test_messages_keep_their_order_and_only_heartbeats_are_added() -> None:
    sent = ['{"type":"pong"}', '{"type":"subscribed"}', *(f'{{"type":"n{number}"}}' for number in range(200))]
    injector = Injector(random.Random(7), 0.5)
    got: list[str] = []
    for message in sent:
        got.append(injector.pass_on(message))
        if (waiting := injector.next_waiting()) is not None:
            got.append(waiting)
    assert [message for message in got if INJECTED not in message] == sent
    assert 60 < injector.count < 140
    # Before a subscription a server sends none.
    assert got[:2] == sent[:2]


async def test_the_messages_of_a_real_connection_are_mixed_with_heartbeats(memory_server: RunningServer) -> None:
    seen: list[str] = []
    async with websocket(memory_server.websocket_url) as socket:
        assert (await request(socket, type="subscribe", subscribeAll=True))["type"] == "subscribed"
        for number in range(60):
            await send(socket, type="ping", requestId=str(number))
            while '"pong"' not in (message := str(await socket.recv())):
                seen.append(message)
        assert any(INJECTED in message for message in seen)
        for number in range(20):
            answer = await request(socket, type="ping", requestId=str(number))
            assert (answer["type"], answer["requestId"]) == ("pong", str(number))
        await send(socket, type="ping")
        assert (await receive(socket, "pong"))["type"] == "pong"


READERS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "tests").rglob("*.py")
    if re.search(r"\.recv\(\)|async for \w+ in (?:socket|connection)\b", path.read_text(encoding="utf-8"))
)


@pytest.mark.parametrize("path", READERS)
def test_messages_are_read_by_the_helper(path: str) -> None:
    assert path in RAW, f"{path}: use receive or request of tests/fixtures/websocket.py, which skip heartbeats"
