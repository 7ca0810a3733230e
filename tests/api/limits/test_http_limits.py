"""What one client may have, whose address a proxy may tell; connections are counted in and, in any case, out again."""

from ipaddress import ip_network

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from cdc.source.memory import MemoryLog
from tests.fixtures.server import serving, sse, until

LOOPBACK = (ip_network("127.0.0.0/8"),)


async def test_behind_a_trusted_proxy_each_client_has_its_own_connections(
    memory_log: MemoryLog, with_handover: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that a proxy uses again counts for whom it was used last."""
    one, other = {"x-forwarded-for": "198.51.100.1, 203.0.113.7"}, {"x-forwarded-for": "203.0.113.8, 127.0.0.2"}
    async with serving(
        memory_log, with_handover=with_handover, limits_max_connections_per_client=2, limits_trusted_proxies=LOOPBACK
    ) as server:
        async with (
            sse(server.stream_url, **one),
            connect(server.websocket_url, additional_headers=one),
            httpx.AsyncClient(base_url=server.url) as proxy,
        ):
            refused = await proxy.get("/healthz", headers=one)
            assert (refused.status_code, refused.json()["code"]) == (503, "too_many_connections")
            assert [
                vars(record).get("client") for record in caplog.records if record.name == "api.limits.http_limits"
            ] == ["203.0.113.7"]
            for _ in range(3):
                assert (await proxy.get("/healthz", headers=other)).status_code == 200
            with pytest.raises(InvalidStatus):
                async with connect(server.websocket_url, additional_headers=one):
                    pass
            async with sse(server.stream_url, **other):
                pass

        async def has_place() -> bool:
            async with httpx.AsyncClient(base_url=server.url) as proxy:
                return (await proxy.get("/healthz", headers=one)).status_code == 200

        await until(has_place, "a place for the first client")


async def test_an_upgrade_where_there_is_no_websocket_is_counted_out_again(memory_log: MemoryLog) -> None:
    """Such a connection changes hands within uvicorn; counted for ever, a few thousand would close the server."""
    async with serving(memory_log, limits_max_connections=3) as server:
        for _ in range(5):
            with pytest.raises(InvalidStatus) as refused:
                async with connect(server.url.replace("http:", "ws:") + "/nowhere"):
                    pass
            assert refused.value.response.status_code in (403, 404)

        async def has_place() -> bool:
            async with httpx.AsyncClient(base_url=server.url) as client:
                return (await client.get("/healthz")).status_code == 200

        await until(has_place, "a place")
