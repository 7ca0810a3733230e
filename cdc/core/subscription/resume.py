"""Decides how a stream continues after the last event id of a client.

The decision needs four facts and no I/O: the id, the id of everything that this server has applied, which commits those
were, and how far back its ring of recent events reaches. What follows from it, as reading the log, is the caller's.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ..errors import InvalidEventId
from ..flags.events import Event
from ..log.position import EventId
from ..log.recent_commits import RecentCommits
from ..row_filter.row_filter import RowView
from .selection import Selections

__all__ = [
    "AddedSelection",
    "Continue",
    "Decision",
    "ReadHistory",
    "Resync",
    "ResyncReason",
    "RingReach",
    "WaitUntilReached",
    "decide_after",
    "decide_resume",
]


class ResyncReason(StrEnum):
    """Why a client must start from a snapshot instead of continuing."""

    PRUNED = "pruned"
    AHEAD = "ahead"
    OVERFLOW = "overflow"
    UNKNOWN_ID = "unknown_id"
    LOG_REPLACED = "log_replaced"


class RingReach(Protocol):
    """How far back the recent events reach; `Ring` implements it."""

    def after(self, id: EventId) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Continue:
    """Read the ring from this cursor on: it holds every event after the id."""

    cursor: int


@dataclass(frozen=True, slots=True)
class ReadHistory:
    """Read the events after this id from the change log: the ring no longer holds all of them, or it is not known here
    whether the id's commit ever was part of this log."""

    after: EventId


@dataclass(frozen=True, slots=True)
class WaitUntilReached:
    """Wait until this server has applied the id, then decide again.

    Another instance may be a moment ahead of this one. Only a server that has proven itself current since the question
    may call the id impossible, and answer with a resync for the reason `AHEAD`: one that is cut off would send the
    client back to an older state.
    """

    id: EventId


@dataclass(frozen=True, slots=True)
class Resync:
    """Send a snapshot: the stream cannot be continued after the id."""

    reason: ResyncReason


Decision = Continue | ReadHistory | WaitUntilReached | Resync


def decide_resume(last_event_id: str, here: EventId, recent: RecentCommits, ring: RingReach) -> Decision:
    """How to continue after `last_event_id`, as the client sent it. `here` is the id of everything applied so far, and
    `recent` knows its last commits.

    An id that is not one, of another log, or of a commit that is not in this log, is answered with a resync, never with
    silence.
    """
    try:
        id = EventId.parse(last_event_id)
    except InvalidEventId:
        return Resync(ResyncReason.UNKNOWN_ID)
    return decide_after(id, here, recent, ring)


def decide_after(id: EventId, here: EventId, recent: RecentCommits, ring: RingReach) -> Decision:
    """The same for an id that was read already, or is the server's own."""
    if id.log != here.log:
        return Resync(ResyncReason.LOG_REPLACED)
    if here.is_before(id):
        return WaitUntilReached(id)
    is_ours = recent.confirm(id)
    if is_ours is False:
        return Resync(ResyncReason.LOG_REPLACED)
    cursor = ring.after(id) if is_ours else None
    return ReadHistory(id) if cursor is None else Continue(cursor)


@dataclass(frozen=True, slots=True)
class AddedSelection:
    """Which events a live subscriber lacks when it adds a part to its selection.

    Events that `previous` selects were delivered up to and including `until`. What only `added` selects is known to
    the client up to and including `after`, which may be before or after `until`. All three ids are of one log.
    """

    previous: Selections
    added: Selections
    until: EventId
    after: EventId

    @property
    def start(self) -> EventId:
        """The id after which the first lacking event may be."""
        return self.after if self.after.is_before(self.until) else self.until

    def view(self, event: Event) -> RowView | None:
        """How the event is seen, where it is still to be delivered; else None."""
        view = self.previous.view(event)
        if view is not None:
            return view if self.until.is_before(event.id) else None
        return self.added.view(event) if self.after.is_before(event.id) else None
