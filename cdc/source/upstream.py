"""What a node needs of where its commits come from: PostgreSQL itself, or the tier that copies its log.

Nothing above this knows which of them it is. Commits, positions and log are the same on either, and so are the ids of
all events. `Log` answers questions about the past and about the whole state; `Follower` keeps a replica current;
`KeyStore` holds the credentials. An `Upstream` opens them for one process. Whatever they raise is a `SourceError`.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol, Self

from ..auth.api_key import ApiKey
from ..core.change_feed.cursor import Cursor
from ..core.change_feed.logged_change import ChangePage
from ..core.change_feed.row_schema import Column, ColumnType
from ..core.change_feed.snapshot_visibility import SnapshotVisibility
from ..core.flags.catalog import Catalog
from ..core.freshness import Freshness
from ..core.log.captured_table import CapturedTable
from ..core.log.change import Commit, Row
from ..core.log.lane import FLAGS, Lane, WatchedTable
from ..core.log.position import LogId, Position
from ..core.wire.snapshot import ResyncReason
from ..errors import OutOfReach

__all__ = [
    "Bootstrap",
    "CommitFingerprint",
    "Follower",
    "Freshness",
    "KeyStore",
    "Log",
    "LogHistory",
    "LogRange",
    "LogState",
    "Maintenance",
    "Replica",
    "SnapshotRow",
    "Source",
    "TableSnapshot",
    "TableSource",
    "Upstream",
]


@dataclass(frozen=True, slots=True)
class CommitFingerprint:
    """What tells a commit from another one that was given the same position."""

    position: Position
    committed_at: str
    xid: int

    @classmethod
    def of(cls, commit: Commit) -> Self:
        return cls(commit.position, commit.committed_at, commit.xid)


@dataclass(frozen=True, slots=True)
class LogState:
    """Which log this is and which commits it holds; `oldest` is None while it is empty, and then `newest` is 0.

    `stamp` is the newest commit's. `channel` is where commits are told of as they happen. `is_complete` is False while
    commits that have happened cannot be told yet.
    """

    log: LogId
    channel: str
    oldest: Position | None
    newest: Position
    stamp: CommitFingerprint | None
    is_complete: bool = True

    def reaches(self, position: Position) -> bool:
        """Whether every commit after `position` is still in the log.

        An empty log reaches back only to its beginning: what it held before it was emptied, nobody knows.
        """
        if self.oldest is None:
            return position == 0
        return position >= self.oldest - 1


@dataclass(frozen=True, slots=True)
class LogRange:
    """Which log this is and how far it reaches; `oldest` is None while it is empty, and then `newest` is 0.

    Times are ISO-8601 in UTC with microseconds; `now` is the clock of the database, whose name is `database`.
    `horizon` is in a lane ordered when read the oldest transaction that is still running, and `seen` what a snapshot
    taken now sees of the lane although it is not below; None where it is nothing.
    """

    log: LogId
    oldest: Position | None
    oldest_at: str | None
    newest: Position
    now: str
    database: str
    horizon: int | None = None
    seen: SnapshotVisibility | None = None

    def holds_all_after(self, position: Position) -> bool:
        """Whether every commit after `position` is still there; an empty log reaches back only to its beginning."""
        return position == 0 if self.oldest is None else position >= self.oldest - 1

    def refuse(self, cursor: Cursor) -> None:
        """Raises `OutOfReach` where nobody can tell what comes after a cursor."""
        if cursor.log != self.log:
            raise OutOfReach(
                f"the cursor is of another log than {self.log}: the database was restored or failed over, or the table"
                " belongs to another stream now; begin anew",
                code="log_replaced",
                oldest=self.oldest,
                oldest_at=self.oldest_at,
            )
        if cursor.position > self.newest:
            raise OutOfReach(
                f"the cursor is ahead of the log, whose newest position is {self.newest}",
                code="ahead",
                oldest=self.oldest,
                oldest_at=self.oldest_at,
            )
        # Of a commit that is partly read the rest must still be there.
        if not self.holds_all_after(cursor.position if cursor.index is None else Position(cursor.position - 1)):
            raise self.pruned()

    def pruned(self) -> OutOfReach:
        """The error for somebody who asks about what came before."""
        if self.oldest is None:
            return OutOfReach("the log is empty: it holds nothing of the past", code="pruned")
        return OutOfReach(
            f"the log no longer reaches back so far; it begins at position {self.oldest}, {self.oldest_at}",
            code="pruned",
            oldest=self.oldest,
            oldest_at=self.oldest_at,
        )


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The watched tables of every attached schema, and the position that they are as of."""

    log: LogId
    position: Position
    stamp: CommitFingerprint | None
    schemas: Mapping[str, Mapping[str, Sequence[Row]]]

    def catalog(self) -> Catalog:
        """A catalog that holds just this."""
        catalog = Catalog(self.log, self.position)
        for schema, tables in self.schemas.items():
            catalog.load(schema, tables, self.position)
        return catalog


class Log(Protocol):
    """The commits that have happened, and the state that they led to."""

    async def state(self) -> LogState: ...

    async def newest(self) -> Position:
        """The highest position that is visible now, 0 in an empty log."""

    async def bootstrap(self) -> Bootstrap: ...

    async def commits_after(self, position: Position, limit: int) -> list[Commit]:
        """The next commits after `position`, oldest first: whole ones, until they have `limit` changes or more.

        A commit without changes is one whose changes have been pruned.
        """

    async def commits_before(self, position: Position, down_to: Position, limit: int) -> list[Commit]:
        """Commits at or before `position` and after `down_to`, newest first, bounded as in `commits_after`. One that is
        too large to be read at once has its first changes alone, and does not end."""

    async def close(self) -> None: ...


class LogHistory(Protocol):
    """The log as something to look things up in, apart from `Log`: whoever asks about the past, however much, must not
    hold up the present."""

    async def reach(self) -> LogRange: ...

    async def size_bytes(self) -> int:
        """Everything of ours on disk: the log, its indexes, and the little else that there is."""

    async def position_at(self, time: datetime) -> Position | None:
        """The last position up to which every commit was made at or before `time`; None in an empty log."""

    async def flag_commits_before(
        self, position: Position, down_to: Position, limit: int, most: int
    ) -> list[Commit] | None:
        """Commits at or before `position` and after `down_to`, newest first, with their changes of Flagent's tables.

        At most `limit` changes of any table, but at least one whole commit. None where that commit alone has more
        than `most` changes of Flagent's tables. Raises `OutOfReach` where a commit's changes are no longer there.
        """

    async def changes_after(
        self, after: Cursor | None, *, limit: int, scan: int, tables: Sequence[str] | None
    ) -> ChangePage:
        """The next changes, from the oldest on where `after` is None: at most `limit`, found among at most `scan`, and
        bounded in bytes, though never fewer than one. `tables` are names with or without their schema; None is all.

        Raises `OutOfReach` where the cursor is of another log (`log_replaced`), ahead of it (`ahead`) or before its
        beginning (`pruned`).
        """

    async def close(self) -> None: ...


class SnapshotRow(NamedTuple):
    """JSON objects as text; `key` is None for a table without one."""

    key: str | None
    row: str


class TableSnapshot(Protocol):
    """All rows of a table as of `cursor`, read at `committed_at` (ISO-8601 in UTC)."""

    @property
    def table(self) -> CapturedTable: ...

    @property
    def cursor(self) -> Cursor: ...

    @property
    def committed_at(self) -> str: ...

    @property
    def database(self) -> str: ...

    @property
    def estimated_rows(self) -> int: ...

    def rows(self) -> AsyncIterator[Sequence[SnapshotRow]]:
        """The rows in pieces of about a quarter of a mebibyte, read only as they are asked for; once."""


class TableSource(Protocol):
    """The captured tables themselves."""

    async def captured_tables(self) -> Sequence[CapturedTable]: ...

    async def columns(self, table: CapturedTable) -> tuple[Sequence[Column], Mapping[int, ColumnType]]:
        """The columns, and every type that they are made of by its number."""

    def snapshot(self, table: CapturedTable, timeout_s: float) -> AbstractAsyncContextManager[TableSnapshot]:
        """A watched table as of one position, until the end of the block, or of `timeout_s`."""

    async def close(self) -> None: ...


class Replica(Protocol):
    """What a live feed keeps current; both methods return before anything else can happen on the loop."""

    @property
    def catalog(self) -> Catalog: ...

    def publish(self, commits: Sequence[Commit]) -> None:
        """Take in the next commits, in order."""

    def replace(self, catalog: Catalog, reason: ResyncReason) -> None:
        """Go on from another state, for this reason."""


class Follower(Protocol):
    """Brings each commit to a replica as it happens. `mode` and `reason` say, for people, how that goes."""

    mode: str
    reason: str
    reconnects: int
    notifications: int

    def freshness(self) -> Freshness: ...

    async def run(self) -> None:
        """Runs until cancelled or stopped; whatever breaks is tried again."""

    def stop(self) -> None:
        """Make `run` return soon, whatever it waits for."""


class Maintenance(Protocol):
    """What must be done to the source now and then, by whoever reads it."""

    async def run(self) -> None:
        """Runs until cancelled or stopped; whatever breaks is tried again."""

    def stop(self) -> None:
        """Make `run` return soon, whatever it waits for."""


@dataclass(frozen=True, slots=True)
class Source:
    log: Log
    listener: Follower
    maintenance: Maintenance | None = None


class KeyStore(Protocol):
    """The API keys, and what stream tokens are signed with."""

    async def keys_version(self) -> str:
        """A text that is another one after any change of the API keys."""

    async def keys(self) -> list[ApiKey]:
        """Every API key; one whose scopes this version cannot read allows nothing."""

    async def stream_token_secret(self) -> bytes: ...

    def sever(self) -> None:
        """Make whatever waits for an answer fail now."""

    async def close(self) -> None: ...


class LaneDirectory(Protocol):
    """Which tables are watched, and in which streams."""

    async def watched_lanes(self) -> Sequence[WatchedTable]: ...

    async def close(self) -> None: ...


class Upstream(Protocol):
    """Opens what one process needs; nothing is connected before it is first used."""

    def open(self, replica: Replica, lane: Lane = FLAGS) -> Source: ...

    def lanes(self) -> LaneDirectory | None:
        """None where there is only the stream of the flags."""

    def log_history(self, lane: Lane = FLAGS) -> LogHistory | None:
        """None where the past cannot be looked up."""

    def table_source(self) -> TableSource | None:
        """One for each that reads at the same time; None where tables cannot be read."""

    def key_store(self) -> KeyStore: ...
