"""The logs that ids of clients name, where they are not the one that is followed.

Most are past: the log of before a failover or a restore. One that this log cannot know yet, of a later timeline, shows
that an old primary is followed. The names are a client's word, so few are kept.

>>> others = OtherLogs()
>>> others.note("8-0@k7q2mx.3f0c9a"); others.note("9-0@k7q2mx.77aa01"); others.note("junk")
>>> others.take(), others.take()
(['k7q2mx'], [])
"""

from ..errors import InvalidEventId
from .position import EventId, LogId

__all__ = ["OtherLogs"]

# Names that are taken at a time, and that are remembered so as not to be taken again.
_MOST_NEW = 8
_MOST_KNOWN = 64


class OtherLogs:
    """Each log that is noted is taken once, and again after `clear`. Where there are too many, later ones are ignored
    until some have been taken."""

    __slots__ = ("_known", "_new")

    def __init__(self) -> None:
        self._new: list[LogId] = []
        self._known: dict[LogId, None] = {}

    def note(self, last_event_id: str) -> None:
        """Note the log of an id, as a client sent it."""
        try:
            log = EventId.parse(last_event_id).log
        except InvalidEventId:
            return
        if log in self._known or len(self._new) >= _MOST_NEW:
            return
        self._new.append(log)
        self._known[log] = None
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def take(self) -> list[LogId]:
        """The logs that were noted since the last call."""
        taken, self._new = self._new, []
        return taken

    def clear(self) -> None:
        """Another log is followed now, to which each of them may relate otherwise."""
        self._new.clear()
        self._known.clear()
