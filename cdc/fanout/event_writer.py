"""Writes events to one subscriber: the one place where plain, stamped and batched delivery differ.

Live delivery, catching up and the replay of an added selection all end here, so that none of them can forget the time
of sending, the batch, the grant or the counters.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from ..core.wire.encoded import EncodedEvent, filter_for_grant
from .counters import Counters
from .subscriber import Subscriber

__all__ = ["sent_at_now", "write_events"]


def write_events(
    subscriber: Subscriber, events: Sequence[EncodedEvent], counters: Counters, sent_at: str | None = None
) -> None:
    """Write events that the subscriber's selection matches, at least one, in one write.

    `sent_at` is the time of sending for subscribers that asked for stamps, None for the present. Where several
    subscribers share it, each event is encoded once for all of them.
    """
    if subscriber.grant is not None:
        events = filter_for_grant(subscriber.grant, events)
    format = subscriber.format
    if subscriber.stamps:
        sent_at = sent_at or sent_at_now()
        if subscriber.batch_s:
            data = format.frame(format.dialect.batch(events, sent_at))
        elif len(events) == 1:
            data = events[0].framed_at(format, sent_at)
        else:
            data = b"".join([event.framed_at(format, sent_at) for event in events])
    elif subscriber.batch_s:
        data = format.frame(format.dialect.batch(events, None))
    elif len(events) == 1:
        data = events[0].framed(format)
    else:
        data = b"".join([event.framed(format) for event in events])
    counters.deliveries += len(events)
    counters.sent_bytes += len(data)
    subscriber.sink.write(data)


def sent_at_now() -> str:
    """The present time as `sentAt` has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
