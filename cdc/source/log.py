"""The log of one lane, as every source offers it: the commits that have happened, and the state they led to.

`Log` serves the present: a node loads its catalog from it and catches up. `LogHistory` serves the past: pages of the
change feed, time travel, replay. Positions, ids and pages are the same whichever source answers. Errors are
`SourceError`; `OutOfReach` where the log does not hold what was asked about.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ..core.change_feed.cursor import Cursor
from ..core.change_feed.logged_change import ChangePage
from ..core.change_feed.snapshot_visibility import SnapshotVisibility
from ..core.flags.catalog import Catalog
from ..core.log.change import Commit
from ..core.log.continuity import CommitFingerprint, holds_all_after
from ..core.log.position import CommitHash, EventId, LogId, Position
from ..core.log.row_text import RowText
from ..errors import OutOfReach

__all__ = ["Bootstrap", "CommitFingerprint", "Log", "LogHistory", "LogRange", "LogState", "is_of_log"]


class _Hashed(Protocol):
    """An id of an event, or a cursor."""

    @property
    def position(self) -> Position: ...

    @property
    def hash(self) -> CommitHash | None: ...


def _is_same(id: _Hashed, oldest: Position | None, found: CommitFingerprint | None) -> bool:
    """Whether the commit of an id is the one that the log holds there; True also where that cannot be compared, for an
    id without a hash and for a position before the oldest commit."""
    if id.hash is None or oldest is None or id.position < oldest:
        return True
    return found is not None and found.hash == id.hash


@dataclass(frozen=True, slots=True)
class LogState:
    """Which log this is and which commits it holds; `oldest` is None while it is empty, and then `newest` is 0.

    `stamp` is the fingerprint of the newest commit. Commits are announced on `channel`. `is_complete` is False while
    a commit has happened whose place in the order is not decided yet.
    """

    log: LogId
    channel: str
    oldest: Position | None
    newest: Position
    stamp: CommitFingerprint | None
    is_complete: bool = True

    def holds_all_after(self, position: Position) -> bool:
        """Whether every commit after `position` is still in the log."""
        return holds_all_after(self.oldest, position)


@dataclass(frozen=True, slots=True)
class LogRange:
    """Which log this is and the range of commits in it; `oldest` is None while it is empty, and then `newest` is 0.

    Times are ISO-8601 in UTC with microseconds; `now` is the clock of the database, whose name is `database`. In a lane
    ordered when read, `horizon` is the oldest transaction that is still running, and `seen` the transactions beyond it
    that a snapshot taken now sees; None where there are none.
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
        """Whether every commit after `position` is still in the log."""
        return holds_all_after(self.oldest, position)

    def refuse(self, cursor: Cursor, found: CommitFingerprint | None) -> None:
        """Raises `OutOfReach` where the log cannot answer what comes after a cursor.

        `found` is the fingerprint of the commit that the log holds at the cursor's position, None where it holds none
        there, or where the cursor has no hash to compare it with.
        """
        if cursor.log != self.log:
            raise self.replaced(
                f"the cursor belongs to another log than {self.log}: the database was restored or failed over, or the"
                " table was moved to another lane; start again without a cursor"
            )
        if cursor.position > self.newest:
            raise OutOfReach(
                f"the cursor is ahead of the log, whose newest position is {self.newest}",
                code="ahead",
                oldest=self.oldest,
                oldest_at=self.oldest_at,
            )
        if not _is_same(cursor, self.oldest, found):
            raise self.replaced(
                f"the cursor belongs to a commit that is not in the log {self.log}: the database was restored to a"
                " state before it; start again without a cursor"
            )
        # The rest of a partly read commit must still be in the log.
        if not self.holds_all_after(cursor.position if cursor.index is None else Position(cursor.position - 1)):
            raise self.pruned()

    def replaced(self, text: str) -> OutOfReach:
        """The error for a question about another log, or about a past that this one no longer has."""
        return OutOfReach(text, code="log_replaced", oldest=self.oldest, oldest_at=self.oldest_at)

    def pruned(self) -> OutOfReach:
        """The error for a question about commits before the oldest one."""
        if self.oldest is None:
            return OutOfReach("the change log is empty", code="pruned")
        return OutOfReach(
            f"the change log no longer holds that: it begins at position {self.oldest}, {self.oldest_at}",
            code="pruned",
            oldest=self.oldest,
            oldest_at=self.oldest_at,
        )


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The rows of Flagent's tables in every attached schema, as of one position."""

    log: LogId
    position: Position
    stamp: CommitFingerprint | None
    schemas: Mapping[str, Mapping[str, Sequence[RowText]]]

    def catalog(self) -> Catalog:
        """A catalog with exactly these rows."""
        catalog = self._empty()
        for _ in self._load(catalog):
            pass
        return catalog

    async def load(self) -> Catalog:
        """The same, in turns: everything else on the loop goes on."""
        catalog = self._empty()
        for _ in self._load(catalog):
            await asyncio.sleep(0)
        return catalog

    def _empty(self) -> Catalog:
        return Catalog(self.log, self.position, None if self.stamp is None else self.stamp.hash)

    def _load(self, catalog: Catalog) -> Iterator[None]:
        for schema, tables in self.schemas.items():
            # Decoded one by one: together they would take a multiple of what the catalog does.
            rows = {name: (RowText(row.text).row for row in texts) for name, texts in tables.items()}
            yield from catalog.load_in_turns(schema, rows, self.position)


class _Fingerprints(Protocol):
    async def stamp(self, position: Position) -> CommitFingerprint | None:
        """The fingerprint of the commit at a position; None where the log holds none there."""


class Log(_Fingerprints, Protocol):
    """The commits that have happened, and the state that they led to."""

    async def state(self) -> LogState:
        """The extent of the log now."""

    async def newest(self) -> Position:
        """The highest position that is visible now, 0 in an empty log."""

    async def bootstrap(self) -> Bootstrap:
        """Flagent's tables and the position they are as of, from one snapshot (promise P4)."""

    async def commits_after(self, position: Position, limit: int) -> list[Commit]:
        """The next commits after `position`, oldest first: whole ones, until they have `limit` changes or more.

        A commit without changes is one whose changes have been pruned.
        """

    async def commits_before(self, position: Position, down_to: Position, limit: int) -> list[Commit]:
        """Commits at or before `position` and after `down_to`, newest first, bounded as in `commits_after`. One that is
        too large to be read at once has its first changes only, and `ends` False."""

    async def close(self) -> None: ...


class LogHistory(_Fingerprints, Protocol):
    """The log as an archive. Separate from `Log`, so that questions about the past, however large, never delay the
    present."""

    async def reach(self) -> LogRange:
        """The range of the log now."""

    async def size_bytes(self) -> int:
        """What the change log takes on disk, with its indexes and the bookkeeping beside it."""

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

        Raises `OutOfReach` where the cursor belongs to another log (`log_replaced`), is ahead of it (`ahead`) or before
        its beginning (`pruned`).
        """

    async def close(self) -> None: ...


async def is_of_log(id: EventId, state: LogState | LogRange, log: Log | LogHistory) -> bool:
    """Whether the commit of an id, which has the log's name, is the one that the log holds there: a restored disk keeps
    the name, and uses the positions again.

    `state` must be older than this question: what was pruned since then is taken for lost.
    """
    return _is_same(id, state.oldest, None if id.hash is None else await log.stamp(id.position))
