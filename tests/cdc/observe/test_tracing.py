"""Traces of a real server: as spans in memory, and as a collector receives them."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cdc.observe.tracing import Tracing
from tests.fixtures.flags import Writer
from tests.fixtures.server import ServerProcess, serving, sse, until

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Spans:
    """What has been exported so far."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracing = Tracing("1.2.3", self._exporter)

    def named(self, name: str) -> list[ReadableSpan]:
        self.tracing.flush()
        return [span for span in self._exporter.get_finished_spans() if span.name == name]


@pytest.fixture
def spans() -> Spans:
    return Spans()


async def test_a_commit_is_followed_from_the_database_to_the_subscribers(database_url: str, spans: Spans) -> None:
    async with serving(database_url, tracing=spans.tracing) as server, sse(server.stream_url) as stream:
        with Writer(database_url) as writer:
            writer.flag("a")
            assert (await stream.next()).type == "flag_created"
            # Nothing of Flagent's flags changes: nobody is told, and nothing is traced.
            writer.run("update flags set snapshot_id = 7")
            writer.run("update flags set enabled = true")
            await stream.next()
        first, second = spans.named("commit")
        assert (first.attributes or {})["flagent_cdc.position"] == 2
        assert (first.attributes or {})["flagent_cdc.subscribers"] == 1
        assert (second.attributes or {})["flagent_cdc.position"] == 4
        for name in ("catalog", "deliver"):
            child = spans.named(name)[0]
            assert child.parent is not None
            assert child.parent.span_id == first.context.span_id
            assert first.start_time <= child.start_time <= child.end_time <= first.end_time  # type: ignore[operator]
        assert first.resource.attributes["service.name"] == "flagent-cdc"
        assert first.resource.attributes["service.version"] == "1.2.3"


async def test_requests_and_evaluations_are_spans_of_the_callers_trace(database_url: str, spans: Spans) -> None:
    with Writer(database_url) as writer:
        flag = writer.static_flag("a", "on")
    async with serving(database_url, tracing=spans.tracing) as server, httpx.AsyncClient() as client:
        question = {"flagID": flag, "entityID": "somebody", "entityContext": {"secret": "geheim"}}
        answer = await client.post(server.url + "/api/v1/evaluation", json=question, headers={"traceparent": PARENT})
        assert answer.status_code == 200
        assert (await client.get(server.url + "/nowhere")).status_code == 404
        async with sse(server.stream_url):
            pass
        (request,) = spans.named("POST /api/v1/evaluation")
        (evaluation,) = spans.named("evaluate")
        (missed,) = spans.named("GET")
    assert request.parent is not None
    assert f"{request.parent.trace_id:032x}" == PARENT.split("-")[1]
    assert (request.attributes or {})["http.response.status_code"] == 200
    assert (request.attributes or {})["http.route"] == "/api/v1/evaluation"
    assert evaluation.parent is not None
    assert evaluation.parent.span_id == request.context.span_id
    assert (missed.attributes or {})["http.response.status_code"] == 404
    # Neither who is asked about, nor streams, which may last for days.
    everything = [span.to_json() for name in (request, evaluation, missed) for span in (name,)]
    assert "geheim" not in "".join(everything)
    assert "somebody" not in "".join(everything)


# -- a collector -----------------------------------------------------------------------------------------------


class Collector(ThreadingHTTPServer):
    """Takes what is sent to /v1/traces, as any collector of OTLP over HTTP does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.received: list[Any] = []

    def spans(self) -> dict[str, Any]:
        """By name, with the service that sent each."""
        return {
            span.name: (span, {one.key: one.value.string_value for one in resource.resource.attributes})
            for request in self.received
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }


class _Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.path == "/v1/traces"
        assert self.headers["content-type"] == "application/x-protobuf"
        self.server.received.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


async def test_a_collector_receives_what_opentelemetrys_variables_say(database_url: str) -> None:
    with collecting() as collector:
        server = ServerProcess(
            database_url,
            FLAGENT_CDC_TRACES_ENABLED="true",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server_port}",
            OTEL_SERVICE_NAME="flags-of-the-test",
            OTEL_BSP_SCHEDULE_DELAY="100",
        )
        server.start()
        try:
            await server.ready()
            with psycopg.connect(database_url, autocommit=True) as connection:
                connection.execute("insert into flags (key, description, created_at) values ('a', '', now())")
            await until(lambda: {"commit", "deliver"} <= collector.spans().keys(), "the traces of a commit")
        finally:
            server.kill_tree()
        span, service = collector.spans()["commit"]
        assert service["service.name"] == "flags-of-the-test"
        assert span.end_time_unix_nano >= span.start_time_unix_nano > 0


async def test_a_collector_that_is_away_holds_up_neither_the_server_nor_its_end(database_url: str) -> None:
    server = ServerProcess(
        database_url, FLAGENT_CDC_TRACES_ENABLED="true", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1"
    )
    server.start()
    try:
        await server.ready()
        async with sse(server.url + "/api/v1/events/stream") as stream:
            with Writer(database_url) as writer:
                writer.flag("a")
            assert (await stream.next()).type == "flag_created"
    finally:
        server.kill_tree()


def test_nothing_of_opentelemetrys_sdk_is_imported_while_traces_are_off() -> None:
    asks = (
        "import sys, cdc.cli.serve, cdc.cli.server; "
        "sys.exit(any(name.startswith('opentelemetry.sdk') or name == 'cdc.observe.tracing' for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", asks], cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == 0
