"""Running servers with their subscribers, and the options that all scenarios share."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from bench.fanout.baselines import CLoop, Naive
from bench.fanout.flagent import FlagentCdc
from bench.fanout.load import Load, LoadFailed
from bench.fanout.nchan import Nchan
from bench.fanout.payload import Mode
from bench.fanout.process import Cores, descriptors_max
from bench.fanout.target import Target, Unavailable

__all__ = [
    "SERVERS",
    "DeliveryError",
    "Options",
    "Subject",
    "check",
    "connecting",
    "each",
    "narrowed",
    "results",
    "running",
    "warm_up",
]

SERVERS = ("flagent-cdc", "c-loop", "nchan", "naive")
WARM_UP_EVENTS = 3


class DeliveryError(Exception):
    """A server did not deliver every event to every subscriber in order."""


@dataclass(slots=True)
class Options:
    mode: Mode = "sse"
    subscribers: int = 10_000
    rounds: int = 5
    events: int = 5
    burst_events: int = 1000
    catchup_events: int = 100_000
    catchup_subscribers: int = 20
    storm_flags: int = 1000
    kept_messages: int = 5000
    workers: int = 1
    window: int = 512
    compress: bool = False
    servers: Sequence[str] = SERVERS
    cores: Cores = field(default_factory=Cores)
    report: Callable[[str], None] = print

    def target(self, name: str, *, others: int = 0, settings: Mapping[str, str] | None = None) -> Target:
        core = self.cores.server
        match name:
            case "flagent-cdc":
                return FlagentCdc(self.mode, core, others=others, workers=self.workers, settings=settings)
            case "c-loop":
                return CLoop(self.mode, core)
            case "nchan":
                return Nchan(self.mode, core, deflate=self.compress, messages=self.kept_messages)
            case "naive":
                return Naive(self.mode, core)
            case _:
                raise SystemExit(f"unknown server: {name}; choose from {', '.join(SERVERS)}")

    def within_limits(self, subscribers: int) -> int:
        """The number of subscribers, reduced to the connections that one process may have."""
        allowed = descriptors_max() - 1500  # nginx uses some hundreds for itself
        if subscribers > allowed:
            self.report(
                f"  (limited to {allowed} of {subscribers} subscribers: a process may open {descriptors_max()} files)"
            )
        return min(subscribers, allowed)


class Subject:
    """A running server with its subscribers and the number of the next event."""

    def __init__(self, options: Options, target: Target, load: Load) -> None:
        self.options, self.target, self.load = options, target, load
        self.name = target.name
        self.next = 1
        self.figures: dict[str, list[float]] = {}
        self.error: str | None = None

    def note(self, **figures: float) -> None:
        for name, value in figures.items():
            self.figures.setdefault(name, []).append(value)

    def connect(self, subscribers: int, *, mute: int = 0) -> dict[str, Any]:
        """Connect the subscribers; raises `DeliveryError` unless all succeed."""
        before_s = self.target.process.cpu_s()
        opened = self.load.open(subscribers, self.next, mute=mute)
        opened["cpu_us"] = (self.target.process.cpu_s() - before_s) / subscribers * 1e6
        if not opened["complete"]:
            raise DeliveryError(
                f"{opened['ready']} of {subscribers} connected, {opened['refusals']} rejected with Retry-After"
            )
        return opened

    def disconnect(self) -> None:
        self.load.close()
        self.target.process.settle()

    def phase(self, count: int, *, many: bool = False, timeout_s: float = 60, latencies: bool = True) -> dict[str, Any]:
        """Send `count` events and wait until every subscriber has them; without `many`, one after the other."""
        first = self.next
        self.next += count
        before_s = self.target.process.cpu_s()
        self.load.begin(first, count, latencies=latencies)
        times = self.target.push_many(first, count) if many else [self.target.push(first)]
        self.load.sent(first, times)
        result = self.load.finish(timeout_s)
        time.sleep(0.05)  # includes the server's work after its last send
        result["cpu_s"] = self.target.process.cpu_s() - before_s
        result["cpu_us"] = result["cpu_s"] / max(1, result["deliveries"]) * 1e6
        check(result)
        return result


def check(result: dict[str, Any]) -> None:
    errors = {
        name: result[name]
        for name in ("differing", "gaps", "repeats", "mismatches", "unexpected", "lost", "behind", "short", "undecoded")
        if result[name]
    }
    if errors or not result["complete"] or result["deliveries"] != result["events"] * result["connections"]:
        raise DeliveryError(
            f"{result['deliveries']} of {result['events'] * result['connections']} deliveries, {errors}"
        )


@contextmanager
def running(
    options: Options, *, others: int = 0, own: bool = False, settings: Mapping[str, str] | None = None
) -> Iterator[list[Subject]]:
    """Every server that can run here, each with its load client; `settings` are for flagent-cdc."""
    with ExitStack() as stack:
        subjects = []
        for name in options.servers:
            target = options.target(name, others=others, settings=settings)
            try:
                stack.enter_context(target)
            except Unavailable as error:
                options.report(f"  {name}: skipped, {error}")
                continue
            load = Load(target.endpoint, options.cores.load, window=options.window, compress=options.compress, own=own)
            subjects.append(Subject(options, target, stack.enter_context(load)))
        yield subjects
        for subject in subjects:
            for name, stderr in (
                (subject.name, subject.target.process.stderr_tail()),
                (f"load client of {subject.name}", subject.load.stderr_tail()),
            ):
                if stderr:
                    options.report(f"  {name}: {stderr}")


def each(subjects: Sequence[Subject], step: Callable[[Subject], None]) -> None:
    """Run a step for each server that has not failed yet."""
    for subject in subjects:
        if subject.error is None:
            try:
                step(subject)
            except (DeliveryError, LoadFailed, OSError, psycopg.Error) as error:
                subject.error = str(error)
                subject.options.report(f"  {subject.name}: FAILED: {error}")


def results(subjects: Sequence[Subject]) -> dict[str, Any]:
    return {
        subject.name: {
            **{name: statistics.median(values) for name, values in subject.figures.items()},
            "rounds": subject.figures,
            **({"failed": subject.error} if subject.error else {}),
        }
        for subject in subjects
    }


def connecting(subscribers: int) -> Callable[[Subject], None]:
    def step(subject: Subject) -> None:
        subject.connect(subscribers)

    return step


def warm_up(subject: Subject) -> None:
    for _ in range(WARM_UP_EVENTS):
        subject.phase(1)


@contextmanager
def narrowed(options: Options, servers: Sequence[str]) -> Iterator[None]:
    before = options.servers
    options.servers = servers
    try:
        yield
    finally:
        options.servers = before
