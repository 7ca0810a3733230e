"""Slow, broken and malicious clients: each gets an error or is disconnected, and no other client is affected.

`HTTP` and `WEBSOCKET` are catalogues of bad input, sent as raw bytes; `docs/explanation/figures.md` counts them.
"""

import asyncio
import json
import logging
import re
import time
import zlib
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.flags import Writer
from tests.fixtures.hostile import HANDSHAKE, Raw, frame, raw, raw_websocket, text
from tests.fixtures.server import RunningServer, ServerProcess, port_of, serving, sse, until

pytestmark = pytest.mark.timeout(90)

DEEP = b"[" * 100_000
EVALUATION = b"POST /api/v1/evaluation HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def post(body: bytes, head: bytes = EVALUATION) -> bytes:
    return head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body


def get(target: bytes, *headers: bytes) -> bytes:
    return (
        b"GET "
        + target
        + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        + b"".join(header + b"\r\n" for header in headers)
        + b"\r\n"
    )


def handshake(**changed: bytes) -> bytes:
    lines = {
        "Host": b"localhost", "Upgrade": b"websocket", "Connection": b"Upgrade",
        "Sec-WebSocket-Key": b"AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version": b"13",
    }  # fmt: skip
    for name, value in changed.items():
        lines[name.replace("_", "-")] = value
    return b"GET /ws HTTP/1.1\r\n" + b"".join(name.encode() + b": " + lines[name] + b"\r\n" for name in lines) + b"\r\n"


# The bytes of a request, and the allowed statuses; 0 is a close without a response.
HTTP: dict[str, tuple[bytes, set[int]]] = {
    "noise": (bytes(range(256)) * 4, {400}),
    "TLS on a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), {400}),
    "HTTP/2 by prior knowledge": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505, 404}),
    "an unknown method": (b"FROB / HTTP/1.1\r\nHost: localhost\r\n\r\n", {400}),
    "an unknown version": (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", {400}),
    "no host": (b"GET /healthz HTTP/1.1\r\n\r\n", {400}),
    "two hosts": (get(b"/healthz", b"Host: localhost"), {400}),
    "an invalid host": (get(b"/healthz").replace(b"localhost", b"local host"), {400}),
    "a WebSocket without a host": (handshake().replace(b"Host", b"X-Host"), {400}),
    "a field without a colon": (b"GET / HTTP/1.1\r\nHost x\r\n\r\n", {400}),
    "a NUL in a field": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n", {400}),
    "a folded field": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n\tb\r\n\r\n", {400, 404, 200}),
    "an address of a megabyte": (get(b"/" + b"a" * 2**20), {431}),
    "a query of 90 kB": (get(b"/api/v1/events/stream?flag=" + b"a" * 90_000), {400, 414}),
    "a field of a megabyte": (get(b"/healthz", b"X: " + b"a" * 2**20), {431}),
    "ten thousand fields": (get(b"/healthz", *[b"X-%d: 1" % n for n in range(10_000)]), {431}),
    "broken percent encoding": (get(b"/api/v1/events/stream?flag=%ff%fe"), {400}),
    "a path that is not UTF-8": (get(b"/api/v1/\xff\xfe"), {400, 404}),
    "a path that is not UTF-8, encoded": (get(b"/api/v1/flags/%ff%fe"), {400, 404}),
    "a path upwards": (get(b"/api/v1/../../../../etc/passwd"), {404, 400}),
    "a flag of 10 kB": (get(b"/api/v1/flags/" + b"9" * 10_000), {400, 404}),
    "a proxy's request": (get(b"http://other.example/healthz"), {421}),
    "CONNECT": (b"CONNECT other.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 404, 405, 0}),
    "thousands of parameters": (get(b"/api/v1/events/stream?" + b"flag=a&" * 5_000), {400}),
    "a negative length": (EVALUATION + b"Content-Length: -1\r\n\r\n", {400}),
    "two lengths": (EVALUATION + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", {400}),
    "a huge length": (EVALUATION + b"Content-Length: 99999999999999999999999\r\n\r\n", {400}),
    "a length and chunks": (EVALUATION + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    "chunks with an invalid size": (EVALUATION + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", {400}),
    "a huge chunk": (EVALUATION + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", {400}),
    "a body of 20 MB": (post(b" " * 20_000_000), {413, 0}),
    "an empty body": (post(b""), {400}),
    "deep JSON": (post(DEEP), {400}),
    "deep JSON, closed": (post(DEEP + b"]" * 100_000), {400}),
    "deep objects": (post(b'{"a":' * 50_000 + b"1" + b"}" * 50_000), {400}),
    "JSON in Latin-1": (post(b'{"flagKey": "\xe9"}'), {400}),
    "half a surrogate": (post(b'{"flagKey": "\\ud800", "entityID": "\\udfff"}'), {200, 400, 404}),
    "not a number": (post(b'{"flagID": NaN}'), {400}),
    "a huge number": (post(b'{"flagID": ' + b"9" * 100_000 + b"}"), {400}),
    "a huge exponent": (post(b'{"flagID": 1e999999999}'), {400}),
    "a fraction": (post(b'{"flagID": 1.5}'), {400}),
    "a list": (post(b"[1, 2]"), {400}),
    "a text": (post(b'"x"'), {400}),
    "wrong types": (post(b'{"flagID": {"a": []}, "entityContext": 7}'), {400}),
    "zeros": (post(bytes(1000)), {400}),
    "a compressed body": (post(zlib.compress(b"{}"), EVALUATION + b"Content-Encoding: deflate\r\n"), {400, 415}),
    "a huge batch": (
        post(
            json.dumps({"entities": [{"entityID": "e"}] * 20_000, "flagKeys": ["a"] * 2_000}).encode(),
            EVALUATION.replace(b"/evaluation", b"/evaluation/batch"),
        ),
        {400, 413},
    ),
    "a WebSocket of version 7": (handshake(Sec_WebSocket_Version=b"7"), {426}),
    "a WebSocket with a short key": (handshake(Sec_WebSocket_Key=b"AAAA"), {400}),
    "a WebSocket without a key": (handshake().replace(b"Sec-WebSocket-Key", b"X-Key"), {400}),
    "a WebSocket at an invalid address": (handshake().replace(b"/ws", b"http://[/ws"), {400}),
    "a WebSocket at a path of invalid bytes": (handshake().replace(b"/ws", b"/\xff\xfe"), {400}),
    "a WebSocket at an unknown path": (handshake().replace(b"/ws", b"/nowhere"), {404}),
    "invalid extensions": (handshake(Sec_WebSocket_Extensions=b';;;="'), {400}),
    "a thousand extensions": (handshake(Sec_WebSocket_Extensions=b"permessage-deflate, " * 1000 + b"x"), {101, 400}),
    "a window of 99 bits": (
        handshake(Sec_WebSocket_Extensions=b"permessage-deflate; server_max_window_bits=99"), {101, 400}
    ),
    "an upgrade to an unsupported protocol": (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", {200}
    ),
}  # fmt: skip


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


# Frames, and the expected close code; 0 is an `error` message on a connection that stays open.
WEBSOCKET: dict[str, tuple[bytes, int]] = {
    "a frame without a mask": (frame(1, b"{}", masked=False), 1002),
    "a reserved bit": (frame(1, b"{}", rsv=1), 1002),
    "all reserved bits": (frame(1, b"{}", rsv=7), 1002),
    "an unknown opcode": (frame(3, b"x"), 1002),
    "an unknown control opcode": (frame(11, b"x"), 1002),
    "a ping of 126 bytes": (frame(9, b"x" * 126), 1002),
    "a ping in fragments": (frame(9, b"x", fin=False), 1002),
    "a continuation without a start": (frame(0, b"x"), 1002),
    "a text within a text": (frame(1, b"x", fin=False) + frame(1, b"y"), 1002),
    "a frame that claims 2^63 bytes": (b"\x81\xff" + b"\xff" * 8 + b"\0\0\0\0", 1009),
    "a frame that claims a terabyte": (b"\x81\xff" + (2**40).to_bytes(8, "big") + b"\0\0\0\0", 1009),
    "a message of 2 MB": (frame(1, b" " * 2_000_000), 1009),
    "fragments without end": (frame(1, b"[", fin=False) + frame(0, b"[" * 1000, fin=False) * 1200, 1009),
    "a text that is not UTF-8": (frame(1, b"\xff\xfe"), 1007),
    "a truncated character": (frame(1, b"\xe2\x82", fin=False) + frame(0, b""), 1007),
    "a surrogate in UTF-8": (frame(1, b"\xed\xa0\x80"), 1007),
    "a close of one byte": (frame(8, b"\x03"), 1002),
    "an invalid close code": (frame(8, (999).to_bytes(2, "big")), 1002),
    "a close reason that is not UTF-8": (frame(8, (1000).to_bytes(2, "big") + b"\xff"), 1007),
    "a binary message": (frame(2, bytes(100)), 0),
    "an empty message": (frame(1), 0),
    "deep JSON": (frame(1, b"[" * 120_000), 0),
    "deep objects": (frame(1, b'{"a":' * 20_000), 0),
    "a deep object in place": (
        frame(1, b'{"type":"evaluate","flagKey":"a","entityContext":' + b'{"a":' * 9_000 + b"1" + b"}" * 9_001), 0
    ),
    "a huge number": (frame(1, b'{"type":"subscribe","flagIDs":[' + b"9" * 100_000 + b"]}"), 0),
    "not an object": (text([1, 2, 3]), 0),
    "a missing type": (text({"flags": ["a"]}), 0),
    "an unknown type": (text({"type": "sudo"}), 0),
    "wrong types": (text({"type": "subscribe", "flags": {"a": 1}}), 0),
    "half a surrogate": (frame(1, b'{"type":"subscribe","flags":["\\ud800"],"lastEventId":"\\udfff"}'), 0),
    "an invalid id": (text({"type": "subscribe", "subscribeAll": True, "lastEventId": "x" * 10_000}), 0),
    "more than ten thousand subscriptions": (text({"type": "subscribe", "flags": [f"k{n}" for n in range(10_001)]}), 0),
    "a message of 500 kB": (frame(1, b" " * 500_000), 0),
}  # fmt: skip


@pytest.fixture
async def server(database_url: str) -> AsyncIterator[RunningServer]:
    async with serving(database_url, limits_request_timeout_s=2.0) as running:
        yield running


async def is_well(server: RunningServer) -> bool:
    async with httpx.AsyncClient() as client:
        return (await client.get(server.url + "/readyz")).status_code == 200


def logged_errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Errors and exceptions in the server's log."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info]


async def test_every_bad_request_gets_an_error_response(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    failures = []
    for name, (request, allowed) in HTTP.items():
        async with raw(port_of(server)) as connection:
            await connection.send(request)
            if 101 in allowed:
                response = await connection.head()
            else:
                response = await connection.read_to_end()
        status = int(response.split(b" ", 2)[1]) if response else 0
        if status not in allowed or b"Traceback" in response or logged_errors(caplog):
            failures.append(f"{name}: {status}, {response[-200:]!r} {logged_errors(caplog)}")
        caplog.clear()
    assert failures == [], "\n".join(failures)
    assert await is_well(server)


@pytest.mark.parametrize("extension", [b"", b"Sec-WebSocket-Extensions: permessage-deflate"], ids=["plain", "deflate"])
async def test_every_bad_frame_gets_a_close_code_or_an_error(
    server: RunningServer, caplog: pytest.LogCaptureFixture, extension: bytes
) -> None:
    failures = []
    for name, (frames, code) in WEBSOCKET.items():
        if extension and name == "a reserved bit":
            continue  # it means that the payload is compressed
        async with raw_websocket(port_of(server), *([extension] if extension else [])) as connection:
            try:
                await connection.send(frames)
                if code:
                    got = await connection.close_code()
                else:
                    got, payload = await connection.answer()
                    got -= 1
                    if not extension:
                        assert json.loads(payload)["type"] == "error", payload[:200]
                    await connection.send(text({"type": "ping", "requestId": "still open"}))
                    assert (await connection.answer())[0] == 1
            except (AssertionError, TimeoutError, asyncio.IncompleteReadError) as error:
                failures.append(f"{name}: {error!r}")
                continue
        if got != code or logged_errors(caplog):
            failures.append(f"{name}: {got} instead of {code}; {logged_errors(caplog)}")
        caplog.clear()
    assert failures == []
    assert await is_well(server)


@pytest.mark.parametrize("in_fragments", [False, True])
async def test_a_compression_bomb_is_not_inflated(server: RunningServer, in_fragments: bool) -> None:
    """A gigabyte of blanks in a megabyte is closed with 1009 after the first mebibyte."""
    bomb = deflated(b" " * 2**30) if not in_fragments else deflated(b" " * 2**26)
    async with raw_websocket(port_of(server), b"Sec-WebSocket-Extensions: permessage-deflate") as connection:
        began = time.process_time()
        if in_fragments:
            parts = [bomb[at : at + 4096] for at in range(0, len(bomb), 4096)]
            await connection.send(frame(1, parts[0], fin=False, rsv=4))
            for part in parts[1:]:
                await connection.send(frame(0, part, fin=False))
        else:
            bomb = bomb[: 1000 * 1000]
            await connection.send(frame(1, bomb, rsv=4))
        assert await connection.close_code() == 1009
    assert time.process_time() - began < 5
    deadline = time.monotonic() + 10
    while not await is_well(server):
        assert time.monotonic() < deadline


async def trickle(connection: Raw, data: bytes, pause_s: float) -> bytes:
    """Send a byte at a time until the server closes; the bytes it has sent by then."""
    reading = asyncio.create_task(connection.read_to_end())
    for byte in data:
        if reading.done():
            break
        await connection.send(bytes([byte]))
        await asyncio.wait((reading,), timeout=pause_s)
    return await reading


@pytest.mark.parametrize(
    ("at_once", "trickled", "status"),
    [
        (b"", b"", 408),
        (b"", b"\r\n" * 1000, 408),
        (b"GET /healthz HTTP/1.1\r\n", b"X: y\r\n" * 1000, 408),
        (HANDSHAKE, b"X: y\r\n" * 1000, 408),
        (EVALUATION + b"Content-Length: 1000\r\n\r\n", b" " * 1000, 0),
    ],
    ids=["nothing", "empty lines", "a head", "a handshake", "a body"],
)
async def test_a_request_that_trickles_in_times_out(
    server: RunningServer, caplog: pytest.LogCaptureFixture, at_once: bytes, trickled: bytes, status: int
) -> None:
    async with raw(port_of(server)) as connection:
        began = asyncio.get_running_loop().time()
        await connection.send(at_once)
        response = await trickle(connection, trickled, 0.05)
        took_s = asyncio.get_running_loop().time() - began
    assert (int(response.split(b" ", 2)[1]) if response else 0) == status, response
    assert 1.5 < took_s < 8
    assert logged_errors(caplog) == []


async def test_an_idle_connection_times_out_after_its_response(server: RunningServer) -> None:
    """Also one that sends empty lines between two requests."""
    async with raw(port_of(server)) as connection:
        await connection.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await connection.head()
        response = await trickle(connection, b"\r\n" * 1000, 0.05)
    assert b" 408 " in response


async def test_pipelined_requests_are_answered_in_order_and_not_collected(server: RunningServer) -> None:
    async with raw(port_of(server)) as connection:
        last = get(b"/api/v1/info")
        await connection.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500 + last)
        responses = await connection.read_to_end()
    assert responses.count(b"HTTP/1.1 200 OK") == 501
    assert responses.rindex(b"version") > responses.rindex(b"HTTP/1.1 200 OK")


async def test_a_half_closed_websocket_is_closed(server: RunningServer) -> None:
    """A client that shuts down its sending side cannot complete the close handshake, so the connection ends."""
    async with raw_websocket(port_of(server)) as connection:
        await connection.send(text({"type": "subscribe", "subscribeAll": True}))
        await connection.frame()
        connection.writer.write_eof()
        await connection.read_to_end()
    await until(lambda: server.pipeline.hub.subscriber_count == 0, "the end of the subscription")


async def test_pings_of_a_client_that_never_reads_use_bounded_memory(database_url: str) -> None:
    """In a separate process, whose memory is measured: 20 MB of pings, each with 100 bytes to echo."""
    server = ServerProcess(database_url)
    server.start()
    try:
        await server.ready()
        before = server.resident_mib
        async with raw_websocket(server.port) as connection:
            pings = frame(9, b"x" * 100) * 2_000
            requests = text({"type": "ping", "requestId": "r" * 90}) * 2_000
            sent = 0
            try:
                async with asyncio.timeout(8):
                    for _ in range(50):
                        connection.writer.write(pings + requests)
                        await connection.writer.drain()
                        sent += len(pings) + len(requests)
            except TimeoutError:
                pass  # The server no longer reads, as it should.
            assert server.resident_mib - before < 25
        async with sse(server.stream_url) as stream:
            assert stream.greeting["fresh"] is True
    finally:
        server.kill()


async def test_connections_and_requests_are_limited_in_total_and_per_client(database_url: str) -> None:
    async with (
        serving(database_url, limits_max_connections=2) as server,
        raw(port_of(server)),
        raw(port_of(server)),
        raw(port_of(server)) as third,
    ):
        assert b"all connections of this server" in await third.read_to_end()
    limits: list[dict[str, Any]] = [
        {"limits_requests_per_second": 5},
        {"limits_requests_per_second_per_client": 5, "limits_trusted_proxies": (ip_network("127.0.0.0/8"),)},
    ]
    for limit in limits:
        async with (
            serving(database_url, **limit) as server,
            httpx.AsyncClient(base_url=server.url, headers={"x-forwarded-for": "203.0.113.7"}) as client,
        ):
            responses = [await client.get("/api/v1/info") for _ in range(12)]
            assert [response.status_code for response in responses[:5]] == [200] * 5
            rejected = [response for response in responses if response.status_code == 429]
            assert rejected
            assert rejected[0].headers["retry-after"] == "1"
            assert rejected[0].json()["code"] == "too_many_requests"
            if "limits_trusted_proxies" in limit:
                for other in ("203.0.113.8", "203.0.113.7, 203.0.113.9"):
                    response = await client.get("/api/v1/info", headers={"x-forwarded-for": other})
                    assert response.status_code == 200, other


async def test_a_flood_of_bad_requests_does_not_fill_the_log(database_url: str, tmp_path: Path) -> None:
    """Whoever may connect can cause these lines; the last of a minute says that it is the last."""
    log = tmp_path / "log"
    server = ServerProcess(database_url, log=log)
    server.start()
    try:
        await server.ready()
        for _ in range(300):
            async with raw(server.port) as connection:
                await connection.send(HTTP["noise"][0])
                await connection.read_to_end()
        async with httpx.AsyncClient() as client:
            metrics = (await client.get(server.url + "/metrics")).text
    finally:
        server.kill_tree()
    lines = [line for line in log.read_text().splitlines() if "Invalid HTTP request" in line]
    assert len(lines) == 60
    assert "no more lines from here" in lines[-1]
    assert re.search(r"^flagent_cdc_log_lines_suppressed_total\{.*\} 240.0$", metrics, re.MULTILINE)


async def test_under_all_bad_input_at_once_events_arrive_and_memory_stays_bounded(database_url: str) -> None:
    """Every bad input repeatedly, and a hundred slow requests, while a subscriber follows a writer."""
    server = ServerProcess(database_url, FLAGENT_CDC_REQUEST_TIMEOUT="2s")
    server.start()
    stop = asyncio.Event()
    sent = 0

    async def send_all(inputs: list[tuple[bytes, bool]]) -> None:
        nonlocal sent
        while not stop.is_set():
            for data, is_websocket in inputs:
                try:
                    opening = raw_websocket(server.port) if is_websocket else raw(server.port)
                    async with opening as connection:
                        await connection.send(data)
                        if is_websocket:
                            await connection.frame(1)
                        else:
                            async with asyncio.timeout(1):
                                await connection.reader.read(1 << 16)
                except (OSError, TimeoutError, asyncio.IncompleteReadError):
                    pass
                sent += 1
                if stop.is_set():
                    return

    async def send_slowly() -> None:
        while not stop.is_set():
            async with raw(server.port) as connection:
                await trickle(connection, HANDSHAKE, 0.2)

    try:
        await server.ready()
        with Writer(database_url) as writer:
            flag = writer.flag("a")
            async with sse(server.stream_url) as quick:
                # Warm up first: one-time allocations are no leak.
                async with asyncio.TaskGroup() as tasks:
                    bad = [(data, False) for data, _ in HTTP.values()] + [
                        (data, True) for data, _ in WEBSOCKET.values()
                    ]
                    tasks.create_task(send_all(bad))
                    tasks.create_task(send_all(bad[::-1]))
                    for _ in range(100):
                        tasks.create_task(send_slowly())
                    await until(lambda: sent > len(bad), "the first round", 60)
                    before = server.resident_mib
                    for version in range(100):
                        writer.connection.execute(
                            "update flags set description = %s where id = %s", (str(version), flag)
                        )
                        assert (await quick.next()).data["description"] == str(version)
                        await asyncio.sleep(0.02)
                    await until(lambda: sent > 3 * len(bad), "three rounds", 60)
                    stop.set()
                grown = server.resident_mib - before
        print(f"{sent} bad inputs during 100 events; memory grew by {grown:.1f} MiB")
        assert grown < 60
    finally:
        stop.set()
        server.kill()
