"""The past that the ring no longer holds, reconstructed from the log.

The log has every row before and after its change, so a copy of the catalog can be rewound from the present and run
forward again: each event then carries the flag as it was, never today's flag under an old id. One reconstruction
serves all clients that reconnect at the same time, and is dropped after a while without a request.
"""

import asyncio
import logging
from bisect import bisect_left
from dataclasses import replace

from ..core.log.change import Commit
from ..core.log.position import EventId, Position
from ..core.log.recent_commits import RecentCommits
from ..core.subscription.resume import ResyncReason
from ..core.wire.encoded import EncodedEvent, encode_commit
from ..errors import OutOfReach, SourceError
from ..fanout.history import History
from ..fanout.hub import Hub
from ..source.log import Log, is_of_log
from .rewind import rewound

__all__ = ["ReplayReader"]

logger = logging.getLogger(__name__)

# Commits between two turns of other tasks; about a millisecond of work.
_TURN_COMMITS = 25

_KEEP_S = 60.0


class ReplayReader:
    """The hub's historian: at most `limit_changes` changes back, beyond that a resync is cheaper for everyone."""

    def __init__(self, log: Log, hub: Hub, limit_changes: int) -> None:
        self._log = log
        self._hub = hub
        self._limit_changes = limit_changes
        self._lock = asyncio.Lock()
        self._since: EventId | None = None
        self._history: History | None = None
        self._commits: RecentCommits | None = None
        self._catalog = hub.catalog
        self._forget: asyncio.TimerHandle | None = None

    async def __call__(self, id: EventId) -> History | ResyncReason:
        async with self._lock:
            if (found := self._cached(id)) is not None:
                return found
            try:
                return await self._reconstruct(id)
            except SourceError as error:
                # The subscriber must not wait for a log that may be away for hours.
                logger.warning("History cannot be read", extra={"action": "history_failed", "reason": str(error)})
                return ResyncReason.OVERFLOW

    def _cached(self, id: EventId) -> History | ResyncReason | None:
        history, since, commits = self._history, self._since, self._commits
        if history is None or since is None or commits is None or since.log != id.log or id.is_before(since):
            return None
        # Another catalog has another past, also under the same log's name.
        if self._catalog is not self._hub.catalog or self._hub.ring.after(history.until) is None:
            return None
        if history.until.is_before(id) or (is_ours := commits.confirm(id)) is None:
            return None
        if not is_ours:
            return ResyncReason.LOG_REPLACED
        self._keep()
        return replace(history, first=bisect_left(history.events, True, key=lambda e: id.is_before(e.event_id)))

    def _keep(self) -> None:
        if self._forget is not None:
            self._forget.cancel()
        self._forget = asyncio.get_running_loop().call_later(_KEEP_S, self._drop)

    def _drop(self) -> None:
        self._history = self._since = self._commits = self._forget = None

    async def _reconstruct(self, id: EventId) -> History | ResyncReason:
        state = await self._log.state()
        present = self._hub.catalog
        if state.log != id.log or state.log != present.log:
            return ResyncReason.LOG_REPLACED
        if not state.holds_all_after(id.position):
            return ResyncReason.PRUNED
        if not await is_of_log(id, state, self._log):
            return ResyncReason.LOG_REPLACED
        if id.position > present.position:
            return ResyncReason.OVERFLOW  # within a commit that is being read, of which the ring no longer holds enough
        # Of a commit that is being read, what is published already is in the ring, or else a resync follows.
        past, until = present.copy(), EventId(present.position, None, present.log)
        # The commit that the id lies in is run again: some of its events may be after the id.
        down_to = Position(id.position if id.index is None else id.position - 1)
        if id.index is not None and not state.holds_all_after(down_to):
            return ResyncReason.PRUNED
        try:
            back = [commit async for commit in rewound(past, self._read_back, down_to, self._limit_changes)]
        except OutOfReach as error:
            return ResyncReason.OVERFLOW if error.code == "too_far_back" else ResyncReason.PRUNED
        if not (await self._log.state()).holds_all_after(down_to):
            return ResyncReason.PRUNED  # while it was being read
        events: list[EncodedEvent] = []
        commits = RecentCommits(down_to, id.hash if down_to == id.position else None, most=len(back) + 2)
        for turn, commit in enumerate(reversed(back)):
            of_commit = encode_commit(past.apply(commit), past.bound)
            for event in of_commit:
                if event.event.rows is not None:
                    event.event.rows.forget()
            events.extend(of_commit)
            commits.add(commit.position, commit.hash)
            if turn % _TURN_COMMITS == _TURN_COMMITS - 1:
                await asyncio.sleep(0)
        if self._hub.catalog is not present:
            return ResyncReason.LOG_REPLACED  # while it was being read
        self._catalog = present
        self._since, self._history, self._commits = EventId(down_to, None, id.log), History(events, until), commits
        self._keep()
        return self._cached(id) or ResyncReason.OVERFLOW

    async def _read_back(self, position: Position, down_to: Position, limit: int) -> list[Commit]:
        page = await self._log.commits_before(position, down_to, limit)
        if not all(commit.ends for commit in page):
            raise OutOfReach("a single commit is more than is read at once", code="too_far_back")
        if not all(commit.changes for commit in page):
            raise OutOfReach("the log no longer holds these changes", code="pruned")
        return page
