"""OpenTelemetry traces. This module and its dependencies are imported only where traces are switched on.

Each commit that has events is a trace: from the commit, by the database's clock, through the catalog to the last write.
Its spans are created afterwards from recorded times, so that OpenTelemetry does not run in between. Evaluations and
requests are spans too, within the caller's trace where it sends `traceparent`.

Where spans go, their sampling and the service's name are OpenTelemetry's own variables, `OTEL_EXPORTER_OTLP_ENDPOINT`
and so on; see its specification, "OpenTelemetry Environment Variable Specification".
"""

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..core.log.change import Commit
from ..core.log.position import LogId
from ..core.wire.encoded import EncodedEvent
from ..evaluation.evaluator import Evaluator

__all__ = ["RequestSpan", "RequestSpans", "TracedEvaluator", "TracedPublications", "TracedRequests", "Tracing"]

# A collector that does not answer must not delay the server's shutdown.
_SHUTDOWN_S = 2.0


class Tracing:
    """The tracer of one process. Without `exporter`, spans are exported as OpenTelemetry's variables configure."""

    def __init__(self, version: str, exporter: SpanExporter | None = None) -> None:
        named = Resource.create({SERVICE_NAME: "flagent-cdc", SERVICE_VERSION: version})
        # The variables override our name.
        self._provider = TracerProvider(resource=named.merge(OTELResourceDetector().detect()))
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self.tracer: Tracer = self._provider.get_tracer("flagent_cdc", version)

    def publications(self) -> "TracedPublications":
        """An observer for hubs."""
        return TracedPublications(self.tracer)

    def evaluator(self, *arguments: Any, **options: Any) -> "TracedEvaluator":
        """Constructed as `Evaluator` is."""
        return TracedEvaluator(self.tracer, *arguments, **options)

    def spans(self, scheme: str) -> "RequestSpans":
        """For requests to a server of this scheme, `http` or `https`."""
        return RequestSpans(self.tracer, scheme)

    def requests(self, application: Any, spans: "RequestSpans", streams: Iterable[str]) -> "TracedRequests":
        return TracedRequests(application, spans, streams)

    def flush(self) -> None:
        """Wait until every span has been handed to the exporter."""
        self._provider.force_flush()

    async def close(self) -> None:
        """Export the remaining spans, for at most two seconds."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _SHUTDOWN_S)


class TracedPublications:
    """Traces the publications of hubs; one may observe all hubs of a process, since a publication is never
    interrupted."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._began_ns = 0
        self._deliver_ns = 0

    def publishing(self) -> None:
        self._began_ns = time.time_ns()

    def delivering(self) -> None:
        self._deliver_ns = time.time_ns()

    def delivered(self, commits: Sequence[Commit], events: Sequence[EncodedEvent], subscribers: int) -> None:
        ended_ns = time.time_ns()
        log = events[0].event_id.log
        with_events = {event.event_id.position for event in events}
        for commit in commits:
            if commit.position in with_events:
                self._trace(commit, log, subscribers, ended_ns)

    def _trace(self, commit: Commit, log: LogId, subscribers: int, ended_ns: int) -> None:
        """Commits that were published together share the times of catalog and delivery."""
        committed_ns = int(datetime.fromisoformat(commit.committed_at).timestamp() * 1e9)
        began_ns, deliver_ns = self._began_ns, self._deliver_ns
        attributes: Mapping[str, Any] = {
            "flagent_cdc.position": commit.position,
            "flagent_cdc.log": log,
            "flagent_cdc.changes": len(commit.changes),
            "flagent_cdc.subscribers": subscribers,
            "db.system.name": "postgresql",
        }
        root = self._tracer.start_span(
            "commit", kind=SpanKind.CONSUMER, attributes=attributes, start_time=min(committed_ns, began_ns)
        )
        context = set_span_in_context(root)
        for name, since_ns, until_ns in (("catalog", began_ns, deliver_ns), ("deliver", deliver_ns, ended_ns)):
            self._tracer.start_span(name, context, start_time=since_ns).end(until_ns)
        root.end(ended_ns)


class TracedEvaluator(Evaluator):
    """An evaluator whose answers are traced. Spans carry nothing of the question: it identifies a person."""

    def __init__(self, tracer: Tracer, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._tracer = tracer

    def evaluate(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        with self._tracer.start_as_current_span("evaluate"):
            return super().evaluate(*arguments, **options)

    def evaluate_text(self, *arguments: Any, **options: Any) -> str:
        with self._tracer.start_as_current_span("evaluate"):
            return super().evaluate_text(*arguments, **options)

    def evaluate_batch_texts(self, *arguments: Any, **options: Any) -> Iterator[str]:
        """The span ends with the last result, and may be open during those of other requests."""
        with self._tracer.start_as_current_span("evaluate_batch", end_on_exit=False) as span:
            texts = super().evaluate_batch_texts(*arguments, **options)
        return self._counted(texts, span)

    def _counted(self, texts: Iterator[str], span: Span) -> Iterator[str]:
        results = 0
        try:
            for text in texts:
                results += 1
                yield text
        finally:
            span.set_attribute("flagent_cdc.results", results)
            span.end()

    def evaluate_batch(self, *arguments: Any, **options: Any) -> list[dict[str, Any]]:
        with self._tracer.start_as_current_span("evaluate_batch") as span:
            results = super().evaluate_batch(*arguments, **options)
            span.set_attribute("flagent_cdc.results", len(results))
            return results


class RequestSpan:
    """The span of a request. Attributes and names follow OpenTelemetry's semantic conventions for HTTP servers."""

    __slots__ = ("_method", "_span")

    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method

    def routed(self, path: str) -> None:
        """The request matched this route; its own path could have any number of values."""
        self._span.update_name(f"{self._method} {path}")
        self._span.set_attribute("http.route", path)

    def answered(self, status: int) -> None:
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))


class RequestSpans:
    """Opens the spans of requests; `scheme` is that of the server."""

    def __init__(self, tracer: Tracer, scheme: str) -> None:
        self._tracer = tracer
        self._scheme = scheme
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def __call__(self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Iterator[RequestSpan]:
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        attributes = {"http.request.method": method, "url.path": path, "url.scheme": self._scheme}
        context = self._propagator.extract(carrier)
        with self._tracer.start_as_current_span(method, context, kind=SpanKind.SERVER, attributes=attributes) as span:
            yield RequestSpan(span, method)


class TracedRequests:
    """Wraps an ASGI application: one span per request, except those of `streams`, which may last for days."""

    def __init__(self, application: Any, spans: RequestSpans, streams: Iterable[str]) -> None:
        self.wrapped = application
        self._spans = spans
        self._streams = frozenset(streams)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] in self._streams:
            await self.wrapped(scope, receive, send)
            return
        with self._spans(scope["method"], scope["path"], scope["headers"]) as span:

            async def noting(message: Any) -> None:
                if message["type"] == "http.response.start":
                    span.answered(message["status"])
                await send(message)

            await self.wrapped(scope, receive, noting)
            # Known once the router has matched.
            route = getattr(scope.get("route"), "path", None)
            if route is not None:
                span.routed(route)
