"""OpenTelemetry traces, for those who switch them on; nobody else imports this module and what it needs.

Each commit that brings events is a trace: from the commit, by the database's clock, over the catalog to the last write.
Its spans are made afterwards, from times that were noted, so that nothing of OpenTelemetry runs in between. Evaluations
and requests are spans too, within the caller's trace where it sends `traceparent`.

Where spans go, their sampling and the service's name are OpenTelemetry's own variables, `OTEL_EXPORTER_OTLP_ENDPOINT`
and so on; see its specification, "OpenTelemetry Environment Variable Specification".
"""

import asyncio
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..core.log.change import Commit
from ..core.log.position import Position
from ..core.wire.encoded import EncodedEvent
from ..evaluation.evaluator import Evaluator
from ..fanout.hub import Hub

__all__ = ["TracedEvaluator", "TracedHub", "TracedRequests", "Tracing"]

# A collector that does not answer must not hold up the end of the server.
_SHUTDOWN_S = 2.0


class Tracing:
    """The tracer of one process. Without `exporter`, spans go where OpenTelemetry's variables say."""

    def __init__(self, version: str, exporter: SpanExporter | None = None) -> None:
        named = Resource.create({SERVICE_NAME: "flagent-cdc", SERVICE_VERSION: version})
        # What the variables say wins over our own name.
        self._provider = TracerProvider(resource=named.merge(OTELResourceDetector().detect()))
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self.tracer: Tracer = self._provider.get_tracer("flagent_cdc", version)

    def hub(self, *arguments: Any, **options: Any) -> "TracedHub":
        """Made as a `Hub` is."""
        hub = TracedHub(*arguments, **options)
        hub.tracer = self.tracer
        return hub

    def evaluator(self, *arguments: Any, **options: Any) -> "TracedEvaluator":
        """Made as an `Evaluator` is."""
        evaluator = TracedEvaluator(*arguments, **options)
        evaluator.tracer = self.tracer
        return evaluator

    def requests(self, application: Any, streams: Iterable[str]) -> "TracedRequests":
        return TracedRequests(application, self.tracer, streams)

    def flush(self) -> None:
        """Wait until everything has been handed to the exporter."""
        self._provider.force_flush()

    async def close(self) -> None:
        """Send what is left, for a moment at most."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _SHUTDOWN_S)


class TracedHub(Hub):
    """A hub whose publications are traced; `tracer` must be set before the first one."""

    tracer: Tracer
    _delivered_ns = (0, 0)
    _told: frozenset[Position] = frozenset()

    def publish(self, commits: Iterable[Commit]) -> None:
        held = list(commits)
        began_ns, self._told = time.time_ns(), frozenset()
        super().publish(held)
        for commit in held:
            if commit.position in self._told:
                self._trace(commit, began_ns)

    def _deliver(self, events: Sequence[EncodedEvent]) -> None:
        began_ns = time.time_ns()
        super()._deliver(events)
        self._delivered_ns = (began_ns, time.time_ns())
        self._told = frozenset(event.event.id.position for event in events)

    def _trace(self, commit: Commit, began_ns: int) -> None:
        """Commits that were published together share the times of catalog and delivery."""
        committed_ns = int(datetime.fromisoformat(commit.committed_at).timestamp() * 1e9)
        deliver_ns, ended_ns = self._delivered_ns
        attributes: Mapping[str, Any] = {
            "flagent_cdc.position": commit.position,
            "flagent_cdc.log": self.catalog.log,
            "flagent_cdc.changes": len(commit.changes),
            "db.system.name": "postgresql",
        }
        root = self.tracer.start_span(
            "commit", kind=SpanKind.CONSUMER, attributes=attributes, start_time=min(committed_ns, began_ns)
        )
        context = set_span_in_context(root)
        for name, since_ns, until_ns in (("catalog", began_ns, deliver_ns), ("deliver", deliver_ns, ended_ns)):
            self.tracer.start_span(name, context, start_time=since_ns).end(until_ns)
        root.set_attribute("flagent_cdc.subscribers", self.subscriber_count)
        root.end(ended_ns)


class TracedEvaluator(Evaluator):
    """An evaluator whose answers are traced; `tracer` must be set before the first one. What is asked is not told:
    who it is about is in it."""

    tracer: Tracer

    def evaluate(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        with self.tracer.start_as_current_span("evaluate"):
            return super().evaluate(*arguments, **options)

    def evaluate_batch(self, *arguments: Any, **options: Any) -> list[dict[str, Any]]:
        with self.tracer.start_as_current_span("evaluate_batch") as span:
            results = super().evaluate_batch(*arguments, **options)
            span.set_attribute("flagent_cdc.results", len(results))
            return results


class TracedRequests:
    """Around an ASGI application: a span for each request but those of `streams`, which may last for days.

    Attributes and names are those of OpenTelemetry's semantic conventions for HTTP servers.
    """

    def __init__(self, application: Any, tracer: Tracer, streams: Iterable[str]) -> None:
        self.wrapped = application
        self._tracer = tracer
        self._streams = frozenset(streams)
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] in self._streams:
            await self.wrapped(scope, receive, send)
            return
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        attributes = {"http.request.method": scope["method"], "url.path": scope["path"], "url.scheme": scope["scheme"]}
        with self._tracer.start_as_current_span(
            scope["method"], self._propagator.extract(carrier), kind=SpanKind.SERVER, attributes=attributes
        ) as span:

            async def noting(message: Any) -> None:
                if message["type"] == "http.response.start":
                    status: int = message["status"]
                    span.set_attribute("http.response.status_code", status)
                    if status >= 500:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            await self.wrapped(scope, receive, noting)
            # Known once the router has chosen; the path itself could have any number of values.
            route = getattr(scope.get("route"), "path", None)
            if route is not None:
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)
