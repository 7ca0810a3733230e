"""Metrics for Prometheus: counters that the server keeps anyway, collected at each scrape.

Nothing here runs while events are delivered. A process returns its numbers as plain samples, which JSON can carry. With
several workers, the scraped one collects the samples of all (`cdc.node.worker_peers`), and every sample names its
worker. A counter then resets only when its worker restarts, which Prometheus handles; a sum over the workers would
reset whenever any of them restarts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ..core.flags.events import EventType
from ..core.log.row_text import Unreadable
from ..core.subscription.resume import ResyncReason
from ..fanout.hub import Hub
from ..fanout.subscriber import CloseReason
from ..node.exposures import Exposures
from ..node.pipeline import Pipeline
from .log_rate import LINES
from .status import Status

__all__ = ["FAMILIES", "PREFIX", "Connections", "Family", "Kind", "Sample", "exposition", "read_samples", "reference"]

PREFIX = "flagent_cdc_"

WORKER = "worker"

_MODES = ("starting", "listening", "polling", "disconnected")


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """`name` is without the prefix, and of a counter without `_total`. Every family also has the label `worker`."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()

    @property
    def exposed(self) -> str:
        return PREFIX + self.name + ("_total" if self.kind is Kind.COUNTER else "")


FAMILIES = (
    Family("build_info", Kind.GAUGE, "1, with the version of the server.", ("version",)),
    Family("start_time_seconds", Kind.GAUGE, "When this worker started, in seconds since the epoch."),
    Family("worker_up", Kind.GAUGE, "1 if the worker answered; at 0 its other metrics are missing."),
    Family("ready", Kind.GAUGE, "1 if the server accepts clients: loaded, and freshness confirmed."),
    Family("subscribers", Kind.GAUGE, "Open streams.", ("transport",)),
    Family("subscribers_limit", Kind.GAUGE, "Maximum of open streams.", ("transport",)),
    Family("subscribers_behind", Kind.GAUGE, "Subscribers that are catching up.", ("lane",)),
    Family("handshakes_waiting", Kind.GAUGE, "New streams that wait for the handshake rate limit."),
    Family("connections_refused", Kind.COUNTER, "Rejected streams, by the error code of the response.",
           ("transport", "code")),
    Family("requests_refused", Kind.COUNTER, "Requests rejected by the request rate limit."),
    Family("events", Kind.COUNTER, "Events made from commits.", ("lane", "type")),
    Family("deliveries", Kind.COUNTER, "Events written, counted once per subscriber.", ("lane",)),
    Family("sent_bytes", Kind.COUNTER, "Bytes written to subscribers, after compression, before TLS.", ("lane",)),
    Family("commit_to_send_seconds", Kind.HISTOGRAM,
           "Time from the commit, by the database's clock, until its events were written to all live subscribers.",
           ("lane",)),
    Family("resyncs", Kind.COUNTER, "Resyncs sent: subscribers that started from a new snapshot.", ("lane", "reason")),
    Family("unreadable_rows", Kind.COUNTER, "Changes of rows that were delivered without their values.",
           ("lane", "reason")),
    Family("subscriber_pauses", Kind.COUNTER, "Times a subscriber's socket was full.",
           ("lane",)),
    Family("subscribers_disconnected", Kind.COUNTER, "Subscribers that the server disconnected.",
           ("lane", "reason")),
    Family("position", Kind.GAUGE, "Position of the newest applied commit.", ("lane",)),
    Family("change_log_newest_position", Kind.GAUGE, "Newest position in the change log, in the lane of the flags."),
    Family("lag_commits", Kind.GAUGE, "Positions between the flags in memory and the change log's newest position."),
    Family("fresh", Kind.GAUGE, "1 if this worker has confirmed recently that it has every commit.", ("lane",)),
    Family("freshness_age_seconds", Kind.GAUGE, "Time since freshness was last confirmed.", ("lane",)),
    Family("listener_state", Kind.GAUGE, "1 for the listener's state, 0 for the other states.",
           ("lane", "state")),
    Family("listener_reconnects", Kind.COUNTER, "Reconnects of the listener.", ("lane",)),
    Family("listener_notifications", Kind.COUNTER, "Notifications received, including probes.", ("lane",)),
    Family("clock_ahead_seconds", Kind.GAUGE, "How far the database's clock is ahead of this machine's."),
    Family("capture_problems", Kind.GAUGE,
           "Captured tables with missing or disabled triggers and other problems, as `doctor` reports them."),
    Family("flags", Kind.GAUGE, "Live flags in memory, of all schemas."),
    Family("schemas", Kind.GAUGE, "Attached schemas."),
    Family("ring_events", Kind.GAUGE, "Events kept in memory for subscribers that reconnect.", ("lane",)),
    Family("ring_bytes", Kind.GAUGE, "The same in bytes.", ("lane",)),
    Family("change_log_bytes", Kind.GAUGE, "Size of the change log on disk."),
    Family("change_log_oldest_timestamp_seconds", Kind.GAUGE, "Time of the oldest commit in the change log."),
    Family("log_lines_suppressed", Kind.COUNTER, "Log lines beyond the limit of one place in the source."),
    Family("evaluations", Kind.COUNTER, "Evaluations answered, counting each one in a batch."),
    Family("exposures", Kind.COUNTER,
           "Reported exposures: accepted, of flags that do not exist, and dropped because they could not be written.",
           ("result",)),
)  # fmt: skip

# The standard names of Prometheus for the metrics of a process; its client's collector reads the values.
PROCESS = (
    Family("process_cpu_seconds", Kind.COUNTER, "Processor time used."),
    Family("process_resident_memory_bytes", Kind.GAUGE, "Memory in use."),
    Family("process_virtual_memory_bytes", Kind.GAUGE, "Memory addressed."),
    Family("process_open_fds", Kind.GAUGE, "Open files, including one for each connection."),
    Family("process_max_fds", Kind.GAUGE, "Maximum of open files."),
    Family("process_start_time_seconds", Kind.GAUGE, "When the process started, in seconds since the epoch."),
)

Sample = tuple[str, str, Mapping[str, str], float]
"""Name of the family, suffix of the sample's name, labels, value."""


@dataclass(frozen=True, slots=True)
class Connections:
    """Open and allowed connections by transport; `refused` by transport and error code."""

    open: Mapping[str, int] = field(default_factory=dict)
    limit: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[tuple[str, str], int] = field(default_factory=dict)
    waiting: int = 0
    requests_refused: int = 0


def read_samples(
    status: Status,
    pipelines: Mapping[str, Pipeline],
    connections: Connections,
    evaluations: int,
    version: str,
    *,
    is_ready: bool,
    exposures: Exposures | None = None,
) -> Iterator[Sample]:
    """The samples of this process; `pipelines` by the names of their lanes, `status` of the flags' pipeline.

    Unknown values, such as the size of the change log while the database does not answer, are left out.
    """
    yield _one("build_info", 1, version=version)
    yield _one("start_time_seconds", status.started_at.timestamp())
    yield _one("worker_up", 1)
    yield _one("ready", is_ready and all(pipeline.is_ready for pipeline in pipelines.values()))
    for transport, count in connections.open.items():
        yield _one("subscribers", count, transport=transport)
        yield _one("subscribers_limit", connections.limit[transport], transport=transport)
    yield _one("handshakes_waiting", connections.waiting)
    for (transport, code), count in connections.refused.items():
        yield _one("connections_refused", count, transport=transport, code=code)
    yield _one("requests_refused", connections.requests_refused)
    for lane, pipeline in pipelines.items():
        for name, suffix, labels, value in _of_lane(pipeline):
            yield name, suffix, {"lane": lane, **labels}, value
    yield _one("capture_problems", status.capture_problem_count)
    yield _one("flags", status.flags)
    yield _one("schemas", len(status.schemas))
    yield _one("log_lines_suppressed", LINES.suppressed)
    yield _one("evaluations", evaluations)
    if exposures is not None:
        yield _one("exposures", exposures.counts.accepted, result="accepted")
        yield _one("exposures", exposures.unknown, result="unknown")
        yield _one("exposures", exposures.counts.dropped, result="dropped")
    yield from _log(status)
    yield from _process()


def _one(name: str, value: float, **labels: str) -> Sample:
    return name, "", labels, float(value)


def _of_lane(pipeline: Pipeline) -> Iterator[Sample]:
    hub, listener, freshness = pipeline.hub, pipeline.listener, pipeline.freshness()
    yield _one("subscribers_behind", hub.behind_count)
    for type in EventType:
        yield _one("events", hub.counters.events[type], type=type)
    yield _one("deliveries", hub.counters.deliveries)
    yield _one("sent_bytes", hub.counters.sent_bytes)
    yield from _latency(hub)
    for reason in ResyncReason:
        yield _one("resyncs", hub.counters.resyncs[reason], reason=reason)
    for why in Unreadable:
        yield _one("unreadable_rows", hub.unreadable.counts[why], reason=why)
    yield _one("subscriber_pauses", hub.counters.pauses)
    for cause in CloseReason:
        yield _one("subscribers_disconnected", hub.counters.disconnects[cause], reason=cause.name.lower())
    yield _one("position", hub.catalog.position)
    yield _one("fresh", freshness.fresh)
    yield _one("freshness_age_seconds", freshness.age_ms / 1000)
    for mode in _MODES:
        yield _one("listener_state", listener.mode == mode, state=mode)
    yield _one("listener_reconnects", listener.reconnects)
    yield _one("listener_notifications", listener.notifications)
    yield _one("ring_events", len(hub.ring))
    yield _one("ring_bytes", hub.ring.size_bytes)


def _latency(hub: Hub) -> Iterator[Sample]:
    histogram = hub.counters.latency
    *buckets, count = histogram.cumulative()
    for bound, below in zip(histogram.bounds, buckets, strict=True):
        yield "commit_to_send_seconds", "_bucket", {"le": str(bound)}, float(below)
    yield "commit_to_send_seconds", "_bucket", {"le": "+Inf"}, float(count)
    yield "commit_to_send_seconds", "_count", {}, float(count)
    yield "commit_to_send_seconds", "_sum", {}, histogram.sum


def _log(status: Status) -> Iterator[Sample]:
    log = status.log
    if log is None:
        return
    yield "change_log_newest_position", "", {}, float(log.newest)
    yield "lag_commits", "", {}, float(log.lag)
    if log.clock_ahead_ms is not None:
        yield "clock_ahead_seconds", "", {}, log.clock_ahead_ms / 1000
    if log.size_bytes is not None:
        yield "change_log_bytes", "", {}, float(log.size_bytes)
    if log.reach is not None and log.reach.oldest_at is not None:
        yield "change_log_oldest_timestamp_seconds", "", {}, datetime.fromisoformat(log.reach.oldest_at).timestamp()


def _process() -> Iterator[Sample]:
    for family in ProcessCollector(registry=None).collect():
        for sample in family.samples:
            yield family.name, sample.name.removeprefix(family.name), {}, sample.value


# -- the response to a scrape ----------------------------------------------------------------------------------


def exposition(workers: Mapping[int, Iterable[Sample] | None], accept: str) -> tuple[bytes, str]:
    """The response to a scrape and its content type, which `accept` chooses; None is a worker that did not answer."""
    gathered: dict[str, list[tuple[str, dict[str, str], float]]] = {}
    for worker, samples in workers.items():
        for name, suffix, labels, value in (("worker_up", "", {}, 0.0),) if samples is None else samples:
            gathered.setdefault(name, []).append((suffix, {**labels, WORKER: str(worker)}, value))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gathered(gathered))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Gathered(Collector):
    """The samples of all workers, in the order of `FAMILIES`."""

    def __init__(self, samples: Mapping[str, Sequence[tuple[str, dict[str, str], float]]]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        for family in (*FAMILIES, *PROCESS):
            samples = self._samples.get(family.name, ())
            name = family.name if family in PROCESS else PREFIX + family.name
            metric = Metric(name, family.text, family.kind)
            for suffix, labels, value in samples:
                ending = suffix or ("_total" if family.kind is Kind.COUNTER else "")
                metric.add_sample(name + ending, labels, value)
            if samples:
                yield metric


def reference() -> str:
    """The manual's page of metrics."""
    lines = [
        "# Metrics",
        "",
        "`GET /metrics` returns the metrics in Prometheus' text format or in OpenMetrics, as the `Accept` header",
        "requests. With authentication on, the credential needs the right `admin`. `FLAGENT_CDC_METRICS_ENABLED=false`",
        "removes the path. How to collect them, draw charts and raise alerts: [Watch a server](../how-to/monitor.md).",
        "",
        "With several workers, any of them answers for all. Every metric has the label `worker`, numbered from 0: add",
        "up counters and streams (`sum without (worker)`), and take the worst value of what each worker measures for",
        "itself, such as `max without (worker)` of a lag. The label `lane` is `flags`, or the lane of watched tables.",
        "Unknown values are left out: the numbers of the change log while the database does not answer, and all but",
        "`worker_up` of a worker that does not answer.",
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels) or ""
        lines.append(f"| `{family.exposed}` | {family.kind} | {labels} | {family.text} |")
    for family in PROCESS:
        name = family.name + ("_total" if family.kind is Kind.COUNTER else "")
        lines.append(f"| `{name}` | {family.kind} |  | {family.text} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(reference())
