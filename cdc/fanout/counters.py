"""What a hub counts: incremented as it happens, read when metrics or the status are asked for."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from ..core.flags.events import EventType
from ..core.histogram import Histogram
from ..core.subscription.resume import ResyncReason
from .subscriber import CloseReason

__all__ = ["Counters"]


class Counters:
    """The counters of one hub since its start.

    `deliveries` counts each event once per subscriber that it was written to, `events` once. `sent_bytes` is after
    compression and before TLS. `latency` is the time from a commit, by the database's clock, until its events were
    written, in seconds.
    """

    __slots__ = ("deliveries", "disconnects", "events", "latency", "pauses", "resyncs", "sent_bytes")

    def __init__(self) -> None:
        self.deliveries = 0
        self.sent_bytes = 0
        self.pauses = 0
        self.events: Counter[EventType] = Counter()
        self.resyncs: Counter[ResyncReason] = Counter()
        self.disconnects: Counter[CloseReason] = Counter()
        self.latency = Histogram()

    def observe_latency(self, committed_at: Iterable[str], now: datetime | None = None) -> None:
        """Observe the latency of commits that were written `now`. Clocks that differ must not make it negative."""
        now = datetime.now(UTC) if now is None else now
        for text in committed_at:
            self.latency.observe(max(0.0, (now - datetime.fromisoformat(text)).total_seconds()))
