"""A source in memory: the twin of PostgreSQL for tests that need no SQL.

It keeps the contract of `cdc.source` to the letter: `tests/cdc/source/contract.py` holds for it and for PostgreSQL. A
test writes with `commit`, and hands the log to a `Pipeline` as its `Upstream`:

>>> import asyncio
>>> from cdc.core.log.change import Change, Op
>>> from cdc.core.log.position import Position
>>> from cdc.core.log.row_text import RowText
>>> log = MemoryLog()
>>> log.commit(Change("public", "flags", Op.INSERT, None, RowText.of({"id": 1, "key": "a"})))
1
>>> [commit.position for commit in asyncio.run(log.commits_after(Position(0), 10))]
[1]
"""

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from operator import attrgetter

from ..auth.api_key import ApiKey
from ..auth.key_use import KeyUse, RefusalReason
from ..auth.stream_token import TokenSecret
from ..core.change_feed.cursor import Cursor
from ..core.change_feed.logged_change import ChangePage
from ..core.change_feed.page_builder import PageBuilder
from ..core.flags.flag_tables import TABLES
from ..core.freshness import Freshness
from ..core.log.change import Change, Commit, Op
from ..core.log.continuity import Applied, Break, CommitFingerprint, why_broken
from ..core.log.lane import FLAGS, Lane
from ..core.log.position import LogId, Position
from ..core.log.row_text import RowText
from ..core.subscription.resume import ResyncReason
from ..errors import SourceError
from .log import Bootstrap, LogRange, LogState
from .upstream import Replica, Source

__all__ = ["MemoryFollower", "MemoryKeyStore", "MemoryLog"]

_PAGE_BYTES = 8 * 1024 * 1024
_CATCH_UP_CHANGES = 5_000
_RETRY_S = 0.01

_position = attrgetter("position")


def _now() -> datetime:
    return datetime.now(UTC)


class MemoryLog:
    """`Log`, `LogHistory` and `Upstream` at once: the default lane, with the rows that its commits led to.

    Writing: `commit` appends a commit, `skip` leaves a hole, `prune` forgets the oldest commits, `rewrite` the newest,
    `replace_log` makes it another log, as a restored database is one. While `error` is set every question raises it.
    All of it is synchronous and must be called on the event loop of the readers; followers apply a commit in the next
    round of the loop.
    """

    def __init__(
        self,
        schemas: Sequence[str] = ("public",),
        *,
        log: str = "memory",
        database: str = "memory",
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.error: SourceError | None = None
        self.keys: list[ApiKey] = []
        self.used_keys: frozenset[int] = frozenset()
        self.refused_keys: Counter[tuple[str | None, RefusalReason]] = Counter()
        self.token_secrets = [TokenSecret(1, b"\0" * 32, 0.0)]
        self._log = LogId(log)
        self._database = database
        self._clock = clock
        self._commits: list[Commit] = []
        self._rewritten = 0
        self._drawn = Position(0)  # the last position that was given out
        self._rows: dict[str, dict[str, dict[int, RowText]]] = {schema: {t: {} for t in TABLES} for schema in schemas}
        self._written = asyncio.Event()

    # -- writing -----------------------------------------------------------------------------------------------

    def commit(self, *changes: Change, user: str = "app", application: str = "test") -> Position:
        """Commit these changes in one transaction; the position of the commit."""
        assert changes, "a commit has at least one change"
        self.skip()
        at = _text(self._clock())
        for change in changes:
            self._write(change)
        xid = 700 + self._drawn + self._rewritten * 1_000_000
        self._commits.append(Commit(self._drawn, at, xid, user, application, changes))
        self._wake()
        return self._drawn

    def skip(self) -> None:
        """Leave a hole in the positions, as a transaction does that draws one and then rolls back."""
        self._drawn = Position(self._drawn + 1)

    def prune(self, keep: int = 0) -> None:
        """Forget all commits but the newest ones; the rows stay."""
        del self._commits[: len(self._commits) - keep]

    def rewrite(self, keep: int) -> None:
        """Forget all commits but the oldest ones, and use their positions again: a restored disk. The rows stay."""
        self._commits = self._commits[:keep]
        self._drawn = self._newest
        self._rewritten += 1
        self._wake()

    def replace_log(self, log: str) -> None:
        """Become another log: the same rows, and commits that no replica of the log before may continue from."""
        self._log = LogId(log)
        self._wake()

    def _write(self, change: Change) -> None:
        table = self._rows.get(change.schema, {}).get(change.table)
        if table is None:
            return  # a watched table: its rows are not part of the bootstrap
        if change.op is Op.TRUNCATE:
            table.clear()
        elif change.after is None:
            assert change.before is not None
            table.pop(change.before.row["id"], None)
        else:
            table[change.after.row["id"]] = change.after

    def _wake(self) -> None:
        self._written.set()
        self._written = asyncio.Event()

    @property
    def written(self) -> asyncio.Event:
        """Set by the next write, from now on."""
        return self._written

    # -- the port Log ------------------------------------------------------------------------------------------

    async def state(self) -> LogState:
        self.check()
        newest = self._commits[-1] if self._commits else None
        fingerprint = None if newest is None else CommitFingerprint.of(newest)
        return LogState(self._log, self._database, self._oldest, self._newest, fingerprint)

    async def newest(self) -> Position:
        self.check()
        return self._newest

    async def bootstrap(self) -> Bootstrap:
        state = await self.state()
        rows = {
            schema: {name: list(table.values()) for name, table in tables.items()}
            for schema, tables in self._rows.items()
        }
        return Bootstrap(self._log, state.newest, state.stamp, rows)

    async def commits_after(self, position: Position, limit: int) -> list[Commit]:
        self.check()
        return _bounded(self._commits[self._index_after(position) :], limit)

    async def commits_before(self, position: Position, down_to: Position, limit: int) -> list[Commit]:
        self.check()
        return _bounded(self._commits[self._index_after(down_to) : self._index_after(position)][::-1], limit)

    async def close(self) -> None:
        """Nothing is open."""

    # -- the port LogHistory -----------------------------------------------------------------------------------

    async def reach(self) -> LogRange:
        self.check()
        oldest_at = self._commits[0].committed_at if self._commits else None
        return LogRange(self._log, self._oldest, oldest_at, self._newest, _text(self._clock()), self._database)

    async def size_bytes(self) -> int:
        self.check()
        return sum(len(repr(commit)) for commit in self._commits)

    async def position_at(self, time: datetime) -> Position | None:
        self.check()
        text = _text(time)
        later = next((commit for commit in self._commits if commit.committed_at > text), None)
        if later is not None:
            return Position(later.position - 1)
        return self._newest if self._commits else None

    async def flag_commits_before(
        self, position: Position, down_to: Position, limit: int, most: int
    ) -> list[Commit] | None:
        found: list[Commit] = []
        rows = 0
        for commit in await self.commits_before(position, down_to, limit):
            changes = tuple(c for c in commit.changes if c.table in TABLES and c.schema in self._rows)
            rows += len(changes)
            if rows > most:
                return found or None
            found.append(replace(commit, changes=changes))
        return found

    async def changes_after(
        self, after: Cursor | None, *, limit: int, scan: int, tables: Sequence[str] | None
    ) -> ChangePage:
        extent = await self.reach()
        if after is None:
            after = Cursor(Position(0 if extent.oldest is None else extent.oldest - 1), None, extent.log)
        extent.refuse(after, await self.stamp(after.position))
        builder = PageBuilder(after, limit=limit, scan=scan, tables=tables, most_bytes=_PAGE_BYTES)
        begin = after.position if after.index is None else Position(after.position - 1)
        for commit in self._commits[self._index_after(begin) :]:
            if not builder.take(commit):
                break
        return builder.page(extent.newest, extent.database)

    # -- the port Upstream -------------------------------------------------------------------------------------

    def open(self, replica: Replica, lane: Lane = FLAGS) -> Source:
        assert lane == FLAGS, "there is only the default lane"
        return Source(self, MemoryFollower(self, replica))

    def lanes(self) -> None:
        """There is only the default lane."""

    def log_history(self, lane: Lane = FLAGS) -> "MemoryLog":
        return self

    def table_source(self) -> None:
        """The tables themselves cannot be read."""

    def exposure_store(self) -> None:
        """Exposures are not kept."""

    def key_store(self) -> "MemoryKeyStore":
        return MemoryKeyStore(self)

    # -- what its parts ask --------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises `error` while it is set."""
        if self.error is not None:
            raise self.error

    async def stamp(self, position: Position) -> CommitFingerprint | None:
        self.check()
        index = self._index_after(position) - 1
        if index < 0 or self._commits[index].position != position:
            return None
        return CommitFingerprint.of(self._commits[index])

    @property
    def _oldest(self) -> Position | None:
        return self._commits[0].position if self._commits else None

    @property
    def _newest(self) -> Position:
        return self._commits[-1].position if self._commits else Position(0)

    def _index_after(self, position: Position) -> int:
        return bisect_right(self._commits, position, key=_position)


class MemoryFollower:
    """The port `Follower`: applies each commit in the round of the event loop after it was made."""

    def __init__(self, log: MemoryLog, replica: Replica) -> None:
        self._log = log
        self._replica = replica
        self._fingerprint: CommitFingerprint | None = None
        self._stopping = asyncio.Event()
        self.mode = "starting"
        self.reason = ""
        self.reconnects = 0
        self.notifications = 0

    def freshness(self) -> Freshness:
        return Freshness(self.mode == "listening", 0)

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        while not self._stopping.is_set():
            written = self._log.written  # taken before reading, so that no commit in between goes unnoticed
            try:
                await self._catch_up()
                self.mode, self.reason = "listening", ""
            except SourceError as error:
                self.mode, self.reason = "disconnected", str(error)
                self.reconnects += 1
                await asyncio.sleep(_RETRY_S)
                continue
            waits = [asyncio.create_task(event.wait()) for event in (written, self._stopping)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    async def _catch_up(self) -> None:
        while True:
            state = await self._log.state()
            catalog = self._replica.catalog
            found = await self._log.stamp(catalog.position)
            applied = Applied(catalog.log, catalog.position, self._fingerprint)
            broken = why_broken(applied, state.log, state.oldest, state.newest, found)
            if broken is not None:
                await self._load(broken)
            elif state.newest <= catalog.position:
                return
            else:
                commits = await self._log.commits_after(catalog.position, _CATCH_UP_CHANGES)
                self.notifications += len(commits)
                await self._replica.publish_in_turns(commits)
                self._fingerprint = CommitFingerprint.of(commits[-1])
            await asyncio.sleep(0)

    async def _load(self, broken: Break) -> None:
        bootstrap = await self._log.bootstrap()
        self._replica.replace(await bootstrap.load(), ResyncReason(broken))
        self._fingerprint = bootstrap.stamp


class MemoryKeyStore:
    """The port `KeyStore`, over the lists `MemoryLog.keys` and `MemoryLog.token_secrets`."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def keys_version(self) -> str:
        self._log.check()
        return repr((self._log.keys, self._log.token_secrets))

    async def keys(self) -> list[ApiKey]:
        return list(self._log.keys)

    async def stream_token_secrets(self) -> list[TokenSecret]:
        return list(self._log.token_secrets)

    async def record_use(self, use: KeyUse) -> frozenset[int]:
        self._log.check()
        new = use.used - self._log.used_keys
        self._log.used_keys |= use.used
        self._log.refused_keys.update(use.refused)
        return new

    def shutdown_socket(self) -> None:
        """Nothing waits."""

    async def close(self) -> None:
        """Nothing is open."""


def _bounded(commits: Sequence[Commit], limit: int) -> list[Commit]:
    """Whole commits until they have `limit` changes or more."""
    changes = 0
    for count, commit in enumerate(commits, 1):
        changes += len(commit.changes)
        if changes >= limit:
            return list(commits[:count])
    return list(commits)


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
