"""What a relay keeps of the lane that it copies: the commits that its listener reported and that are not copied yet."""

import asyncio
from collections.abc import Sequence

from ..core.flags.catalog import Catalog
from ..core.log.change import Commit
from ..core.log.inbox import Inbox
from ..core.log.other_logs import OtherLogs
from ..core.log.position import NO_LOG, Position
from ..core.subscription.resume import ResyncReason

__all__ = ["RelayReplica"]

# Beyond it, commits are read from the log again.
_INBOX_COMMITS = 2_000


class RelayReplica:
    """The port `Replica` of a relay.

    `catalog` has the log, the position and the schemas of the lane, and no rows. `must_compare` says that the end of
    the JetStream stream has to be compared with the log; `arrived` is set whenever there is something to do.
    """

    def __init__(self) -> None:
        self.catalog = Catalog(NO_LOG)
        self.other_logs = OtherLogs()  # none: a relay has no clients
        self.arrived = asyncio.Event()
        self.must_compare = True
        self._inbox = Inbox()

    def publish(self, commits: Sequence[Commit]) -> None:
        if len(self._inbox) + len(commits) > _INBOX_COMMITS:
            self._inbox.clear()
        after = self.catalog.position
        for commit in commits:
            self._inbox.add(commit, after)
            after = commit.position
        self.catalog.position = after
        self.arrived.set()

    async def publish_in_turns(self, commits: Sequence[Commit]) -> None:
        self.publish(commits)

    def replace(self, catalog: Catalog, reason: ResyncReason) -> None:
        self.catalog = Catalog(catalog.log, catalog.position)
        for schema in catalog.schemas:
            self.catalog.attach(schema)
        self._inbox.clear()
        self.must_compare = True
        self.arrived.set()

    def take_after(self, position: Position) -> list[Commit]:
        """The commits that continue everything up to `position`; none where the next one must be read from the log."""
        return self._inbox.take(position)
