"""Usage of flags: reported counts, who may report, and what is kept."""

from typing import Any

import httpx
import pytest

from cdc.core.log.position import Position
from tests.fixtures.authenticated import SECRET, token
from tests.fixtures.authenticated import client as client_of
from tests.fixtures.flags import Writer
from tests.fixtures.server import DEADLINE_S, RunningServer, serving

PATH = "/api/v1/exposures"


@pytest.fixture
def server_settings() -> dict[str, Any]:
    return {"exposures_enabled": True}


def counted(flag: str, variant: Any, count: int, **more: Any) -> dict[str, Any]:
    return {"flagKey": flag, "variantKey": variant, "count": count, **more}


async def test_counts_are_added_up_by_minute_and_variant(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("a")
        writer.flag("b")
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as client:
        assert await server.pipeline.hub.reached(Position(2), DEADLINE_S)
        body = [counted("a", "on", 12), counted("a", None, 3, schema="public"), counted("gone", "on", 1)]
        body += [counted("b", "on", 1, schema="other")]
        answer = await client.post(PATH, json={"exposures": body})
        assert (answer.status_code, answer.json()) == (202, {"accepted": 2, "unknown": ["gone", "b"]})
        await client.post(PATH, json={"exposures": [counted("a", "on", 8)]})
        usage = (await client.get("/api/v1/flags/a/usage")).json()
        assert (usage["flagKey"], usage["total"]) == ("a", 23)
        by_variant: dict[str | None, int] = {}
        for each in usage["minutes"]:
            assert each["minute"].endswith(":00Z")
            by_variant[each["variantKey"]] = by_variant.get(each["variantKey"], 0) + each["count"]
        assert by_variant == {"on": 20, None: 3}
        past = {"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}
        assert (await client.get("/api/v1/flags/a/usage", params=past)).json()["minutes"] == []
        assert (await client.get("/api/v1/flags/none/usage")).status_code == 404
        assert (await client.get("/api/v1/flags/a/usage", params={"from": "soon"})).status_code == 400
        assert (await client.get("/api/v1/flags/a/usage", params=past | {"to": past["from"]})).status_code == 400
        metrics = (await client.get("/metrics")).text
    assert 'flagent_cdc_exposures_total{result="accepted",worker="0"} 23.0' in metrics
    assert 'flagent_cdc_exposures_total{result="unknown",worker="0"} 2.0' in metrics


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({}, "exposures"),
        ({"exposures": []}, "exposures"),
        ({"exposures": [counted("a", "on", 1)] * 1001}, "exposures"),
        ({"exposures": ["a"]}, "exposures[0]"),
        ({"exposures": [counted("a", "on", 1), counted("", "on", 1)]}, "exposures[1].flagKey"),
        ({"exposures": [counted("a", 7, 1)]}, "exposures[0].variantKey"),
        ({"exposures": [counted("a", "\0", 1)]}, "exposures[0].variantKey"),
        ({"exposures": [counted("a", "on", 0)]}, "exposures[0].count"),
        ({"exposures": [counted("a", "on", 1_000_001)]}, "exposures[0].count"),
        ({"exposures": [counted("a", "on", True)]}, "exposures[0].count"),
        ({"exposures": [counted("a", "on", 1, user="u")]}, "exposures[0].user"),
        ({"exposures": [counted("a", "on", 1, schema="")]}, "exposures[0].schema"),
        ([], "exposures"),
        (b"{", "body"),
        (b"[" * 100_000, "body"),
        (b'{"exposures": [{"flagKey": "\\ud800", "count": 1}]}', "exposures[0].flagKey"),
    ],
)
async def test_a_bad_report_is_refused_as_a_whole(server: RunningServer, body: Any, name: str) -> None:
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as client:
        answer = await client.post(PATH, **content)
    assert (answer.status_code, answer.json()["parameter"]) == (400, name)


async def test_a_server_without_the_setting_takes_none(database_url: str) -> None:
    async with serving(database_url) as server, httpx.AsyncClient(base_url=server.url) as client:
        for answer in (
            await client.post(PATH, json={"exposures": [counted("a", "on", 1)]}),
            await client.get("/api/v1/flags/a/usage"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "exposures_disabled")
            assert "FLAGENT_CDC_EXPOSURES=on" in answer.json()["detail"]


async def test_reporting_needs_its_scope(database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("web-a")
        writer.flag("secret")
    body = {"exposures": [counted("web-a", "on", 1), counted("secret", "on", 1)]}
    async with (
        serving(database_url, auth_jwt_secret=SECRET, exposures_enabled=True) as server,
        client_of(server, token()) as reader,
        client_of(server, token(flags=["web-*"], expose=True)) as web,
        client_of(server) as anonymous,
    ):
        assert (await reader.post(PATH, json=body)).json()["code"] == "not_allowed"
        assert (await anonymous.post(PATH, json=body)).status_code == 401
        assert (await web.post(PATH, json=body)).json() == {"accepted": 1, "unknown": ["secret"]}
        assert (await web.get("/api/v1/flags/web-a/usage")).json()["total"] == 1
        assert (await web.get("/api/v1/flags/secret/usage")).status_code == 404
