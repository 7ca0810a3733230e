"""Which streams are admitted, and when."""

import asyncio
import socket
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg
import pytest
from websockets.exceptions import InvalidStatus

from api.access.authentication import Authentication
from api.access.cors import Cors
from api.http.problem import Problem
from api.limits.connection_limit import ConnectionLimit
from api.streams.gateway import Gateway
from api.streams.stream_query import own_endpoint, refetch_endpoint
from cdc.auth.identity import Identity
from cdc.cli import server as server_of_command
from cdc.cli.server import build_server, upstream_of
from cdc.core.subscription.grant import Grant
from cdc.errors import Unauthorized
from cdc.source.memory import MemoryLog
from tests.fixtures.server import DEADLINE_S, serving, sse, until
from tests.fixtures.settings import settings_with
from tests.fixtures.websocket_client import talking


async def test_beyond_the_limit_a_client_is_told_when_to_come_back(memory_log: MemoryLog) -> None:
    async with serving(memory_log, sse_max_clients=1) as server, httpx.AsyncClient() as client:
        async with sse(server.stream_url):
            refused = await client.get(server.stream_url)
            assert refused.status_code == 503
            assert refused.json()["code"] == "too_many_connections"
            assert 1 <= int(refused.headers["retry-after"]) <= 5
        await until(lambda: server.pipeline.hub.subscriber_count == 0, "the first client's leaving")
        async with sse(server.stream_url):
            pass


async def test_a_stream_that_is_asked_for_before_the_flags_are_read_waits_for_them(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 503 would be the end: an EventSource never comes back after a status other than 200."""
    monkeypatch.setattr(server_of_command, "_LOAD_S", DEADLINE_S)
    settings = settings_with(database_url=database_url)
    waits = "select count(*) from pg_locks where not granted and relation = 'public.flags'::regclass"
    with (
        psycopg.connect(database_url) as blocker,
        psycopg.connect(database_url, autocommit=True) as observer,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        blocker.execute("lock table public.flags in access exclusive mode")
        server = build_server(settings, upstream_of(settings))
        serving_task = asyncio.create_task(server.serve(sockets=[listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1/events/stream?snapshot=true"
        try:
            async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
                asked = asyncio.create_task(client.send(client.build_request("GET", url), stream=True))
                await until(lambda: observer.execute(waits).fetchone() == (1,), "the server waits for the flags")
                assert not asked.done()
                blocker.rollback()
                response = await asked
                assert response.status_code == 200
                await response.aclose()
        finally:
            server.should_exit = True
            await serving_task


async def test_beyond_the_limit_the_handshake_is_refused(memory_log: MemoryLog) -> None:
    async with serving(memory_log, websocket_max_connections=1) as server:
        async with talking(server):
            with pytest.raises(InvalidStatus) as refused:
                async with talking(server):
                    pass
        assert refused.value.response.status_code == 503
        assert int(refused.value.response.headers["retry-after"]) >= 1
        await until(lambda: server.pipeline.hub.subscriber_count == 0, "the first client's leaving")
        async with talking(server) as client:
            assert (await client.ask(type="ping"))["type"] == "pong"


HANDSHAKE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


async def test_streams_and_handshakes_count_in_the_quota_of_their_client(
    memory_log: MemoryLog, with_handover: bool
) -> None:
    """Each costs more than an ordinary request. One that is refused is counted once, whichever way it takes."""
    one, other = {"x-forwarded-for": "203.0.113.7"}, {"x-forwarded-for": "203.0.113.8"}
    async with serving(
        memory_log,
        with_handover=with_handover,
        limits_requests_per_second_per_client=4,
        limits_trusted_proxies=(ip_network("127.0.0.0/8"),),
    ) as server:
        rate = server.uvicorn.config.app._gateway.request_rate  # type: ignore[union-attr]
        statuses: list[int] = []
        async with httpx.AsyncClient(base_url=server.url) as http:
            for _ in range(4):
                async with http.stream("GET", server.stream_url, headers=one) as response:
                    statuses.append(response.status_code)
                try:
                    async with talking(server, additional_headers=one):
                        statuses.append(200)
                except InvalidStatus as error:
                    statuses.append(error.response.status_code)
                statuses.append((await http.get("/realtime/sse/health", headers=one)).status_code)
                statuses.append(
                    (await http.options("/api/v1/flags", headers={"origin": "http://localhost", **one})).status_code
                )
                statuses.append((await http.get("/ws", headers=one)).status_code)
            # All at once, so that some are beyond the quota.
            missed = await asyncio.gather(*(http.get("/nowhere", headers={**HANDSHAKE, **one}) for _ in range(16)))
            at_wrong_address = [response.status_code for response in missed]
            assert 429 in at_wrong_address
            assert set(at_wrong_address) <= {404, 429}
            statuses += at_wrong_address
            async with http.stream("GET", server.stream_url, headers=other) as response:
                assert response.status_code == 200
        assert 429 not in statuses[:4]
        assert statuses.count(429) >= 4
        assert rate.refused == statuses.count(429)


class Keys:
    """An authenticator that knows one key and its grant."""

    is_loaded = True

    def __init__(self, **grant: Any) -> None:
        self._identity = Identity("k", Grant(**grant))

    def identify(self, text: str) -> Identity:
        if text != "key":
            raise Unauthorized("this key is unknown", code="invalid_credential")
        return self._identity


def gateway_of(*, is_loaded: bool = True, authenticator: Any = None, cors: Cors | None = None) -> Gateway:
    """A gateway on lanes that admit every selection, without a server."""
    pipeline = SimpleNamespace(is_loaded=True)
    pipelines: Any = SimpleNamespace(
        is_loaded=is_loaded, flags=pipeline, of=lambda selections: pipeline, compiled=lambda selection: selection
    )
    return Gateway(
        pipelines,
        ConnectionLimit("SSE", 1),
        ConnectionLimit("WebSocket", 1),
        {"/stream": own_endpoint, "/refetch": refetch_endpoint},
        authentication=Authentication(authenticator),
        cors=cors,
    )


def admit(gateway: Gateway, query: bytes = b"", *headers: tuple[bytes, bytes], path: str = "/stream") -> Any:
    return gateway.admit_stream(path, query, headers, is_chunked=True)


def test_no_stream_is_admitted_before_the_lanes_are_loaded() -> None:
    gateway = gateway_of(is_loaded=False)
    assert not gateway.is_loaded
    for attempt in (lambda: admit(gateway), lambda: gateway.admit_websocket("/ws", b"", ())):
        with pytest.raises(Problem) as caught:
            attempt()
        assert (caught.value.status, caught.value.code) == (503, "not_ready")
        assert caught.value.retry_after_s is not None
    assert (gateway.sse_limit.open_count, gateway.websocket_limit.open_count) == (0, 0)


def test_a_query_that_is_too_long_is_not_parsed() -> None:
    with pytest.raises(Problem) as caught:
        admit(gateway_of(), b"flag=" + b"a" * 65_536)
    assert (caught.value.status, caught.value.code) == (414, "query_too_long")


def test_the_header_with_the_last_id_takes_precedence_over_the_parameter() -> None:
    assert admit(gateway_of(), b"lastEventId=1-0%40x").last_event_id == "1-0@x"
    assert admit(gateway_of(), b"lastEventId=1-0%40x", (b"last-event-id", b"2-0@x")).last_event_id == "2-0@x"
    assert admit(gateway_of(), b"lastEventId=").last_event_id is None


def test_streams_of_one_format_share_it() -> None:
    plain, again = admit(gateway_of()), admit(gateway_of())
    compressed = admit(gateway_of(), b"", (b"accept-encoding", b"gzip"))
    assert plain.format is again.format
    assert (b"content-encoding", b"gzip") in compressed.headers
    assert (b"content-encoding", b"gzip") not in plain.headers


def test_only_admitted_streams_are_counted() -> None:
    gateway = gateway_of(authenticator=Keys())
    for query, headers in ((b"", ()), (b"", ((b"x-api-key", b"wrong"),)), (b"batchMs=x", ((b"x-api-key", b"key"),))):
        with pytest.raises(Problem):
            admit(gateway, query, *headers)
        assert gateway.sse_limit.open_count == 0
    admit(gateway, b"", (b"x-api-key", b"key"))
    assert gateway.sse_limit.open_count == 1
    with pytest.raises(Problem, match="too_many_connections"):
        admit(gateway, b"", (b"x-api-key", b"key"))


def test_the_grant_is_part_of_the_selection() -> None:
    opening = admit(gateway_of(authenticator=Keys(flags=frozenset({"a"}))), b"", (b"x-api-key", b"key"))
    whole = admit(gateway_of(authenticator=Keys()), b"", (b"x-api-key", b"key"))
    assert opening.identity.grant.is_restricted
    assert opening.request.selection != whole.request.selection


def test_a_restricted_refetch_stream_gathers_notices() -> None:
    key = (b"x-api-key", b"key")
    restricted = admit(gateway_of(authenticator=Keys(flags=frozenset({"a"}))), b"", key, path="/refetch")
    whole = admit(gateway_of(authenticator=Keys()), b"", key, path="/refetch")
    assert restricted.request.batch_ms > 0
    assert whole.request.batch_ms == 0


def test_a_websocket_of_a_foreign_page_is_refused_before_its_credential_is_read() -> None:
    gateway = gateway_of(authenticator=Keys(), cors=Cors())
    headers = ((b"origin", b"https://evil.example.com"), (b"host", b"flags.example.com"), (b"x-api-key", b"wrong"))
    with pytest.raises(Problem) as caught:
        gateway.admit_websocket("/ws", b"", headers)
    assert (caught.value.status, caught.value.code) == (403, "origin_not_allowed")
    assert "FLAGENT_CDC_CORS_ORIGINS" in caught.value.detail


def test_a_websocket_may_send_its_credential_later() -> None:
    opening = gateway_of(authenticator=Keys()).admit_websocket("/ws", b"", ())
    assert opening.authenticated.identity is None


@pytest.mark.parametrize(
    ("offer", "selected"), [(b"flagent.v1", "flagent.v1"), (b"chat, flagent.v1", "flagent.v1"), (b"chat", None)]
)
def test_a_subprotocol_is_selected_only_if_the_client_offers_it(offer: bytes, selected: str | None) -> None:
    opening = gateway_of().admit_websocket("/ws", b"", ((b"sec-websocket-protocol", offer),))
    assert opening.subprotocol == selected


def test_refusals_are_counted_by_transport_and_code() -> None:
    gateway = gateway_of()
    for _ in range(2):
        gateway.count_refusal("sse", Problem(503, "not_ready", "x"))
    gateway.count_refusal("websocket", Problem(403, "origin_not_allowed", "x"))
    assert gateway.refusals == {("sse", "not_ready"): 2, ("websocket", "origin_not_allowed"): 1}
