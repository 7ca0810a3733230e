"""Requests answered in the protocol and requests answered through ASGI: the same bytes, headers included.

Each script is sent to two servers on one source, one of each way. It ends with a request that closes the connection, so
that everything up to the end can be compared. Only the times of answers are left out.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest

from api.routes.direct import DIRECT_ROUTES, DirectRoutes
from cdc.core.freshness import Freshness
from cdc.evaluation.evaluator import Evaluator
from cdc.node.pipeline import Pipeline
from cdc.source.memory import MemoryFollower, MemoryLog
from tests.fixtures.authenticated import SECRET, token
from tests.fixtures.hostile import raw
from tests.fixtures.memory import MemoryWriter
from tests.fixtures.server import RunningServer, port_of, serving, until

EVALUATE = {"flagKey": "a", "entityID": "u", "entityContext": {"country": "DE", "age": 41, "é": "ü"}}

_TIMES = re.compile(rb'(?<=date: )[^\r]+|(?<="timestamp":")[^"]+')


def request(
    path: str, body: object = None, *headers: str, method: str = "", close: bool = False, version: str = "1.1"
) -> bytes:
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method or ('GET' if body is None else 'POST')} {path} HTTP/{version}", "Host: localhost", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(content)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + content


LAST = request("/healthz", close=True)


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    writer = MemoryWriter(log)
    writer.static_flag("a", "on", "off")
    writer.static_flag("b", "off", "on")
    writer.tag(writer.flag("plain", enabled=True, description='"quoted" \u2028 é'), "t")
    writer.static_flag("disabled", "on", enabled=False)
    return log


@asynccontextmanager
async def both(log: MemoryLog, **settings: Any) -> AsyncIterator[list[RunningServer]]:
    """A server that answers directly, and one that answers through ASGI."""
    async with AsyncExitStack() as running:
        yield [await running.enter_async_context(serving(log, with_handover=way, **settings)) for way in (True, False)]


async def answers_of(server: RunningServer, parts: Sequence[bytes]) -> bytes:
    """Everything that the server sends; each part of the script is a write of its own."""
    async with raw(port_of(server)) as connection:
        for part in parts:
            await connection.send(part)
            # Lets the server, in the same loop, read this part before the next one is written.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        received = await connection.read_to_end()
    return _TIMES.sub(b"TIME", received)


async def compare(servers: Sequence[RunningServer], *parts: bytes) -> bytes:
    """What both servers answer to this script."""
    direct, ordinary = [await answers_of(server, parts) for server in servers]
    assert direct == ordinary
    assert direct
    return direct


SCRIPTS: dict[str, list[bytes]] = {
    "one evaluation": [request("/api/v1/evaluation", EVALUATE), LAST],
    "closing at once": [request("/api/v1/evaluation", EVALUATE, close=True)],
    "keep-alive": [*[request("/api/v1/evaluation", {**EVALUATE, "entityID": f"u{n}"}) for n in range(20)], LAST],
    "pipelined": [request("/api/v1/evaluation", EVALUATE) * 100 + LAST],
    "pipelined with others": [
        (request("/api/v1/evaluation", EVALUATE) + request("/api/v1/info") + request("/healthz")) * 10 + LAST
    ],
    "head and body apart": [
        request("/api/v1/evaluation", EVALUATE).partition(b"\r\n\r\n")[0] + b"\r\n\r\n",
        json.dumps(EVALUATE).encode(),
        LAST,
    ],
    "a body in pieces, and the next request behind it": [
        *[bytes([byte]) for byte in request("/api/v1/evaluation", EVALUATE)],
        request("/api/v1/evaluation", EVALUATE) + LAST,
    ],
    "batch": [
        request(
            "/api/v1/evaluation/batch",
            {"entities": [{"entityID": "u"}, {"entityID": "v"}], "flagKeys": ["a", "none"], "flagTags": ["t"]},
        ),
        LAST,
    ],
    "a large batch": [
        request("/api/v1/evaluation/batch", {"entities": [{"entityID": f"u{n}"} for n in range(500)], "flagIDs": [1]}),
        LAST,
    ],
    "a batch without flags": [request("/api/v1/evaluation/batch", {"entities": [{}]}), LAST],
    "a schema": [request("/api/v1/evaluation?schema=public", EVALUATE), LAST],
    "an unknown schema": [request("/api/v1/evaluation?schema=nope", EVALUATE), LAST],
    "debug": [request("/api/v1/evaluation", {**EVALUATE, "enableDebug": True}), LAST],
    "no flag": [request("/api/v1/evaluation", {"flagKey": 'x"\u2028é', "entityID": "u"}), LAST],
    "quoted values": [request("/api/v1/evaluation", {**EVALUATE, "flagID": "1", "enableDebug": "TRUE"}), LAST],
    "numbers": [
        request("/api/v1/evaluation", b'{"flagID":1,"entityID":"u","entityContext":{"a":1.50,"b":1e3,"c":true}}'),
        LAST,
    ],
    "blanks around the body": [request("/api/v1/evaluation", b' {"flagKey":"a","entityID":"u"} \n'), LAST],
    "UTF-16": [request("/api/v1/evaluation", '{"flagKey":"a","entityID":"u"}'.encode("utf-16")), LAST],
    "invalid JSON": [request("/api/v1/evaluation", b"{"), LAST],
    "more than JSON": [request("/api/v1/evaluation", b"{} {}"), LAST],
    "an empty body": [request("/api/v1/evaluation", b""), LAST],
    "no length": [request("/api/v1/evaluation", method="POST"), LAST],
    "not an object": [request("/api/v1/evaluation", b"[]"), LAST],
    "a wrong type": [request("/api/v1/evaluation", {"flagID": "x", "entityID": "u"}), LAST],
    "half a surrogate pair": [request("/api/v1/evaluation", b'{"flagKey":"\\ud800","entityID":"u"}'), LAST],
    "a body too large": [request("/api/v1/evaluation", b" " * (1024 * 1024 + 1), close=True)],
    "the past": [request("/api/v1/evaluation", {**EVALUATE, "at": "2"}), LAST],
    "no time": [request("/api/v1/evaluation", {**EVALUATE, "at": "yesterday"}), LAST],
    "flags": [
        *[
            request(f"/api/v1/flags{query}")
            for query in (
                *("", "?preload=true", "?limit=1&offset=1", "?limit=-1", "?enabled=true&preload=TRUE", "?tags=t,u"),
                *("?descriptionLike=%25QUOTED%25", "?deleted=true", "?schema=nope", "?at=2", "?at=x", "?key=a&key=b"),
            )
        ],
        LAST,
    ],
    "one flag": [
        *[request(f"/api/v1/flags/{id}") for id in ("1", "999", "x", "%31", "1?at=1", "1?at=0", "1?schema=nope")],
        LAST,
    ],
    "flags, pipelined": [request("/api/v1/flags") * 5 + request("/api/v1/flags/1") * 5 + LAST],
    "export": [
        request("/api/v1/export/eval_cache/json"),
        request("/api/v1/export/eval_cache/json", None, "Accept-Encoding: gzip"),
        request("/api/v1/export/eval_cache/json", None, "If-None-Match: *"),
        request("/api/v1/export/eval_cache/json?schema=nope"),
        LAST,
    ],
    "changes": [
        *[
            request(f"/api/v1/changes{query}")
            for query in (
                *("", "?limit=2", "?limit=0", "?limit=x&waitMs=-1", "?format=debezium&limit=1", "?format=nope"),
                *("?after=0&limit=2", "?after=nonsense", "?after=9999", "?table=flags&table=segments&limit=3"),
                *("?table=", "?table=nowhere", "?a=%C3%A9&limit=1"),
            )
        ],
        LAST,
    ],
    "changes, compressed": [request("/api/v1/changes", None, "Accept-Encoding: br, gzip"), LAST],
    "changes, unchanged": [request("/api/v1/changes?after=0&limit=1", None, "If-None-Match: *"), LAST],
    "a long poll, and what is behind it": [
        request("/api/v1/changes?after=9&waitMs=50") + request("/healthz") + request("/api/v1/flags/1"),
        request("/api/v1/evaluation", EVALUATE) + LAST,
    ],
    "OFREP, one": [
        request("/ofrep/v1/evaluate/flags/a", {"context": {"targetingKey": "u", "n": 1.50, "x": None}}),
        request("/ofrep/v1/evaluate/flags/disabled", {"context": {"targetingKey": "u"}}),
        request("/ofrep/v1/evaluate/flags/a%2Fb", {"context": {"targetingKey": "u"}}),
        request("/ofrep/v1/evaluate/flags/a", {"context": {}}),
        request("/ofrep/v1/evaluate/flags/a", {}),
        request("/ofrep/v1/evaluate/flags/a", b"{"),
        request("/ofrep/v1/evaluate/flags/", {"context": {"targetingKey": "u"}}),
        request("/ofrep/v1/evaluate/flags/a?schema=nope", {"context": {"targetingKey": "u"}}),
        LAST,
    ],
    "OFREP, all": [
        request("/ofrep/v1/evaluate/flags", {"context": {"targetingKey": "u"}}),
        request("/ofrep/v1/evaluate/flags", {"context": {"targetingKey": "u"}}, "If-None-Match: *"),
        request("/ofrep/v1/evaluate/flags?flagConfigEtag=x&flagConfigLastModified=y", {"context": {"targetingKey": 1}}),
        request("/ofrep/v1/evaluate/flags", b""),
        LAST,
    ],
    "health": [request("/healthz"), request("/healthz?a=b"), LAST],
    "HEAD": [request("/healthz", method="HEAD"), request("/api/v1/evaluation", method="HEAD"), LAST],
    "other methods": [request("/api/v1/evaluation"), request("/healthz", b""), LAST],
    "no such path": [request("/api/v1/evaluations", EVALUATE), request("//healthz"), LAST],
    "an encoded path": [request("/api/v1/%65valuation", EVALUATE), LAST],
    "a fragment": [request("/healthz#a"), LAST],
    "HTTP/1.0": [request("/healthz", version="1.0")],
    "Expect": [request("/api/v1/evaluation", EVALUATE, "Expect: 100-continue"), LAST],
    "chunked": [
        request("/api/v1/evaluation", None, "Transfer-Encoding: chunked", method="POST") + b"2\r\n{}\r\n0\r\n\r\n",
        LAST,
    ],
    "two lengths": [request("/api/v1/evaluation", EVALUATE, "Content-Length: 1")],
    "no host": [b"GET /healthz HTTP/1.1\r\n\r\n"],
    "another host": [b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n"],
    "an absolute target": [request("http://localhost/healthz"), LAST],
    "many headers": [request("/healthz", None, *[f"x-{n}: y" for n in range(100)]), LAST],
    "too many headers": [request("/healthz", None, *[f"x-{n}: y" for n in range(200)])],
    "a folded header": [request("/healthz", None, "a: b\r\n c"), LAST],
    "empty lines before": [b"\r\n\r\n" + request("/healthz"), LAST],
    "no HTTP": [b"nonsense\r\n\r\n"],
    "a broken request behind a whole one": [request("/healthz") + b"nonsense\r\n\r\n"],
    "preflight": [
        request("/api/v1/evaluation", None, "Origin: http://localhost:3000", method="OPTIONS"),
        request("/api/v1/evaluation", None, "Origin: https://evil.example", method="OPTIONS"),
        LAST,
    ],
    "origins": [
        request("/api/v1/evaluation", EVALUATE, "Origin: http://localhost:3000"),
        request("/api/v1/evaluation", EVALUATE, "Origin: https://evil.example"),
        request("/api/v1/evaluation", b"{", "Origin: http://localhost:3000"),
        LAST,
    ],
    "a refused stream": [request("/api/v1/events/stream?type=nope"), request("/api/v1/events/stream?x=y"), LAST],
    "an upgrade to nothing known": [request("/healthz", None, "Connection: Upgrade", "Upgrade: h2c"), LAST],
}


@pytest.fixture
async def servers(log: MemoryLog) -> AsyncIterator[list[RunningServer]]:
    async with both(log) as servers:
        yield servers


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The paths that were answered directly since the last call."""
    paths: list[str] = []
    begin = DirectRoutes.begin

    def noting(self: DirectRoutes, head: Any, client: Any) -> Any:
        paths.append(head.path)
        return begin(self, head, client)

    def since() -> list[str]:
        found = paths[:]
        paths.clear()
        return found

    monkeypatch.setattr(DirectRoutes, "begin", noting)
    return since


# Requests of these scripts, besides `LAST`, are left to the application.
LEFT_TO_THE_APPLICATION = {
    *("a body too large", "HEAD", "other methods", "no such path", "HTTP/1.0", "Expect", "chunked", "two lengths"),
    *("no host", "another host", "an absolute target", "many headers", "too many headers", "a folded header"),
    *("empty lines before", "no HTTP", "preflight", "a refused stream", "an upgrade to nothing known"),
}


async def test_both_ways_answer_byte_for_byte_alike(
    servers: list[RunningServer], taken: Callable[[], list[str]]
) -> None:
    different = {}
    unexpected: dict[str, list[str]] = {}
    for name, parts in SCRIPTS.items():
        direct, ordinary = [await answers_of(server, parts) for server in servers]
        assert ordinary, name
        # `LAST` is answered directly too, unless it was read with or behind something that is not, or that waits.
        directly = taken()
        is_direct = bool(set(directly) - {"/healthz"}) or len(directly) > (LAST in parts)
        if is_direct == (name in LEFT_TO_THE_APPLICATION):
            unexpected[name] = directly
        if direct != ordinary:
            different[name] = (direct, ordinary)
    assert not different
    assert not unexpected


@pytest.mark.parametrize(
    ("headers", "scopes", "expected"),
    [
        ((), {}, b"401"),
        (("Authorization: Bearer nonsense",), {}, b"401"),
        (("Authorization: Bearer {token}",), {}, b"200"),
        (("Cookie: access_token={token}",), {}, b"200"),
        (("Authorization: Bearer {token}",), {"evaluate": False}, b"403"),
        (("Authorization: Bearer {token}",), {"flags": ["b"]}, b"200"),
        (("Authorization: Bearer {token}",), {"flags": [], "tables": ["x"]}, b"200"),
        (("Authorization: Bearer {token}", "Origin: https://good.example"), {"schemas": ["other"]}, b"200"),
        (("Origin: https://good.example",), {}, b"401"),
    ],
)
async def test_credentials_decide_alike(
    log: MemoryLog, headers: tuple[str, ...], scopes: dict[str, Any], expected: bytes
) -> None:
    # Issued now: one issued when the tests were collected may have expired by the time that this one's turn comes.
    headers = tuple(header.replace("{token}", token(**scopes)) for header in headers)
    async with both(log, auth_jwt_secret=SECRET, web_cors_origins=("https://good.example",)) as servers:
        for path, body in (
            ("/api/v1/evaluation", EVALUATE),
            ("/api/v1/evaluation/batch", {"entities": [{"entityID": "u"}], "flagKeys": ["a", "b"]}),
        ):
            answer = await compare(servers, request(path, body, *headers), LAST)
            assert answer.startswith(b"HTTP/1.1 " + expected)
        await compare(servers, request("/healthz", None, *headers), LAST)


async def test_a_refused_request_is_answered_before_its_body_has_arrived(log: MemoryLog) -> None:
    """The body that arrives afterwards belongs to no other request."""
    head, _, body = request("/api/v1/evaluation", EVALUATE).partition(b"\r\n\r\n")
    async with both(log, auth_jwt_secret=SECRET) as servers:
        for server in servers:
            async with raw(port_of(server)) as connection:
                await connection.send(head + b"\r\n\r\n" + body[:7])
                assert (await connection.head()).startswith(b"HTTP/1.1 401 ")
                await connection.send(body[7:] + LAST)
                assert b"HTTP/1.1 200 OK" in await connection.read_to_end()


async def test_limits_of_requests_decide_alike(log: MemoryLog) -> None:
    async with both(log, limits_requests_per_second=3) as servers:
        answer = await compare(servers, request("/api/v1/evaluation", EVALUATE) * 5 + LAST)
        assert answer.count(b"HTTP/1.1 200 OK") == 3
        assert answer.count(b"HTTP/1.1 429 ") == 3


async def test_clients_behind_a_trusted_proxy_are_limited_alike(log: MemoryLog) -> None:
    settings = {
        "limits_trusted_proxies": (ip_network("127.0.0.0/8"),),
        "limits_requests_per_second_per_client": 2,
        "limits_max_connections_per_client": 1,
    }
    async with both(log, **settings) as servers:
        for server in servers:
            async with raw(port_of(server)) as other:
                await other.send(request("/healthz", None, "X-Forwarded-For: 198.51.100.9"))
                assert (await other.head()).startswith(b"HTTP/1.1 200 ")
                busy = await answers_of(server, [request("/healthz", None, "X-Forwarded-For: 198.51.100.9"), LAST])
                assert busy.startswith(b"HTTP/1.1 503 ")
        one, two = (f"X-Forwarded-For: 198.51.100.{number}" for number in (1, 2))
        answer = await compare(
            servers,
            request("/api/v1/evaluation", EVALUATE, one) * 3 + request("/api/v1/evaluation", EVALUATE, two) + LAST,
        )
        assert re.findall(rb"HTTP/1.1 (\d+)", answer)[:4] == [b"200", b"200", b"429", b"200"]


async def test_an_unexpected_failure_is_answered_alike_and_logged(
    servers: list[RunningServer], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(Evaluator, "evaluate_text", fail)
    answer = await compare(servers, request("/api/v1/evaluation", EVALUATE), LAST)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"unforeseen" not in answer
    assert answer.count(b"HTTP/1.1") == 1, "the connection is closed behind it"
    assert [record.exc_info is not None for record in caplog.records if "ASGI" in record.message] == [True, True]


async def test_a_server_that_lost_its_source_marks_its_answers_alike(
    servers: list[RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryFollower, "freshness", lambda _: Freshness(False, 4_900))
    answer = await compare(
        servers, request("/api/v1/evaluation", EVALUATE), request("/api/v1/evaluation?schema=nope", EVALUATE), LAST
    )
    assert answer.count(b"\r\nflagent-stale: 4\r\n") == 2


async def test_a_server_that_has_not_read_its_source_refuses_alike(
    servers: list[RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pipeline, "is_loaded", False)
    answer = await answers_of(servers[0], [request("/api/v1/evaluation", EVALUATE), LAST])
    assert answer.startswith(b"HTTP/1.1 503 ")
    retry = re.compile(rb"retry-after: \d+")
    ordinary = await answers_of(servers[1], [request("/api/v1/evaluation", EVALUATE), LAST])
    assert retry.sub(b"", answer) == retry.sub(b"", ordinary)


async def test_each_request_is_counted_once(servers: list[RunningServer]) -> None:
    before = [server.uvicorn.server_state.total_requests for server in servers]
    await compare(servers, request("/api/v1/evaluation", EVALUATE) * 3, request("/healthz"), LAST)
    assert [
        server.uvicorn.server_state.total_requests - known for server, known in zip(servers, before, strict=True)
    ] == [5, 5]


async def test_large_lists_and_exports_are_alike(log: MemoryLog) -> None:
    """Sent in pieces, also to a client that reads none of them for a while."""
    writer = MemoryWriter(log)
    for number in range(400):
        writer.tables.flag(f"large-{number}", enabled=True, description="x" * 900)
    writer.commit()
    async with both(log) as servers:
        for path in ("/api/v1/flags?preload=true", "/api/v1/flags", "/api/v1/export/eval_cache/json"):
            answer = await compare(servers, request(path), request(path) + request("/healthz"), LAST)
            assert len(answer) > 400 * 900
            assert answer.count(b"HTTP/1.1 200 OK") == 4
        for server in servers:
            async with raw(port_of(server)) as connection:
                # More than the sockets hold: the rest is written when the client reads.
                await connection.send(request("/api/v1/flags") * 40 + LAST)
                assert (await connection.read_to_end()).count(b"HTTP/1.1 200 OK") == 41


async def test_a_client_that_leaves_a_long_answer_leaves_nothing_behind(log: MemoryLog) -> None:
    writer = MemoryWriter(log)
    for number in range(2_000):
        writer.tables.flag(f"large-{number}", enabled=True, description="x" * 2_000)
    writer.commit()
    async with serving(log) as server:
        async with raw(port_of(server)) as connection:
            await connection.send(request("/api/v1/flags"))
            await connection.head()
        await until(lambda: not server.uvicorn.server_state.connections, "the connection's end")
        await until(lambda: not server.uvicorn.server_state.tasks, "the answer's end")


async def test_a_large_batch_leaves_the_loop_to_others(servers: list[RunningServer]) -> None:
    entities = [{"entityID": f"u{number}", "entityContext": {"n": number}} for number in range(5_000)]
    batch = request("/api/v1/evaluation/batch", {"entities": entities, "flagIDs": [1, 2]}, close=True)
    for server in servers:
        turns = 0
        async with raw(port_of(server)) as connection:
            asking = asyncio.ensure_future(connection.send(batch))
            answering = asyncio.ensure_future(connection.read_to_end())
            while not answering.done():
                await asyncio.sleep(0)
                turns += 1
            await asking
            answer = await answering
        assert answer.count(b'"variantKey":"on"') == 5_000
        assert turns > 20


def test_heads_that_differ_each_time_are_not_kept_for_ever(log: MemoryLog) -> None:
    async def many() -> int:
        async with serving(log) as server:
            protocol: Any = server.uvicorn.config.http_protocol_class
            routes = protocol.direct
            for number in range(2_000):
                assert routes.head(request("/healthz", None, f"traceparent: {number}")) is not None
            return len(routes._heads)

    assert asyncio.run(many()) <= 512


def test_the_table_names_endpoints_of_the_application(log: MemoryLog) -> None:
    async def routed() -> set[Any]:
        async with serving(log) as server:
            application: Any = server.uvicorn.config.app
            return {route.endpoint for route in application.web.state.routes}

    assert set(DIRECT_ROUTES) <= asyncio.run(routed())
