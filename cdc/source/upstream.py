"""Where commits come from: PostgreSQL, the JetStream tier that copies its log, or memory.

Nothing above this knows which one it is. Commits, positions, logs and event ids are the same on each. An `Upstream`
opens what one process needs: a `Source` per lane (its log, and the follower that keeps a replica current), the history,
the tables, the key store. Errors are `SourceError`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ..auth.key_store import KeyStore
from ..core.exposure import ExposureKey, MinuteCount
from ..core.flags.catalog import Catalog
from ..core.freshness import Freshness
from ..core.log.change import Commit
from ..core.log.lane import FLAGS, Lane, WatchedTable
from ..core.log.other_logs import OtherLogs
from ..core.log.position import Position
from ..core.subscription.resume import ResyncReason
from .log import Log, LogHistory
from .table import TableSource

__all__ = [
    "CaptureCheck",
    "ExposureStore",
    "Follower",
    "LaneDirectory",
    "Maintenance",
    "Present",
    "Replica",
    "Source",
    "Upstream",
]


class Replica(Protocol):
    """What a follower keeps current. The methods that are not `async` return before anything else can run on the event
    loop. `other_logs` are those that clients of the replica have named."""

    other_logs: OtherLogs

    @property
    def catalog(self) -> Catalog: ...

    def publish(self, commits: Sequence[Commit]) -> None:
        """Apply the next commits, in order."""

    async def publish_in_turns(self, commits: Sequence[Commit]) -> None:
        """The same for commits of any size: everything else on the loop goes on. Until it returns, nothing else may be
        published; a commit becomes visible at once, when all of it has been applied."""

    def replace(self, catalog: Catalog, reason: ResyncReason) -> None:
        """Continue from another state; `reason` is why."""


class Present(Protocol):
    """The present state of a lane in this process, for readers of its past."""

    @property
    def catalog(self) -> Catalog: ...

    async def reached(self, position: Position, timeout_s: float) -> bool:
        """Wait until the catalog has reached `position`; False where it does not in time."""


class Follower(Protocol):
    """Applies each commit to a replica as it happens.

    `mode` is what it does now, `reason` why, for people; `reconnects` and `notifications` are counters.
    """

    mode: str
    reason: str
    reconnects: int
    notifications: int

    def freshness(self) -> Freshness: ...

    async def run(self) -> None:
        """Run until cancelled or stopped; every failure is retried."""

    def stop(self) -> None:
        """Make `run` return soon, even where it waits for an answer."""


class Maintenance(Protocol):
    """Regular work on the source by the process that reads it, such as pruning the change log."""

    async def run(self) -> None:
        """Run until cancelled or stopped; every failure is retried."""

    def stop(self) -> None:
        """Make `run` return soon, even where it waits for an answer."""


class ExposureStore(Protocol):
    """Writes and reads counts; raises `SourceError`."""

    async def record(self, counts: Mapping[ExposureKey, int]) -> None:
        """Add to the counts of the present minute, by the database's clock."""

    async def usage(
        self, schema: str, flag: str, since: datetime, until: datetime, limit: int
    ) -> Sequence[MinuteCount]:
        """The counts of a flag from `since` to before `until`, oldest first, at most `limit`."""

    async def close(self) -> None: ...


class CaptureCheck(Maintenance, Protocol):
    """Maintenance that also notices what is not captured: `problems` are sentences for people, perhaps not all of
    `problem_count`."""

    problems: Sequence[str]
    problem_count: int

    def look_soon(self) -> None:
        """Something about the tables has changed: look now instead of at the next regular time."""


@dataclass(frozen=True, slots=True)
class Source:
    """One lane as a node uses it: its log, what keeps the replica current, and the upkeep that goes with it."""

    log: Log
    listener: Follower
    maintenance: Maintenance | None = None
    capture: CaptureCheck | None = None


class LaneDirectory(Protocol):
    """Which tables are watched, and in which lanes."""

    async def watched_lanes(self) -> Sequence[WatchedTable]:
        """Every watched table and its lane."""

    async def close(self) -> None: ...


class Upstream(Protocol):
    """A source of commits, as one process uses it. Nothing is connected before it is first used."""

    def open(self, replica: Replica, lane: Lane = FLAGS) -> Source:
        """A lane for this replica; must be called on the event loop that will run it."""

    def lanes(self) -> LaneDirectory | None:
        """None where there is only the default lane."""

    def log_history(self, lane: Lane = FLAGS) -> LogHistory | None:
        """None where the history of the lane is not available."""

    def table_source(self) -> TableSource | None:
        """A new one for each concurrent reader; None where tables cannot be read."""

    def exposure_store(self) -> ExposureStore | None:
        """Where counts of exposures are kept; None where this source keeps none, or they are switched off."""

    def key_store(self) -> KeyStore:
        """A new one, for one authenticator."""
