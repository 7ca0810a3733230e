"""Responses made from the flags: none before these have been read, and marked while they may be out of date."""

import httpx
import pytest
from fastapi import FastAPI

from api.app import Application
from cdc.cli.server import build_server, upstream_of
from cdc.errors import DatabaseUnavailable
from cdc.source.memory import MemoryLog
from tests.fixtures.memory import MemoryWriter
from tests.fixtures.server import serving, until
from tests.fixtures.settings import settings_with

# What says nothing about flags. Every other route must refuse, so that a new one has to be thought about here.
_WITHOUT_FLAGS = {
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/v1/status",
    "/api/v1/info",
    "/api/v1/health",
    "/api/v1/stream-tokens",
    "/realtime/sse/health",
}
# Read from the database itself, which is not there.
_FROM_THE_DATABASE = {"/api/v1/tables", "/api/v1/tables/{name}/schema", "/api/v1/tables/{name}/rows"}

_BODIES = {
    "/api/v1/evaluation": {"flagKey": "a", "entityID": "u"},
    "/api/v1/exposures": {"exposures": [{"flagKey": "a", "variantKey": "on", "count": 1}]},
    "/api/v1/evaluation/batch": {"entities": [{"entityID": "u"}], "flagKeys": ["a"]},
    "/ofrep/v1/evaluate/flags": {"context": {"targetingKey": "u"}},
    "/ofrep/v1/evaluate/flags/{key}": {"context": {"targetingKey": "u"}},
}
_EXAMPLES = {"{flag_id}": "1", "{key}": "a", "{name}": "public.flags"}


def paths_of(web: FastAPI) -> list[tuple[str, str]]:
    """The method and the path of each documented route."""
    return [(method.upper(), path) for path, methods in web.openapi()["paths"].items() for method in methods]


def example(path: str) -> str:
    for name, value in _EXAMPLES.items():
        path = path.replace(name, value)
    return path


async def test_nothing_is_said_about_flags_before_they_have_been_read() -> None:
    # Of a database, which nothing listens for: only such a server takes exposures.
    settings = settings_with(database_url="postgresql://nobody@127.0.0.1:1/nothing", exposures_enabled=True)
    app = build_server(settings, upstream_of(settings)).config.app
    assert isinstance(app, Application)
    routes = paths_of(app.web)
    assert len(routes) > 15
    assert {path for _, path in routes} > _WITHOUT_FLAGS | _FROM_THE_DATABASE
    checked = set()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        for method, path in routes:
            answer = await client.request(method, example(path), json=_BODIES.get(path))
            if path in _WITHOUT_FLAGS:
                continue
            if path in _FROM_THE_DATABASE:
                assert answer.status_code in (501, 503), (path, answer.text)
                continue
            assert (answer.status_code, answer.json().get("code")) == (503, "not_ready"), (path, answer.text)
            assert int(answer.headers["retry-after"]) > 0, path
            checked.add(path)
        for kind, stream in app._endpoints:
            if kind == "http" and stream != "/ws":
                answer = await client.get(stream)
                assert (answer.status_code, answer.json()["code"]) == (503, "not_ready"), stream
    assert {
        "/api/v1/flags",
        "/api/v1/flags/{flag_id}",
        "/api/v1/export/eval_cache/json",
        "/api/v1/flags/{key}/history",
        "/api/v1/flags/{key}/usage",
        *_BODIES,
    } <= checked


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/flags"),
        ("GET", "/api/v1/export/eval_cache/json"),
        ("POST", "/api/v1/evaluation"),
        ("POST", "/api/v1/evaluation/batch"),
        ("POST", "/ofrep/v1/evaluate/flags"),
        ("POST", "/ofrep/v1/evaluate/flags/{key}"),
    ],
)
async def test_what_was_read_last_is_marked_while_the_source_is_away(method: str, path: str) -> None:
    log = MemoryLog()
    writer = MemoryWriter(log)
    writer.flag("a", enabled=True)
    async with serving(log) as server, httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.request(method, example(path), json=_BODIES.get(path))
        assert (answer.status_code, answer.headers.get("flagent-stale")) == (200, None)
        before = answer.json()
        log.error = DatabaseUnavailable("the database is away")
        log.replace_log("another")  # Wakes the follower, which finds that out.
        await until(lambda: not server.pipeline.is_ready, "noticing")
        answer = await client.request(method, example(path), json=_BODIES.get(path))
        assert (answer.status_code, int(answer.headers["flagent-stale"]) >= 0) == (200, True)
        assert type(answer.json()) is type(before)
