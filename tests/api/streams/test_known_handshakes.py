"""Handshakes that were read before are answered as every other one."""

import asyncio
import re
from typing import Any

import pytest

from api.limits.allowed_hosts import AllowedHosts
from api.streams.known_handshakes import KnownHandshakes, answer_handshake, has_key
from cdc.source.memory import MemoryLog
from tests.fixtures.authenticated import SECRET
from tests.fixtures.hostile import raw
from tests.fixtures.server import DEADLINE_S, RunningServer, port_of, serving

KEYS = (b"dGhlIHNhbXBsZSBub25jZQ==", b"AQIDBAUGBwgJCgsMDQ4PEA==")

COMMON = b"Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
KEY = b"Sec-WebSocket-Key: %b\r\n"
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
SUBPROTOCOL = b"Sec-WebSocket-Protocol: a, flagent.v1\r\n"

HEADS = {
    "plain": COMMON + KEY,
    "compressed": COMMON + KEY + DEFLATE,
    "of a browser": (
        b"Host: localhost\r\nConnection: keep-alive, Upgrade\r\nPragma: no-cache\r\nUpgrade: WebSocket\r\n"
        b"Origin: http://localhost\r\nSec-WebSocket-Version: 13\r\n" + KEY + DEFLATE
    ),
    "in lower case": (COMMON + KEY).replace(b"Sec-WebSocket", b"sec-websocket"),
    "a subprotocol": COMMON + KEY + SUBPROTOCOL,
    "a smaller window": COMMON + KEY + b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n",
    "another extension": COMMON + KEY + b"Sec-WebSocket-Extensions: bbf-usp-protocol, permessage-deflate\r\n",
    "a bad extension": COMMON + KEY + b'Sec-WebSocket-Extensions: ;;="\r\n',
    "two origins": COMMON + KEY + b"Origin: http://localhost\r\nOrigin: http://127.0.0.1\r\n",
    "a foreign origin": COMMON + KEY + b"Origin: https://evil.example\r\n",
    "a foreign host": (COMMON + KEY).replace(b"localhost", b"evil.example"),
    "no host": (COMMON + KEY).replace(b"Host: localhost\r\n", b""),
    "two keys": COMMON + KEY + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
    "a short key": COMMON + b"Sec-WebSocket-Key: x%b\r\n",
    "a bad key": COMMON + b"Sec-WebSocket-Key: %b\r\n",
    "an old version": (COMMON + KEY).replace(b"13", b"8"),
    "another upgrade": (COMMON + KEY).replace(b"websocket", b"h2c"),
    "two upgrades": COMMON + KEY + b"Upgrade: h2c\r\n",
    "another connection": COMMON + KEY + b"Connection: close\r\n",
    "a body": COMMON + KEY + b"Content-Length: 0\r\n",
    "a long head": COMMON + KEY + b"X-Long: " + b"x" * 3_000 + b"\r\n",
    "a credential": COMMON + KEY + b"Authorization: Bearer x\r\n",
}


# Before a request, an empty line is ignored (RFC 9112, section 2.2): uvicorn's parser reads this head.
ORDINARY = b"\r\n"


def request(head: bytes, key: bytes, target: bytes = b"/ws") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + head.replace(b"%b", key) + b"\r\n"


async def answer(server: RunningServer, sent: bytes) -> bytes:
    """The response, without what differs from one second to the next."""
    async with raw(port_of(server)) as connection, asyncio.timeout(DEADLINE_S):
        await connection.send(sent)
        head = await connection.head()
        length = re.search(rb"content-length: (\d+)", head)
        body = b"" if length is None else await connection.reader.readexactly(int(length[1]))
        return re.sub(rb"(?im)^(date|retry-after): .*\r\n", b"", head) + body


@pytest.mark.parametrize("name", HEADS)
async def test_both_ways_answer_alike(memory_server: RunningServer, name: str) -> None:
    head = HEADS[name]
    keys = (b"?" * 24,) * 2 if name == "a bad key" else KEYS
    for target in (b"/ws", b"/%77s", b"/nowhere", b"/ws?access_token=x"):
        for key in keys:
            sent = request(head, key, target)
            expected = await answer(memory_server, ORDINARY + sent)
            assert await answer(memory_server, sent) == expected
    assert (expected[:12] == b"HTTP/1.1 101") is (name in OPEN)


OPEN = {
    "plain", "compressed", "of a browser", "in lower case", "a subprotocol", "a smaller window", "another extension",
    "a body", "a long head", "a credential",
}  # fmt: skip


@pytest.mark.parametrize(
    "settings", [{"auth_jwt_secret": SECRET}, {"limits_requests_per_second": 1}, {"websocket_enabled": False}]
)
async def test_both_ways_refuse_alike(memory_log: MemoryLog, settings: dict[str, Any]) -> None:
    found = []
    for before in (ORDINARY, b""):
        async with serving(memory_log, **settings) as server:
            found.append([await answer(server, before + request(HEADS["compressed"], key)) for key in KEYS * 2])
    assert found[0] == found[1]


def test_only_a_common_handshake_is_known() -> None:
    known = KnownHandshakes("/ws", AllowedHosts())
    common = {"plain", "compressed", "of a browser", "in lower case", "a subprotocol", "a smaller window"}
    common |= {"another extension", "two origins", "a foreign origin", "a foreign host", "a body", "a credential"}
    assert {name for name, head in HEADS.items() if known.find(request(head, KEYS[0])) is not None} == common | {
        "a bad key"
    }
    assert known.find(request(HEADS["a bad key"], b"?" * 24)) is None
    assert KnownHandshakes(None, AllowedHosts()).find(request(HEADS["plain"], KEYS[0])) is None


def test_a_handshake_is_read_once_whatever_its_key() -> None:
    known = KnownHandshakes("/ws", AllowedHosts())
    first, second = (known.find(request(HEADS["compressed"], key)) for key in KEYS)
    assert first is not None
    assert second is not None
    assert first[0] is second[0]
    assert (first[1], second[1]) == KEYS
    answers = [handshake.answer(key, None) for handshake, key in (first, second)]
    assert answers[0].response != answers[1].response
    assert answers[0].deflate is not answers[1].deflate


def test_a_key_is_found_in_any_case() -> None:
    assert has_key(request(HEADS["plain"], KEYS[0]))
    assert has_key(request(HEADS["in lower case"], KEYS[0]))
    assert not has_key(b"GET /?sec-websocket-key: HTTP/1.1\r\nHost: a\r\n\r\n")


def test_a_refused_handshake_is_not_accepted() -> None:
    assert not answer_handshake(b"/ws", [(b"connection", b"close")], None).is_accepted
