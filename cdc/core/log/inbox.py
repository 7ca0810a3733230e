"""Commits that were heard of and are not applied yet.

Both the listener of a node, which hears notifications, and the relay, which hears a listener, use it. What is in the
inbox is a hint: a commit is taken out only where it continues what was applied, and after a gap the log has to be read.
`Inbox` is the queue; `NotificationInbox` adds when a listener has to read the log.

>>> from cdc.core.log.change import Commit
>>> commits = [Commit(Position(n), "", n, "", "", ()) for n in (4, 5, 8)]
>>> inbox = Inbox()
>>> for commit in commits:
...     inbox.add(commit, Position(commit.position - 1))
>>> [commit.position for commit in inbox.take(Position(4))], len(inbox)
([5], 1)
"""

from collections import deque
from collections.abc import Callable

from .change import Commit
from .continuity import Step, step
from .position import Position

__all__ = ["Inbox", "NotificationInbox"]


class Inbox:
    """A queue of commits, in the order in which they were heard of."""

    def __init__(self) -> None:
        self._commits: deque[tuple[Position, Commit]] = deque()

    def __len__(self) -> int:
        return len(self._commits)

    def add(self, commit: Commit, after: Position) -> None:
        """A commit was heard of, which follows everything up to `after`."""
        self._commits.append((after, commit))

    def clear(self) -> None:
        self._commits.clear()

    def take(self, applied: Position, accepts: Callable[[Commit], bool] | None = None) -> list[Commit]:
        """Remove and return the commits that continue everything up to `applied`, in order.

        Those that were applied before are dropped. The first one after a gap, or that `accepts` does not accept, stays,
        with all behind it: where `len()` is not 0 afterwards, what comes next has to be read from the log.
        """
        taken: list[Commit] = []
        while self._commits:
            after, commit = self._commits[0]
            match step(applied, commit.position, after):
                case Step.GAP:
                    break
                case Step.NEXT:
                    if accepts is not None and not accepts(commit):
                        break
                    taken.append(commit)
                    applied = commit.position
            self._commits.popleft()
        return taken


class NotificationInbox:
    """What one session of a listener has heard, and whether the log has to be read.

    Call contract: `begin_reading` before the log is read and `end_reading` after it; `hear` and `hint` for each
    notification, also meanwhile; `take` whenever commits may be applied. `must_read` is True from the beginning, and
    whenever the notifications alone are not enough; the listener then reads the log.

    `heard_up_to` is the newest position at the beginning: only later commits are announced from then on. While the log
    is read, at most `limit` commits are kept.
    """

    def __init__(self, heard_up_to: Position, limit: int) -> None:
        self.must_read = True
        self._heard_up_to = heard_up_to
        self._limit = limit
        self._is_reading = False
        self._inbox = Inbox()

    def __len__(self) -> int:
        return len(self._inbox)

    def hear(self, commit: Commit) -> None:
        """A commit was announced with its changes."""
        self._note(commit.position)
        # Its predecessor is not named. Only the next number shows that nothing is missing in between.
        self._inbox.add(commit, Position(commit.position - 1))

    def hint(self, position: Position, applied: Position) -> None:
        """A commit was announced without its changes."""
        self._note(position)
        if position > applied:
            self.must_read = True

    def _note(self, position: Position) -> None:
        if position <= self._heard_up_to:
            # Commits are announced in their order: this is another log, or a forged notification.
            self.must_read = True
        self._heard_up_to = position

    def begin_reading(self) -> None:
        self._is_reading = True
        self.must_read = False

    def end_reading(self) -> None:
        self._is_reading = False

    def take(self, applied: Position, accepts: Callable[[Commit], bool]) -> list[Commit]:
        """Remove and return the commits that may be applied now; `accepts` as in `Inbox.take`."""
        if self._is_reading and len(self._inbox) < self._limit:
            return []  # What the log says comes first: it also says whether this is still the same log.
        if self._is_reading or self.must_read:
            self.must_read = True  # The log will bring these too, in their place after what is missing.
            taken = []
        else:
            taken = self._inbox.take(applied, accepts)
        if len(self._inbox):
            # A gap: a commit that failed after it got its position, or one that was not heard.
            self.must_read = True
            self._inbox.clear()
        return taken
