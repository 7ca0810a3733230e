"""What readers make of the change log must be what the tables hold: in every lane, in both orders, text by text.

Each table's changes since `begin` are folded, from the change feed and from the commits of the stream: every change
must find the row that it says was there before.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import psycopg
from psycopg import sql

from cdc.core.change_feed.cursor import Cursor
from cdc.core.change_feed.logged_change import LoggedChange
from cdc.core.log.captured_table import CapturedTable
from cdc.core.log.change import Commit
from cdc.core.log.lane import FLAGS, Lane
from cdc.core.log.position import LogId, Position
from cdc.core.log.row_text import RowText
from cdc.core.text.exact_json import members
from cdc.core.text.json_text import encode
from cdc.postgres.log_history import PostgresLogHistory
from cdc.postgres.log_reader import LogReader
from cdc.postgres.table_reader import TableReader
from cdc.source.table import SnapshotRow

from .finding import Finding, shortened

__all__ = ["Fold", "Truth"]

# The settings under which the tables themselves are read: those of every image.
_CANONICAL = (
    "set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; set bytea_output = 'hex';"
    " set extra_float_digits = 1; set lc_monetary = 'C'; set search_path = pg_catalog"
)

_SCAN = 2_000


class Fold:
    """The rows of one table, from its changes; without key columns, rows are counted.

    `problems` are changes that do not fit what came before them.
    """

    def __init__(self, key: Sequence[str]) -> None:
        self._key = key
        self._rows: dict[str, str] = {}
        self._counted: Counter[str] = Counter()
        self.problems: list[str] = []

    def apply(self, op: str, before: str | None, after: str | None) -> None:
        """`before` and `after` are JSON as text."""
        if op == "truncate":
            self._rows.clear()
            self._counted.clear()
        elif (op == "insert") != (before is None) or (op == "delete") != (after is None):
            self.problems.append(f"{op} with before {shortened(before)}, after {shortened(after)}")
        elif self._key:
            self._apply_by_key(op, before, after)
        else:
            self._count(before, after)

    def rows(self) -> Counter[str]:
        return Counter(self._rows.values()) if self._key else +self._counted

    def _apply_by_key(self, op: str, before: str | None, after: str | None) -> None:
        if before is not None:
            held = self._rows.pop(self._key_of(before), None)
            if held != before:
                self.problems.append(
                    f"{op} of {shortened(before)}, where {shortened(held)} is held, to {shortened(after)}"
                )
        if after is not None:
            key = self._key_of(after)
            if key in self._rows:
                self.problems.append(f"{op} of {shortened(after)}, where {shortened(self._rows[key])} is held")
            self._rows[key] = after

    def _count(self, before: str | None, after: str | None) -> None:
        if before is not None:
            if self._counted[before] <= 0:
                self.problems.append(f"{shortened(before)} is changed or deleted, and is not held")
            self._counted[before] -= 1
        if after is not None:
            self._counted[after] += 1

    def _key_of(self, image: str) -> str:
        row = members(image)
        return "\0".join(row.get(name, "") for name in self._key)


@dataclass(frozen=True, slots=True)
class _Place:
    """A table's rows as they are: the expected end of every fold.

    Images of chosen columns are put together from the whole row, with blanks that `to_json` does not write.
    """

    table: CapturedTable
    rows: Counter[str]

    @property
    def has_blanks(self) -> bool:
        return self.table.included is not None or bool(self.table.masked)


class Truth:
    """Call `begin`, and `findings` when no transaction is running; `predicates` are those of watched tables."""

    def __init__(self, url: str, predicates: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._predicates = predicates or {}
        self._runner = asyncio.Runner()
        self._tables = TableReader(url)
        self._histories: dict[Lane, PostgresLogHistory] = {}
        self._readers: dict[Lane, LogReader] = {}
        self._captured: Sequence[CapturedTable] | None = None
        self._from: dict[Lane, tuple[LogId, Position]] = {}
        self._read: set[tuple[str, frozenset[tuple[str, int]]]] = set()
        self._session = psycopg.connect(url, autocommit=True, prepare_threshold=None, client_encoding="UTF8")
        self._session.execute(_CANONICAL)

    def close(self) -> None:
        async def close() -> None:
            await self._tables.close()
            for history in self._histories.values():
                await history.close()
            for reader in self._readers.values():
                await reader.close()

        self._runner.run(close())
        self._runner.close()
        self._session.close()

    def begin(self) -> None:
        """From now on; the tables must be empty."""
        self._wait_for_horizon()
        self._runner.run(self._begin())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def findings(self) -> list[Finding]:
        """Everything that a reader gets wrong about the changes since `begin`."""
        self._wait_for_horizon()
        return self._runner.run(self._findings())

    @property
    def captured(self) -> Sequence[CapturedTable]:
        assert self._captured is not None, "call begin() first"
        return self._captured

    def changes(self, tables: Sequence[str] | None = None) -> list[LoggedChange]:
        """What the change feed returns since `begin`, lane by lane, of all tables or of those with these names."""
        self._wait_for_horizon()

        async def read() -> list[LoggedChange]:
            return [change for lane in self._histories for change in await self._changes(lane, tables)]

        return self._runner.run(read())

    def rows(self, table: str) -> list[SnapshotRow]:
        """The rows of a watched table, as a backfill reads them; `table` without its schema."""
        (found,) = [captured for captured in self.captured if captured.table == table]

        async def read() -> list[SnapshotRow]:
            async with self._tables.snapshot(found, 30.0) as snapshot:
                return [row async for rows in snapshot.rows() for row in rows]

        return self._runner.run(read())

    async def _begin(self) -> None:
        if self._captured is None:
            self._captured = await self._tables.captured_tables()
            for lane in {FLAGS, *(table.lane for table in self._captured)}:
                self._histories[lane] = PostgresLogHistory(self._url, lane)
                self._readers[lane] = LogReader(self._url, lane)
        for lane, history in self._histories.items():
            reach = await history.reach()
            self._from[lane] = reach.log, reach.newest
        self._catalog = (await self._readers[FLAGS].bootstrap()).catalog()

    async def _findings(self) -> list[Finding]:
        found: list[Finding] = []
        folded: dict[str, Counter[str]] = {}
        places = self._places()
        for lane in self._histories:
            of_lane = [place for place in places if place.table.lane == lane]
            with _failing("change feed", found):
                changes = await self._changes(lane)
                found += _fold_feed(of_lane, changes, folded)
                found += _misplaced(lane, changes)
            with _failing("stream", found):
                commits = await self._commits(lane)
                found += _fold_commits(of_lane, commits)
                if lane == FLAGS:
                    found += await self._catalog_findings(commits)
        for place in places:
            # Rows that have been read from this table before would be read again.
            content = place.table.name, frozenset(place.rows.items())
            if not place.table.is_of_flags and content not in self._read:
                with _failing(f"rows of {place.table.name}", found):
                    wrong = await self._row_findings(place, folded.get(place.table.name))
                    found += wrong
                    if not wrong:
                        self._read.add(content)
        return found

    async def _changes(self, lane: Lane, tables: Sequence[str] | None = None) -> list[LoggedChange]:
        log, position = self._from[lane]
        cursor = Cursor(position, None, log)
        changes: list[LoggedChange] = []
        while True:
            page = await self._histories[lane].changes_after(cursor, limit=_SCAN, scan=_SCAN, tables=tables)
            changes += page.changes
            if page.is_open:
                return changes
            cursor = page.next

    async def _commits(self, lane: Lane) -> list[Commit]:
        commits: list[Commit] = []
        position = self._from[lane][1]
        while found := await self._readers[lane].commits_after(position, _SCAN):
            commits += found
            position = found[-1].position
        return commits

    async def _catalog_findings(self, commits: Iterable[Commit]) -> list[Finding]:
        for commit in commits:
            self._catalog.apply(commit)
        expected = (await self._readers[FLAGS].bootstrap()).catalog()
        if self._catalog.digest == expected.digest and self._catalog.position == expected.position:
            return []
        held = {f"{schema}: {flag}" for schema, flag in expected.flags()}
        applied = {f"{schema}: {flag}" for schema, flag in self._catalog.flags()}
        return [Finding("catalog", f"it has {shortened(applied - held)}, the tables {shortened(held - applied)}")]

    async def _row_findings(self, place: _Place, folded: Counter[str] | None) -> list[Finding]:
        table = place.table
        sent: Counter[str] = Counter()
        found = []
        async with self._tables.snapshot(table, 30.0) as snapshot:
            async for rows in snapshot.rows():
                for key, row in rows:
                    sent[row] += 1
                    if key is not None and not _is_key_of(key, row, table.key):
                        found.append(Finding("key in rows", f"{table.name}: {key} of {shortened(row)}"))
        if place.has_blanks:
            found += _differ("rows", table.name, _compact(sent), _compact(place.rows))
        else:
            found += _differ("rows", table.name, sent, place.rows)
        if folded is not None and folded != sent and not found:
            found += _differ("rows and change feed", table.name, sent, folded)
        return found

    def _places(self) -> list[_Place]:
        cursor = self._session.execute(sql.SQL("; ").join(map(self._held, self.captured)))
        places: list[_Place] = []
        for table in self.captured:
            places.append(_Place(table, Counter(str(text) for (text,) in cursor)))
            cursor.nextset()
        return places

    def _held(self, table: CapturedTable) -> sql.Composable:
        """Selects the rows that readers of a table get: its visible columns, and with a predicate its visible rows."""
        name = sql.Identifier(table.schema, table.table)
        image: sql.Composable = sql.SQL('pg_catalog.to_json("a row")')
        if table.included is not None or table.masked:
            columns = self._session.execute(sql.SQL("select * from {} limit 0").format(name)).description or ()
            shown = [
                sql.SQL("null as {0}" if column.name in table.masked else "{0}").format(sql.Identifier(column.name))
                for column in columns
                if table.included is None or column.name in (*table.included, *table.masked)
            ]
            image = sql.SQL('(select pg_catalog.to_json("shown") from (select {}) "shown")').format(
                sql.SQL(", ").join(shown)
            )
        statement = sql.SQL('select ({})::text from {} "a row"').format(image, name)
        if table.table in self._predicates:
            statement += sql.SQL(" where " + self._predicates[table.table])
        return statement

    def _wait_for_horizon(self) -> None:
        """Until every transaction has ended, so that readers of all lanes return what was committed."""
        deadline = time.monotonic() + 20
        running = "select pg_snapshot_xmin(s) <> pg_snapshot_xmax(s) from pg_current_snapshot() s"
        while self._session.execute(running).fetchone() == (True,):
            assert time.monotonic() < deadline, "a transaction does not end"


@contextmanager
def _failing(reader: str, found: list[Finding]) -> Iterator[None]:
    """A reader that fails is a finding like any other, and must not hide what the others find."""
    try:
        yield
    except Exception as error:
        found.append(Finding(f"{reader} fails", f"{type(error).__name__}: {error}"))


def _fold_feed(
    places: Collection[_Place], changes: Sequence[LoggedChange], folded: dict[str, Counter[str]]
) -> Iterator[Finding]:
    """Adds the rows of each table to `folded`."""
    for place in places:
        table = place.table
        of_table = [change for change in changes if (change.schema, change.table) == (table.schema, table.table)]
        if table.lane.is_polled:
            of_table.sort(key=lambda change: change.index)
        fold = Fold(_key_of(table))
        for change in of_table:
            fold.apply(change.op, change.before, change.after)
            image = change.after or change.before
            if image is None or not table.key or table.is_of_flags:
                continue
            if change.key is None or not _is_key_of(change.key, image, table.key):
                yield Finding("key in the change feed", f"{table.name}: {change.key} of {shortened(image)}")
        folded[table.name] = fold.rows()
        yield from _judge("change feed", place, fold, is_exact=not place.has_blanks)


def _fold_commits(places: Collection[_Place], commits: Sequence[Commit]) -> Iterator[Finding]:
    for place in places:
        table = place.table
        of_table = [
            change for commit in commits for change in commit.changes
            if (change.schema, change.table) == (table.schema, table.table)
        ]  # fmt: skip
        if table.lane.is_polled:
            of_table.sort(key=lambda change: change.sequence or 0)
        fold = Fold(_key_of(table))
        for change in of_table:
            fold.apply(change.op, _text(change.before), _text(change.after))
        yield from _judge("stream", place, fold, is_exact=False)


def _judge(reader: str, place: _Place, fold: Fold, *, is_exact: bool) -> Iterator[Finding]:
    name = f"{place.table.name} in lane {place.table.lane.name}"
    yield from (Finding(f"{reader}, order", f"{name}: {problem}") for problem in fold.problems[:3])
    if is_exact:
        yield from _differ(f"{reader}, end", name, fold.rows(), place.rows)
    else:
        yield from _differ(f"{reader}, end", name, _compact(fold.rows()), _compact(place.rows))


def _differ(kind: str, name: str, got: Counter[str], expected: Counter[str]) -> Iterator[Finding]:
    if got != expected:
        more, less = sorted((got - expected).elements()), sorted((expected - got).elements())
        yield Finding(kind, f"{name}: it ends with {shortened(more)}, the table holds {shortened(less)}")


def _misplaced(lane: Lane, changes: Sequence[LoggedChange]) -> Iterator[Finding]:
    """Changes that do not come in the order of position and index, each place once."""
    places = [(change.position, change.index) for change in changes]
    if places != sorted(set(places)):
        yield Finding("change feed, places", f"lane {lane.name}: repeated or out of order: {shortened(places)}")


def _key_of(table: CapturedTable) -> Sequence[str]:
    return ("id",) if table.is_of_flags else table.key


def _is_key_of(key: str, image: str, columns: Sequence[str]) -> bool:
    row, found = members(image), members(key)
    return found == {name: row.get(name) for name in columns}


def _text(row: RowText | None) -> str | None:
    return None if row is None else row.text


def _compact(rows: Counter[str]) -> Counter[str]:
    """The same rows, all written in one way."""
    compact: Counter[str] = Counter()
    for text, count in rows.items():
        row = members(text)
        compact["{" + ",".join(f"{encode(name)}:{value}" for name, value in row.items()) + "}"] += count
    return compact
