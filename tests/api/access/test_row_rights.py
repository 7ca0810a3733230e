"""Rights per row: two tenants with tokens of their own, on every surface, while rows change their owner."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest
from websockets.asyncio.client import connect

from cdc.admin.api_keys import create_key
from cdc.core.subscription.grant import Grant
from tests.fixtures.flags import Writer
from tests.fixtures.server import DEADLINE_S, RunningServer, serving

SECRET = "a secret of more than thirty-two bytes"

RULE = {"where": "tenant_id = claim('org.tenant')", "columns": ["tenant_id", "note", "total"]}

TABLES = (
    "create schema shop",
    "create table shop.orders (id integer primary key, tenant_id integer, note text, total numeric, cost text)",
    "create table shop.others (id integer primary key, tenant_id integer, note text)",
    "insert into shop.orders select i, 1 + i % 2, 'planted-' || 1 + i % 2, i, 'hidden' from generate_series(1, 10) i",
    "insert into shop.others values (1, 1, 'planted-other')",
    "select flagent_cdc.watch('shop.orders')",
    "select flagent_cdc.watch('shop.others')",
)

CHANGES = (
    *(
        f"update shop.orders set tenant_id = {1 + i % 2}, note = 'planted-{1 + i % 2}' where id = {i % 10 + 1}"
        for i in range(1, 30)
    ),
    "update shop.orders set tenant_id = 3 - tenant_id, note = 'planted-' || 3 - tenant_id",
    "insert into shop.orders values (20, 1, 'planted-1', 1, 'hidden'), (21, 2, 'planted-2', 2, 'hidden')",
    "update shop.orders set cost = 'hidden too'",
    "delete from shop.orders where id < 4",
    "update shop.others set note = 'planted-other, again'",
    "insert into shop.orders values (30, 1, 'the end', 1, ''), (31, 2, 'the end', 2, '')",
)


def token(tenant: object, **scopes: Any) -> str:
    claims: dict[str, Any] = {"sub": f"tenant {tenant}", "exp": time.time() + 300, "org": {"tenant": tenant}}
    return jwt.encode({**claims, "flagent_cdc": {"rows": {"shop.orders": RULE}, **scopes}}, SECRET, "HS256")


@pytest.fixture
def tables_url(database_url: str) -> str:
    with Writer(database_url) as writer:
        for statement in TABLES:
            writer.run(statement)
    return database_url


@pytest.fixture
async def server(tables_url: str) -> AsyncIterator[RunningServer]:
    async with serving(tables_url, auth_jwt_secret=SECRET) as running:
        yield running


class Tenant:
    """Everything that one tenant has received, in bytes."""

    def __init__(self, server: RunningServer, tenant: int) -> None:
        self.received: list[bytes] = []
        self.tenant = tenant
        self.last_id = ""
        self._server = server
        self._headers = {"authorization": f"Bearer {token(tenant)}", "accept-encoding": "identity"}

    async def stream(self, ready: asyncio.Event, **query: str) -> None:
        """Read a stream until the last change has come."""
        async with (
            httpx.AsyncClient(timeout=DEADLINE_S, headers=self._headers) as client,
            client.stream("GET", self._server.stream_url, params={"table": "shop.orders", **query}) as answer,
        ):
            assert answer.status_code == 200, await answer.aread()
            async for line in answer.aiter_lines():
                self.received.append(line.encode())
                if line.startswith(("event: rows_end", "event: connected")):
                    ready.set()
                if line.startswith("id: ") and not self.last_id:
                    self.last_id = line[4:]
                if '"the end"' in line:
                    return

    async def socket(self, ready: asyncio.Event, **table: Any) -> None:
        url = self._server.url.replace("http", "ws") + "/ws"
        async with connect(url, additional_headers=self._headers) as socket:
            tables = [{"name": "orders", **table}]
            await socket.send(json.dumps({"type": "subscribe", "tables": tables, "snapshot": True, "batchMs": 20}))
            async for message in socket:
                self.received.append(message.encode() if isinstance(message, str) else message)
                if '"rows_end"' in str(message):
                    ready.set()
                if '"the end"' in str(message):
                    return

    async def get(self, path: str, **query: str) -> httpx.Response:
        async with httpx.AsyncClient(timeout=DEADLINE_S, headers=self._headers) as client:
            answer = await client.get(f"{self._server.url}{path}", params=query)
        self.received.append(answer.content + repr(answer.headers).encode())
        return answer

    @property
    def all(self) -> str:
        return b"\n".join(self.received).decode()


async def change(url: str) -> None:
    def run() -> None:
        with Writer(url) as writer:
            for statement in CHANGES:
                writer.run(statement)

    await asyncio.to_thread(run)


async def test_nothing_of_another_tenant_is_in_any_byte(server: RunningServer, tables_url: str) -> None:
    tenants = [Tenant(server, 1), Tenant(server, 2)]
    async with asyncio.timeout(DEADLINE_S * 3), asyncio.TaskGroup() as group:
        ready: list[asyncio.Event] = []
        for tenant in tenants:
            streams: tuple[dict[str, str], ...] = (
                {"envelope": "true"},
                {"where": "total > 0", "columns": "note", "stamps": "true"},
                {"where": "total > 0 and tenant_id in (1, 2)", "batchMs": "20"},
            )
            for query in streams:
                ready.append(asyncio.Event())
                group.create_task(tenant.stream(ready[-1], **query))
            for table in ({}, {"where": "note like 'planted-%' or note = 'the end'"}):
                ready.append(asyncio.Event())
                group.create_task(tenant.socket(ready[-1], **table))
        for event in ready:
            await event.wait()
        await change(tables_url)
    for tenant in tenants:
        await tenant.stream(asyncio.Event(), lastEventId=tenant.last_id, envelope="true")
        await tenant.stream(asyncio.Event(), snapshot="true")
        for format in ("json", "debezium", "cloudevents"):
            page = await tenant.get("/api/v1/changes", format=format, limit="5000")
            assert page.status_code == 200
            assert "planted" in page.text
            await tenant.get("/api/v1/changes", format=format, table="shop.orders", where="total > 0", columns="note")
        for format in ("json", "debezium"):
            rows = await tenant.get("/api/v1/tables/shop.orders/rows", format=format)
            assert rows.text.count("planted-") == {1: 5, 2: 4}[tenant.tenant], rows.text
            await tenant.get("/api/v1/tables/orders/rows", format=format, where="note <> ''", columns="note")
        assert (await tenant.get("/api/v1/tables/shop.orders/rows", where="cost = 'hidden'")).status_code == 400
        assert (await tenant.get("/api/v1/tables/shop.orders/rows", columns="cost")).status_code == 400
        assert (await tenant.get("/api/v1/tables/shop.others/rows")).status_code == 404
        assert (await tenant.get("/api/v1/changes", table="shop.others")).json()["changes"] == []
        (table,) = (await tenant.get("/api/v1/tables")).json()["tables"]
        assert table["columns"] == ["id", "tenant_id", "note", "total"]
        schema = (await tenant.get("/api/v1/tables/shop.orders/schema")).json()
        assert list(schema["properties"]) == ["id", "tenant_id", "note", "total"]
        for path in (
            "/api/v1/flags",
            "/api/v1/status",
            "/metrics",
            "/api/v1/flags/a/history",
            "/readyz",
            "/api/v1/info",
        ):
            await tenant.get(path)
        other = f"planted-{3 - tenant.tenant}"
        assert f"planted-{tenant.tenant}" in tenant.all
        for planted in (other, "planted-other", "cost", "hidden"):
            assert planted not in tenant.all.replace("there is no column cost", ""), (
                f"tenant {tenant.tenant} got {planted}"
            )


async def test_a_row_that_changes_its_owner_leaves_and_enters_in_one_commit(
    server: RunningServer, tables_url: str
) -> None:
    tenants = [Tenant(server, 1), Tenant(server, 2)]
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        ready = [asyncio.Event(), asyncio.Event()]
        for tenant, event in zip(tenants, ready, strict=True):
            group.create_task(tenant.stream(event, envelope="true"))
        for event in ready:
            await event.wait()
        with Writer(tables_url) as writer:
            writer.run("update shop.orders set tenant_id = 2, note = 'planted-2' where id = 2")
            writer.run(CHANGES[-1])
    left, entered = (next(json.loads(line[6:]) for line in tenant.received if b'"moved"' in line) for tenant in tenants)
    assert (left["moved"], left["type"], left["key"], left["before"]) == ("out", "row_deleted", {"id": 2}, None)
    assert (entered["moved"], entered["type"], entered["after"]["note"]) == ("in", "row_inserted", "planted-2")
    assert left["id"] == entered["id"]


@pytest.mark.parametrize("tenant", [None, [1]])
async def test_without_the_claim_there_are_no_rows(server: RunningServer, tenant: object) -> None:
    headers = {"authorization": f"Bearer {token(tenant)}"}
    async with httpx.AsyncClient(headers=headers) as client:
        answers = [
            await client.get(f"{server.url}{path}")
            for path in ("/api/v1/tables/shop.orders/rows", "/api/v1/changes", "/api/v1/changes?table=orders")
        ]
    if tenant is None:
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert json.loads(answers[0].text.splitlines()[-1])["rows"] == 0
        assert answers[1].json()["changes"] == answers[2].json()["changes"] == []
    else:
        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(400, "invalid_rows")}
    assert "planted" not in "".join(answer.text for answer in answers)


async def test_a_stream_token_inherits_the_rows_of_its_credential(server: RunningServer, tables_url: str) -> None:
    headers = {"authorization": f"Bearer {token(1)}"}
    async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
        wider = {"scopes": {"rows": {"orders": {"where": "tenant_id > 0"}}}}
        for body in ({}, wider):
            issued = await client.post(f"{server.url}/api/v1/stream-tokens", headers=headers, json=body)
            assert issued.status_code in (200, 201), issued.text
            query = {"table": "shop.orders", "token": issued.json()["token"], "snapshot": "true"}
            async with client.stream("GET", server.stream_url, params=query) as answer:
                text = ""
                async for line in answer.aiter_lines():
                    text += line
                    if line.startswith("event: rows_end"):
                        break
            assert "planted-1" in text
            assert "planted-2" not in text
            assert "cost" not in text


async def test_a_key_may_open_some_rows(tables_url: str) -> None:
    grant = Grant.parse({"rows": {"orders": {"where": "tenant_id = 2", "columns": ["note"]}}})
    key = create_key(tables_url, "tenant 2", grant)
    async with (
        serving(tables_url, auth_enabled=True) as server,
        httpx.AsyncClient(headers={"x-api-key": key}) as client,
    ):
        answer = await client.get(f"{server.url}/api/v1/tables/shop.orders/rows")
    assert [json.loads(line)["row"] for line in answer.text.splitlines()[1:-1]] == [
        {"id": number, "note": "planted-2"} for number in (1, 3, 5, 7, 9)
    ]
