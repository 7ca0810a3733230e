"""The scenarios: what the servers do, and what is measured.

A scenario returns plain data for `report`: figures by server, each with its median over the rounds and the rounds
themselves. Rounds are interleaved (every server once, then again), so that a disturbance of the machine affects all.
Every phase is checked: a server that lost, repeated or changed an event gets an error instead of figures.
"""

import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bench.fanout.flagent import FlagentCdc
from bench.fanout.load import Load
from bench.fanout.profile import Profile
from bench.fanout.subject import (
    DeliveryError,
    Options,
    Subject,
    connecting,
    each,
    narrowed,
    results,
    running,
    warm_up,
)

__all__ = ["SCENARIOS"]


# ---- one event at a time --------------------------------------------------------------------------------------------


def measure_connects(subject: Subject, subscribers: int, rounds: int) -> None:
    """Connects per second, and the memory of an idle subscriber; leaves the subscribers connected."""
    # The first connections cause one-time allocations, which are not a cost of a subscriber.
    subject.connect(min(50, subscribers))
    subject.disconnect()
    empty = subject.target.process.memory_bytes()
    for number in range(rounds):
        opened = subject.connect(subscribers)
        subject.target.process.settle()
        if number == 0:
            subject.note(memory_kb=(subject.target.process.memory_bytes() - empty) / subscribers / 1024)
        subject.note(
            connects_per_s=subscribers / opened["seconds"], connect_s=opened["seconds"], connect_cpu_us=opened["cpu_us"]
        )
        if number < rounds - 1:
            subject.disconnect()


def measure_single_events(subject: Subject, events: int) -> None:
    """One round: `events` events, each sent when every subscriber has received the one before."""
    phases = [subject.phase(1) for _ in range(events)]
    deliveries = sum(phase["deliveries"] for phase in phases)
    subject.note(
        cpu_us=sum(phase["cpu_s"] for phase in phases) / deliveries * 1e6,
        client_cpu_us=sum(phase["client_cpu_s"] for phase in phases) / deliveries * 1e6,
        wire_bytes=sum(phase["bytes"] for phase in phases) / deliveries,
        **{
            name: statistics.median(phase[name] for phase in phases)
            for name in ("deliveries_per_s", "p50_ms", "p99_ms", "last_ms")
        },
    )


def fanout(options: Options) -> dict[str, Any]:
    """One event at a time to every subscriber; before that, connects and memory."""
    subscribers = options.within_limits(options.subscribers)
    with running(options) as subjects:
        each(subjects, partial(measure_connects, subscribers=subscribers, rounds=min(3, options.rounds)))
        each(subjects, warm_up)
        for _ in range(options.rounds):
            each(subjects, partial(measure_single_events, events=options.events))
        return {"subscribers": subscribers, "servers": results(subjects)}


# ---- as fast as possible ---------------------------------------------------------------------------------------------


def burst(options: Options) -> dict[str, Any]:
    """A thousand commits as fast as PostgreSQL allows; the naive server gets a twentieth of them."""
    subscribers = options.within_limits(options.subscribers)

    def measure(subject: Subject) -> None:
        count = max(1, options.burst_events // (20 if subject.name == "naive" else 1))
        result = subject.phase(count, many=True, timeout_s=600)
        subject.note(
            cpu_us=result["cpu_us"],
            deliveries_per_s=result["deliveries_per_s"],
            p50_ms=result.get("pooled_p50_ms", 0.0),
            p99_ms=result.get("pooled_p99_ms", 0.0),
            everywhere_s=result["seconds"],
            after_last_sent_s=result["after_last_sent_s"],
            events=count,
            wire_bytes=result["bytes"] / result["deliveries"],
            client_cpu_us=result["client_cpu_s"] / result["deliveries"] * 1e6,
            memory_mb=subject.target.process.memory_bytes() / 1024 / 1024,
        )

    with running(options) as subjects:
        each(subjects, connecting(subscribers))
        each(subjects, warm_up)
        for _ in range(min(3, options.rounds)):
            each(subjects, measure)
        return {"subscribers": subscribers, "servers": results(subjects)}


# ---- all reconnect --------------------------------------------------------------------------------------------------


def storm(options: Options) -> dict[str, Any]:
    """All reconnect at once. For flagent-cdc: with a snapshot, compared with the handshakes alone."""
    subscribers = options.within_limits(options.subscribers)

    def reconnect(subject: Subject, prefix: str) -> None:
        opened = subject.connect(subscribers)
        subject.note(
            **{
                f"{prefix}_s": opened["seconds"],
                f"{prefix}_p99_s": opened["ready_p99_s"],
                f"{prefix}_cpu_us": opened["cpu_us"],
                f"{prefix}_bytes": opened["bytes"] / subscribers,
                f"{prefix}_refusals": opened["refusals"],
                f"{prefix}_refused_again": opened["refused_again"],
            }
        )
        subject.phase(1)  # every subscriber receives the next event
        subject.load.close()

    def round_of(subject: Subject) -> None:
        reconnect(subject, "handshakes")
        if isinstance(subject.target, FlagentCdc):
            subject.load.aim(subject.target.subscription(snapshot=True))
            reconnect(subject, "snapshots")
            subject.load.aim(subject.target.endpoint)
            subject.note(memory_mb=subject.target.process.memory_bytes() / 1024 / 1024)
        subject.target.process.settle()

    with running(options, others=options.storm_flags - 1) as subjects:
        for _ in range(options.rounds):
            each(subjects, round_of)
        return {"subscribers": subscribers, "flags": options.storm_flags, "servers": results(subjects)}


# ---- one flag per subscriber-----------------------------------------------------------------------------------------


def selective(options: Options) -> dict[str, Any]:
    """Every subscriber follows a different flag: the cost of a change, which must reach only its subscriber."""
    subscribers = options.within_limits(options.subscribers)
    changes = 200
    choose = random.Random(5)

    def measure(subject: Subject) -> None:
        target = subject.target
        assert isinstance(target, FlagentCdc)
        first = subject.next
        subject.next += changes
        subject.load.begin(first, changes)
        chosen = {seq: choose.randrange(subscribers) for seq in range(first, first + changes)}
        before_s = target.process.cpu_s()
        sent = [target.push_to(f"bench-{index}", seq) for seq, index in chosen.items()]
        subject.load.sent(first, sent)
        # A change of another flag, delivered by mistake, would arrive soon.
        result = subject.load.finish(30, linger_s=0.5)
        cpu_s = target.process.cpu_s() - before_s
        received = [(conn, seq) for conn, seq, _ in result["receipts"]]
        if sorted(received) != sorted((index, seq) for seq, index in chosen.items()):
            raise DeliveryError(f"{len(received)} deliveries for {changes} changes, or deliveries to wrong subscribers")
        subject.note(cpu_ms=cpu_s / changes * 1e3, p50_ms=result["pooled_p50_ms"], p99_ms=result["pooled_p99_ms"])

    def without_subscribers(subject: Subject) -> None:
        """The cost of a change in the listener and the catalog, without subscribers."""
        assert isinstance(subject.target, FlagentCdc)
        for index in range(changes):  # the first ones warm up
            subject.target.push_to(f"bench-{index % subscribers}", 0)
        subject.target.process.settle()
        before_s = subject.target.process.cpu_s()
        for index in range(changes):
            subject.target.push_to(f"bench-{index % subscribers}", 0)
        subject.target.process.settle()
        subject.note(alone_cpu_ms=(subject.target.process.cpu_s() - before_s) / changes * 1e3)

    only_flagent = [name for name in options.servers if name == "flagent-cdc"]
    with narrowed(options, only_flagent), running(options, others=subscribers, own=True) as subjects:
        each(subjects, without_subscribers)
        for subject in subjects:
            assert isinstance(subject.target, FlagentCdc)
            subject.load.aim(subject.target.subscription(flag="bench-%d"))
        each(subjects, connecting(subscribers))
        for _ in range(options.rounds):
            each(subjects, measure)
        return {"subscribers": subscribers, "changes": changes, "servers": results(subjects)}


# ---- one in a hundred never reads -----------------------------------------------------------------------------------


def slow(options: Options) -> dict[str, Any]:
    """The p99 of the others, with and without one in a hundred that never reads; their state once they read again."""
    subscribers = options.within_limits(options.subscribers)
    mute = max(1, subscribers // 100)
    # A slow subscriber falls behind both the megabytes of its socket's buffers and the thousand events of the ring.
    ring = {"FLAGENT_CDC_RING_EVENTS": "1000"}
    fill_events = 10_000

    def measure(subject: Subject, prefix: str) -> None:
        phases = [subject.phase(1) for _ in range(options.events * options.rounds)]
        subject.note(
            **{
                f"{prefix}_p50_ms": statistics.median(phase["p50_ms"] for phase in phases),
                f"{prefix}_p99_ms": statistics.median(phase["p99_ms"] for phase in phases),
                f"{prefix}_cpu_us": statistics.median(phase["cpu_us"] for phase in phases),
            }
        )

    def run(subject: Subject) -> None:
        subject.connect(subscribers - mute)
        warm_up(subject)
        measure(subject, "without")
        subject.disconnect()
        subject.connect(subscribers, mute=mute)
        before = subject.target.process.memory_bytes()
        warm_up(subject)
        subject.phase(fill_events, many=True, timeout_s=600, latencies=False)
        subject.note(memory_per_slow_kb=(subject.target.process.memory_bytes() - before) / mute / 1024)
        measure(subject, "with")
        subject.load.unmute()
        deadline = time.monotonic() + 30
        while (muted := subject.load.muted())["stale"] and time.monotonic() < deadline:
            time.sleep(0.1)
        subject.note(**{f"slow_{name}": value for name, value in muted.items()})
        if muted["stale"]:
            raise DeliveryError(f"slow subscribers are neither up to date nor disconnected: {muted}")

    only_flagent = [name for name in options.servers if name == "flagent-cdc"]
    with narrowed(options, only_flagent), running(options, settings=ring) as subjects:
        each(subjects, run)
        return {"subscribers": subscribers, "slow": mute, "fill_events": fill_events, "servers": results(subjects)}


# ---- resume after a hundred thousand events -------------------------------------------------------------------------


def catchup(options: Options) -> dict[str, Any]:
    """Resume over a long history: events per second, cost per event, and the effect on up-to-date subscribers."""
    returning, followers = options.catchup_subscribers, 100

    def events_of(subject: Subject) -> int:
        # In Nchan the cost of an event grows with their number.
        return options.catchup_events // (20 if subject.name == "nchan" else 1)

    def fill(subject: Subject) -> None:
        events = events_of(subject)
        for first in range(1, events + 1, 10_000):
            subject.target.fill(first, min(10_000, events + 1 - first))
        subject.next = events + 1
        subject.target.process.settle()

    def begin(subject: Subject, count: int) -> None:
        # The phase begins before they connect, so that the first deliveries count.
        subject.load.begin(1, events_of(subject), latencies=False, connections=count)
        subject.load.open(count, 1)
        subject.load.begin_to_finish(600)

    def end(subject: Subject, count: int) -> int:
        result = subject.load.finished(600)
        errors = {name: result[name] for name in ("gaps", "repeats", "mismatches", "lost", "undecoded") if result[name]}
        expected = events_of(subject) * count
        if errors or result["deliveries"] != expected:
            raise DeliveryError(f"{result['deliveries']} of {expected} deliveries, {errors}")
        subject.load.close()
        return expected

    def measure(subject: Subject) -> None:
        subject.note(events=events_of(subject))
        for count in (1, returning):
            before_s, began = subject.target.process.cpu_s(), time.monotonic()
            begin(subject, count)
            delivered = end(subject, count)
            seconds = time.monotonic() - began
            name = "one" if count == 1 else "many"
            subject.note(
                **{
                    f"{name}_s": seconds,
                    f"{name}_events_per_s": delivered / seconds,
                    f"{name}_cpu_us": (subject.target.process.cpu_s() - before_s) / delivered * 1e6,
                    f"{name}_memory_mb": subject.target.process.memory_bytes() / 1024 / 1024,
                }
            )

    def disturb(subject: Subject) -> None:
        """Single events to subscribers that are up to date: at rest, and while the others catch up."""
        with Load(subject.target.endpoint, options.cores.load, compress=options.compress) as load:
            up_to_date = Subject(options, subject.target, load)
            up_to_date.next = subject.next
            up_to_date.connect(followers)
            warm_up(up_to_date)
            rest = [up_to_date.phase(1) for _ in range(20)]
            # Two clients and the database share a core: the server is to be measured, not their queue.
            subject.load.lower_priority()
            begin(subject, returning)
            meanwhile = []
            while not subject.load.is_finished:
                meanwhile.append(up_to_date.phase(1))
            end(subject, returning)
            subject.next = up_to_date.next
        for name, phases in (("rest", rest), ("meanwhile", meanwhile)):
            subject.note(
                **{
                    f"{name}_p50_ms": statistics.median(phase["p50_ms"] for phase in phases),
                    f"{name}_worst_ms": max(phase["last_ms"] for phase in phases),
                    f"{name}_events": len(phases),
                }
            )

    # The other servers keep no history to resume from.
    options.kept_messages = options.catchup_events
    resumable = [name for name in options.servers if name in ("flagent-cdc", "nchan")]
    with narrowed(options, resumable), running(options) as subjects:
        each(subjects, fill)
        for subject in subjects:
            subject.load.aim(subject.target.history)
        each(subjects, measure)
        each(subjects, disturb)
        return {"subscribers": returning, "servers": results(subjects)}


# ---- cost by kind of work -------------------------------------------------------------------------------------------


def profile(options: Options) -> dict[str, Any]:
    """The work of the server's core with one event at a time, from perf's samples."""
    subscribers = options.within_limits(options.subscribers)
    sampler = Profile(options.cores.server)

    def measure(subject: Subject) -> None:
        warm_up(subject)
        with sampler:
            phases = [subject.phase(1) for _ in range(options.events)]
        deliveries = sum(phase["deliveries"] for phase in phases)
        subject.note(cpu_us=sum(phase["cpu_s"] for phase in phases) / deliveries * 1e6)
        for group, seconds in sampler.seconds(subject.target.process.pids).items():
            subject.note(**{group: seconds / deliveries * 1e6})

    with running(options) as subjects:
        each(subjects, connecting(subscribers))
        for _ in range(options.rounds):
            each(subjects, measure)
        return {"subscribers": subscribers, "servers": results(subjects)}


# ---- from a thousand to twenty thousand -----------------------------------------------------------------------------


def scale(options: Options) -> dict[str, Any]:
    """Cost per delivery and per connection as the number of subscribers grows."""
    steps = sorted({options.within_limits(count) for count in (1000, 2000, 5000, 10_000, 20_000)})
    points: dict[str, Any] = {}
    for subscribers in steps:
        options.report(f"  {subscribers} subscribers")
        with running(options) as subjects:
            each(subjects, partial(measure_connects, subscribers=subscribers, rounds=1))
            each(subjects, warm_up)
            for _ in range(min(3, options.rounds)):
                each(subjects, partial(measure_single_events, events=options.events))
            points[str(subscribers)] = results(subjects)
    return {"subscribers": steps, "points": points}


SCENARIOS: dict[str, Callable[[Options], dict[str, Any]]] = {
    "fanout": fanout,
    "burst": burst,
    "storm": storm,
    "selective": selective,
    "slow": slow,
    "catchup": catchup,
    "profile": profile,
    "scale": scale,
}
