"""The server inside another application, on three ASGI servers, below a path and behind a proxy."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from psycopg.conninfo import conninfo_to_dict

import flagent_cdc
from cdc.cli.torture.port import lasting_port
from cdc.core.errors import InvalidInput
from tests.fixtures.flags import Writer
from tests.fixtures.reverse_proxy import GOOD, nginx
from tests.fixtures.server import DEADLINE_S, SseReader, sse, until
from tests.fixtures.websocket import receive, request, websocket

ROOT = Path(__file__).parents[2]

SERVERS: dict[str, Callable[[str, int], list[str]]] = {
    "uvicorn": lambda app, port: ["uvicorn", app, "--port", str(port)],
    "hypercorn": lambda app, port: ["hypercorn", app, "--bind", f"127.0.0.1:{port}", "--graceful-timeout", "1"],
    "granian": lambda app, port: [
        "granian", "--interface", "asgi", "--port", str(port), "--workers-kill-timeout", "2", app,
    ],
}  # fmt: skip


def url_of(conninfo: str) -> str:
    return "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**conninfo_to_dict(conninfo))


@asynccontextmanager
async def running(
    server: str, database_url: str, module: str = "application", options: tuple[str, ...] = ()
) -> AsyncIterator[str]:
    """The application of a module on this server, with these options; its address."""
    port = lasting_port()
    environment = {**os.environ, "SHOP_DATABASE": url_of(database_url), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", *SERVERS[server](f"tests.flagent_cdc.{module}:app", port), *options]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    base = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(base_url=base) as client:

            async def answers() -> bool:
                assert process.poll() is None, process.communicate()[0]
                with contextlib.suppress(httpx.TransportError):
                    return (await client.get("/flags/readyz")).status_code == 200
                return False

            await until(answers, f"the start of {server}", deadline_s=60)
        yield base
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise


@pytest.mark.parametrize("server", SERVERS)
async def test_it_serves_below_a_path_of_another_application(server: str, database_url: str) -> None:
    with Writer(database_url) as writer:
        flag = writer.static_flag("checkout", "on", enabled=True)
        async with running(server, database_url) as base, httpx.AsyncClient(base_url=base) as client:
            assert (await client.get("/")).json() == {"shop": "open"}
            assert [each["key"] for each in (await client.get("/flags/api/v1/flags")).json()] == ["checkout"]
            page = await client.get("/flags/")
            # Its addresses are relative: they work below any path.
            assert 'src="page/app.js"' in page.text
            assert (await client.get("/flags/page/app.js")).headers["content-type"].startswith("text/javascript")
            question = {"flagKey": "checkout", "entityID": "u"}
            answer = await client.post("/flags/api/v1/evaluation", json=question)
            assert answer.json()["variantKey"] == "on"
            bulk = await client.post("/flags/ofrep/v1/evaluate/flags", json={"context": {"targetingKey": "u"}})
            (stream,) = bulk.json()["eventStreams"]
            assert stream["endpoint"]["requestUri"].startswith("/flags/")
            assert (await client.get("/flags/nowhere")).json()["code"] == "not_found"
            async with sse(f"{base}/flags/api/v1/events/stream") as events:
                writer.toggle(flag)
                assert {(await events.next()).type for _ in range(2)} == {"flag_updated", "flag_disabled"}
            async with websocket(f"{base.replace('http', 'ws')}/flags/ws") as socket:
                answer_ = await request(socket, type="subscribe", subscribeAll=True)
                assert answer_["type"] == "subscribed"
                writer.toggle(flag)
                assert (await receive(socket, "flag_enabled"))["flagKey"] == "checkout"


@pytest.mark.parametrize("server", SERVERS)
async def test_a_django_site_serves_beside_it(server: str, database_url: str) -> None:
    with Writer(database_url) as writer:
        flag = writer.static_flag("checkout", "on", enabled=True)
        async with running(server, database_url, "django_site") as base, httpx.AsyncClient(base_url=base) as client:
            assert (await client.get("/shop")).text == "the shop is at /shop"
            assert (await client.get("/flagship")).status_code == 404
            assert [each["key"] for each in (await client.get("/flags/api/v1/flags")).json()] == ["checkout"]
            async with sse(f"{base}/flags/api/v1/events/stream") as events:
                writer.toggle(flag)
                assert {(await events.next()).type for _ in range(2)} == {"flag_updated", "flag_disabled"}
            async with websocket(f"{base.replace('http', 'ws')}/flags/ws") as socket:
                answer = await request(socket, type="subscribe", subscribeAll=True)
                assert answer["type"] == "subscribed"


async def test_behind_a_proxy_that_removes_a_path_links_and_streams_lead_through_it(database_url: str) -> None:
    forwarded = "proxy_set_header X-Forwarded-Prefix /outer;"
    # Otherwise uvicorn puts the client's address in the place of the proxy's, which is not trusted then.
    options = ("--no-proxy-headers",)
    with Writer(database_url) as writer:
        flag = writer.static_flag("checkout", "on", enabled=True)
        async with running("uvicorn", database_url, "django_site", options) as base:
            front = nginx(base, f"{GOOD} {forwarded} proxy_set_header X-Forwarded-For 192.0.2.7;", prefix="/outer")
            with front as outer:
                await _use_through(outer, writer, flag)


@pytest.mark.parametrize(("server", "keeps"), [("uvicorn", False), ("hypercorn", False), ("hypercorn", True)])
async def test_a_server_that_knows_the_path_needs_no_header(server: str, keeps: bool, database_url: str) -> None:
    """With hypercorn's own option, a proxy may also keep the path, as ASGI says."""
    with Writer(database_url) as writer:
        flag = writer.static_flag("checkout", "on", enabled=True)
        async with running(server, database_url, "django_site", ("--root-path", "/outer")) as base:
            with nginx(f"{base}/outer" if keeps else base, GOOD, prefix="/outer") as outer:
                await _use_through(outer, writer, flag)


async def _use_through(outer: str, writer: Writer, flag: int) -> None:
    """Follows what answers name, below the path `/outer` of a proxy."""
    origin = outer.removesuffix("/outer")
    async with httpx.AsyncClient(base_url=origin) as client:
        assert (await client.get("/outer/shop")).status_code == 200
        assert 'src="page/app.js"' in (await client.get("/outer/flags/")).text
        assert (await client.get("/outer/flags/page/app.js")).status_code == 200
        bulk = await client.post("/outer/flags/ofrep/v1/evaluate/flags", json={"context": {"targetingKey": "u"}})
        (stream,) = bulk.json()["eventStreams"]
        address = stream["endpoint"]["requestUri"]
        assert address.startswith("/outer/flags/ofrep/v1/events")
        async with (
            client.stream("GET", address, timeout=DEADLINE_S) as response,
            sse(f"{outer}/flags/api/v1/events/stream") as events,
        ):
            notices = SseReader(response)
            first = await notices.next()
            writer.toggle(flag)
            assert {(await events.next()).type for _ in range(2)} == {"flag_updated", "flag_disabled"}
            second = await notices.next()
            assert second.data["type"] == "refetchEvaluation"
            assert second.id != first.id
        async with websocket(f"{outer.replace('http', 'ws')}/flags/ws") as socket:
            answer = await request(socket, type="subscribe", subscribeAll=True)
            assert answer["type"] == "subscribed"


@pytest.mark.parametrize("path", ["/outer/flags/api/v1/flags", "/flags/api/v1/flags"])
async def test_a_server_may_pass_the_path_with_or_without_the_root_path(path: str, database_url: str) -> None:
    events = flagent_cdc.embed(url_of(database_url))
    application = FastAPI(lifespan=events.lifespan)
    application.mount("/flags", events)
    transport = httpx.ASGITransport(application, root_path="/outer")
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=transport, base_url="http://shop") as client,
    ):
        assert (await client.get(path)).json() == []
        bulk = await client.post("/flags/ofrep/v1/evaluate/flags", json={"context": {"targetingKey": "u"}})
        (stream,) = bulk.json()["eventStreams"]
        assert stream["endpoint"]["requestUri"].startswith("/outer/flags/ofrep/")


async def test_behind_a_proxy_its_own_path_and_the_mount_are_public(database_url: str) -> None:
    events = flagent_cdc.embed(url_of(database_url), settings={"FLAGENT_CDC_PATH_PREFIX": "/outer"})
    async with events.lifespan():
        # A mount under `/api` must not be confused with the beginning of the API's own paths.
        application = events.beside(_refuses, "/api")
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            bulk = await client.post("/api/ofrep/v1/evaluate/flags", json={"context": {"targetingKey": "u"}})
            (stream,) = bulk.json()["eventStreams"]
            assert stream["endpoint"]["requestUri"].startswith("/outer/api/ofrep/")
            assert (await client.get("/api/api/v1/flags")).json() == []
            assert (await client.get("/api")).status_code == 200
            with pytest.raises(AssertionError, match="/apis"):
                await client.get("/apis")


async def _refuses(scope: object, receive: object, send: object) -> None:
    raise AssertionError(scope["path"])  # type: ignore[index]


async def test_without_its_lifespan_it_says_what_to_do(database_url: str) -> None:
    events = flagent_cdc.embed(url_of(database_url))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(events), base_url="http://shop") as client:
        with pytest.raises(RuntimeError, match=r"lifespan=events\.lifespan"):
            await client.get("/flags")
        async with events.lifespan():
            assert (await client.get("/api/v1/flags")).json() == []
            with pytest.raises(RuntimeError, match="running already"):
                async with events.lifespan():
                    pass
        async with events.lifespan():
            assert (await client.get("/api/v1/flags")).json() == []


def test_bad_input_is_named(database_url: str) -> None:
    with pytest.raises(InvalidInput, match="is of kind 'mysql'"):
        flagent_cdc.embed("mysql://h/d")
    with pytest.raises(InvalidInput, match="FLAGENT_CDC_PORT is not a setting"):
        flagent_cdc.embed(database_url, settings={"FLAGENT_CDC_PORT": "1"})
    with pytest.raises(ValueError, match="must begin with a slash"):
        flagent_cdc.embed(database_url).beside(_refuses, "flags")


def test_the_public_names() -> None:
    assert flagent_cdc.__all__ == ["Embedded", "Event", "embed", "follow"]


async def test_the_environment_is_not_read(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGENT_CDC_NO_SUCH_SETTING", "1")
    async with asyncio.timeout(DEADLINE_S), flagent_cdc.embed(url_of(database_url)).lifespan():
        with psycopg.connect(database_url) as connection:
            query = "select count(*) from pg_stat_activity where application_name like 'flagent-cdc%'"
            (count,) = connection.execute(query).fetchone() or (0,)
            assert count > 0
