"""Keep-alives (SSE) and heartbeats (WebSocket): position and freshness, spread evenly over the interval.

Ten thousand keep-alives at one instant would be a spike of tens of milliseconds; so subscribers are spread over
buckets, and each tick serves one bucket. A keep-alive also moves the resume id of a filtered subscriber forward, past
everything that did not concern it.

When freshness is lost or regained, the next round is a hurried one: a client that was greeted by a server that had only
just started, or lost its database, would otherwise believe the old answer for a whole interval.
"""

import asyncio
import contextlib
from collections.abc import Iterable

from ..core.wire.format import Format, websocket_frame
from .encode_ahead import FEW_FLAGS
from .hub import Hub
from .subscriber import CloseReason, Subscriber

__all__ = ["Keepalive"]

# A peer that has answered none of so many pings is gone.
_MISSED_PINGS = 2

# Finer than this, a tick costs more than it spreads.
_TICK_S = 0.25

# A loop may be late by this much and keep its rhythm.
_LATE_S = 0.05

# How long a hurried round takes.
_HURRY_S = 1.0


class Keepalive:
    """Sends keep-alives to the subscribers of one transport: one per `interval_s`, and soon after freshness changes.

    It also disconnects subscribers that read nothing for the hub's `stall_s`, and WebSocket peers that answer no pings.
    """

    def __init__(self, hub: Hub, interval_s: float) -> None:
        self._hub = hub
        self._interval_s = interval_s
        self._stall_rounds = max(1, round(hub.limits.stall_s / interval_s))
        count = max(1, min(256, int(interval_s / _TICK_S)))
        self._buckets: list[dict[Subscriber, None]] = [{} for _ in range(count)]
        self._next = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def subscriber_count(self) -> int:
        return sum(map(len, self._buckets))

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="keep-alive")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def add(self, subscriber: Subscriber) -> None:
        """Its first keep-alive is sent within one interval."""
        subscriber.bucket = self._next
        self._buckets[self._next][subscriber] = None
        self._next = (self._next + 1) % len(self._buckets)

    def remove(self, subscriber: Subscriber) -> None:
        """Harmless for a subscriber that is not, or no longer, here."""
        self._buckets[subscriber.bucket].pop(subscriber, None)

    def send_now(self, subscriber: Subscriber) -> None:
        """Send one keep-alive out of turn."""
        self._send_to((subscriber,))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        count = len(self._buckets)
        tick_s = self._interval_s / count
        hurried_tick_s = min(tick_s, _HURRY_S / count)
        freshness = self._hub.freshness
        freshness()
        known, hurried = freshness.changes, 0
        due = loop.time()
        while True:
            for bucket in self._buckets:
                # What a suspended process has missed is not made up for: a peer that is pinged several times at once
                # has no time to answer, and would be taken for silent.
                due = max(due, loop.time() - _LATE_S) + (hurried_tick_s if hurried else tick_s)
                await asyncio.sleep(max(0.0, due - loop.time()))
                # Counted, not compared: between two ticks it may have been regained, shown to a client, and lost again.
                freshness()
                if freshness.changes != known:
                    known, hurried = freshness.changes, count
                if hurried:
                    # No peer has had an interval's time to read and to answer, so nothing is held against any.
                    hurried -= 1
                    self._send_to(list(bucket))
                else:
                    self._send_to([subscriber for subscriber in list(bucket) if self._is_alive(subscriber)])

    def _is_alive(self, subscriber: Subscriber) -> bool:
        """Count what a subscriber owes since its last round; False where it reads nothing, or was disconnected now."""
        if subscriber.is_paused:
            subscriber.paused_rounds += 1
            if subscriber.paused_rounds > self._stall_rounds:
                self._hub.disconnect(
                    subscriber,
                    CloseReason.TOO_SLOW,
                    "client read nothing for too long; reconnect with the last event id received",
                )
            return False
        if subscriber.format.transport == "websocket":
            if subscriber.sink.heard_since_last_ping():
                subscriber.missed_pings = 0
            else:
                subscriber.missed_pings += 1
                if subscriber.missed_pings > _MISSED_PINGS:
                    self._hub.disconnect(subscriber, CloseReason.SILENT, "no answer to pings")
                    return False
        return True

    def _send_to(self, subscribers: Iterable[Subscriber]) -> None:
        encoded: dict[tuple[Format, bool, bool], bytes] = {}
        for subscriber in subscribers:
            if subscriber.is_paused:
                continue
            # An id means "everything up to here was delivered": not while something waits to be sent, and not before a
            # subscription. A client that has reconnected, and not yet sent its last id, would take ours for its new
            # one. The ping is sent all the same: without one there is nothing to answer.
            is_complete = subscriber.is_live and not subscriber.pending and bool(subscriber.selections.clauses)
            with_digest = is_complete and subscriber.selections.is_everything
            key = (subscriber.format, is_complete, with_digest)
            data = encoded.get(key)
            if data is None:
                data = encoded[key] = self._encode(subscriber.format, is_complete, with_digest)
            if data:
                self._hub.send(subscriber, data)

    def _encode(self, format: Format, is_complete: bool, with_digest: bool) -> bytes:
        is_socket = format.transport == "websocket" and format.is_framed
        ping = websocket_frame(b"", "ping") if is_socket else b""
        if not is_complete:
            return ping
        now = self._hub.freshness()
        here = self._hub.here()
        catalog = self._hub.catalog
        # Without it while many flags wait to be hashed, see `encode_ahead`.
        digest = catalog.digest if with_digest and catalog.unhashed <= FEW_FLAGS else None
        return ping + format.frame(
            format.dialect.keep_alive(here, is_fresh=now.fresh, age_ms=now.age_ms, digest=digest)
        )
