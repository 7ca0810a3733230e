"""Signs of life: keep-alives with position and freshness, spread evenly over the interval.

Ten thousand keep-alives at one instant would be a spike of tens of milliseconds; so subscribers sit in buckets, and
each tick serves one bucket. A keep-alive also moves the resume id of a filtered subscriber forward, past all that did
not concern it.

When freshness is lost or regained the next round is a hurried one: whoever was greeted by a server that had only just
started, or lost its database, would else believe the old answer for a whole interval.
"""

import asyncio
import contextlib

from ..core.wire.format import Format, websocket_frame
from .hub import Hub
from .subscriber import CloseReason, Subscriber

__all__ = ["Keepalive"]

# A peer that has answered nothing for so many beats is gone.
_MISSED_BEATS = 2

# Finer than this, a tick costs more than it spreads.
_TICK_S = 0.25

# A loop may be late by this much and keep its rhythm.
_LATE_S = 0.05

# How long a hurried round takes.
_HURRY_S = 1.0


class Keepalive:
    """Beats for the subscribers of one transport, each once per `interval_s`, and all soon after freshness changes."""

    def __init__(self, hub: Hub, interval_s: float) -> None:
        self._hub = hub
        self._interval_s = interval_s
        self._stall_beats = max(1, round(hub.limits.stall_s / interval_s))
        count = max(1, min(256, int(interval_s / _TICK_S)))
        self._buckets: list[dict[Subscriber, None]] = [{} for _ in range(count)]
        self._next = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def add(self, subscriber: Subscriber) -> None:
        """Its first beat comes within one interval."""
        subscriber.heart = self
        subscriber.bucket = self._next
        self._buckets[self._next][subscriber] = None
        self._next = (self._next + 1) % len(self._buckets)

    def remove(self, subscriber: Subscriber) -> None:
        """Harmless when repeated."""
        self._buckets[subscriber.bucket].pop(subscriber, None)
        subscriber.heart = None

    def beat(self, subscriber: Subscriber) -> None:
        """Beat for this one now, out of turn."""
        self._beat([subscriber])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        count = len(self._buckets)
        tick_s = self._interval_s / count
        hurried_tick_s = min(tick_s, _HURRY_S / count)
        was_fresh, hurried = self._hub.freshness().fresh, 0
        due = loop.time()
        while True:
            for bucket in self._buckets:
                # What a process missed that was stopped is not made up for: who is pinged several times at once has
                # no time to answer, and would be taken for silent.
                due = max(due, loop.time() - _LATE_S) + (hurried_tick_s if hurried else tick_s)
                await asyncio.sleep(max(0.0, due - loop.time()))
                if self._hub.freshness().fresh != was_fresh:
                    was_fresh, hurried = not was_fresh, count
                if hurried:
                    # Nobody has had an interval's time to read and to answer, so nothing is held against anybody.
                    hurried -= 1
                    self._beat(list(bucket))
                else:
                    self._beat([subscriber for subscriber in list(bucket) if self._is_alive(subscriber)])

    def _is_alive(self, subscriber: Subscriber) -> bool:
        """Count what a subscriber owes since its last turn; False where it reads nothing, or has just been cut."""
        if subscriber.is_paused:
            subscriber.paused_beats += 1
            if subscriber.paused_beats > self._stall_beats:
                self._hub.cut(subscriber, CloseReason.TOO_SLOW, "nothing was read for too long")
            return False
        if subscriber.format.transport == "websocket":
            if subscriber.sink.heard_since_last_beat():
                subscriber.missed_beats = 0
            else:
                subscriber.missed_beats += 1
                if subscriber.missed_beats > _MISSED_BEATS:
                    self._hub.cut(subscriber, CloseReason.SILENT, "no answer to pings")
                    return False
        return True

    def _beat(self, subscribers: list[Subscriber]) -> None:
        texts: dict[tuple[Format, bool, bool], bytes] = {}
        for subscriber in subscribers:
            if subscriber.is_paused:
                continue
            # An id says "all up to here was told": not while something waits to be told, and not before a subscription.
            # A client that comes back, and has not yet been heard with its last id, would take ours for its new one.
            # The ping goes out all the same: who is sent none has nothing to answer.
            is_told = subscriber.is_live and not subscriber.pending and bool(subscriber.selections.clauses)
            with_digest = is_told and subscriber.selections.is_everything
            key = (subscriber.format, is_told, with_digest)
            data = texts.get(key)
            if data is None:
                data = texts[key] = self._encode(subscriber.format, is_told, with_digest)
            if data:
                self._hub.say(subscriber, data)

    def _encode(self, format: Format, is_told: bool, with_digest: bool) -> bytes:
        is_socket = format.transport == "websocket" and format.is_framed
        ping = websocket_frame(b"", "ping") if is_socket else b""
        if not is_told:
            return ping
        now = self._hub.freshness()
        here = self._hub.here()
        digest = self._hub.catalog.digest if with_digest else None
        return ping + format.frame(
            format.dialect.keep_alive(here, is_fresh=now.fresh, age_ms=now.age_ms, digest=digest)
        )
