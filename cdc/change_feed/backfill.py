"""The captured tables beyond their changes: which there are, the schema of their rows, and all their rows.

Reading a whole table holds a snapshot, which keeps VACUUM from removing dead rows. So only a few are read at the same
time, each as fast as its reader takes the rows, and none for longer than the time allowed.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from ..core.change_feed.row_schema import Column, ColumnType
from ..core.errors import InvalidInput
from ..core.log.captured_table import CapturedTable
from ..core.log.position import EventId
from ..core.log.row_text import RowText
from ..core.log.table_name import quoted
from ..core.row_filter.projection import only_columns
from ..core.row_filter.row_filter import RowFilter
from ..core.subscription.grant import Grant
from ..core.text.json_text import encode
from ..core.wire.rows import RowsPiece, rows_text
from ..errors import OutOfReach, TooBusy
from ..source.table import SnapshotRow, TableSnapshot, TableSource

__all__ = ["Backfill", "Backfills"]

logger = logging.getLogger(__name__)

MAX_BACKFILLS = 4

_PROGRESS_S = 10.0


class Backfill:
    """One table being read. `sent` is how many rows `rows` has yielded."""

    def __init__(self, snapshot: TableSnapshot, tables: "Backfills", filter: RowFilter | None = None) -> None:
        self.snapshot = snapshot
        self.sent = 0
        self._filter = filter
        self._tables = tables

    async def rows(self) -> AsyncGenerator[Sequence[SnapshotRow], None]:
        """The rows in pieces, read only as needed; those that the filter matches, as it shows them.

        PostgreSQL has left out all others; what it may not have seen as a change will be seen is left out here.

        Raises `TooBusy` when the server shuts down.
        """
        clock = asyncio.get_running_loop().time
        log_at = clock() + _PROGRESS_S
        async for rows in self.snapshot.rows():
            if self._tables.is_stopping:
                raise TooBusy("the server is shutting down; start the backfill again")
            self._tables.rows_read += len(rows)
            if (filter := self._filter) is not None:
                rows = [shown for row in rows if (shown := _shown(row, filter)) is not None]
            self.sent += len(rows)
            if rows or filter is None:
                yield rows
            if clock() >= log_at:
                log_at = clock() + _PROGRESS_S
                logger.info("Backfill in progress", extra={"action": "backfill_progress", **self.progress()})

    def piece(self, rows: Sequence[SnapshotRow]) -> RowsPiece:
        """A piece that `rows` has yielded, as a stream carries it."""
        fields = {"table": self.snapshot.table.name, "sent": self.sent, "estimated": self._estimated}
        return RowsPiece("rows", rows_text(rows, fields))

    def end(self, id: EventId) -> RowsPiece:
        """The message that ends a backfill on a stream: the id after which the table's changes continue."""
        fields = {"table": self.snapshot.table.name, "position": str(id.position), "rows": self.sent}
        return RowsPiece("rows_end", encode(fields), id)

    @property
    def _estimated(self) -> int:
        # How many rows there are besides is not for everybody.
        return self.sent if self._filter is not None else max(self.snapshot.estimated_rows, self.sent)

    def progress(self) -> dict[str, object]:
        return {
            "table": self.snapshot.table.name,
            "rows": self.sent,
            "estimated_rows": self._estimated,
        }


def _shown(row: SnapshotRow, filter: RowFilter) -> SnapshotRow | None:
    if not filter.matches(RowText(row.row)):
        return None
    return row if filter.columns is None else SnapshotRow(row.key, only_columns(row.row, filter.columns))


def _granted(table: CapturedTable, grant: Grant) -> CapturedTable:
    """A table with no more columns than the rules of a grant allow, and those of its key."""
    for rule in grant.rules_of(table.schema, table.name):
        if rule.columns is not None:
            allowed = {*rule.columns, *table.key}
            # Whether there are others is not for its holder: neither those that are included nor masked ones.
            included = rule.columns if table.included is None else table.included
            keys = tuple(name for name in table.key if name not in included)
            table = replace(
                table,
                included=tuple(name for name in (*keys, *included) if name in allowed),
                masked=tuple(name for name in table.masked if name in allowed),
            )
    return table


class Backfills:
    """`open` makes a source for each reader, or returns None where tables cannot be read; no backfill takes longer than
    `timeout_s`."""

    def __init__(self, open: Callable[[], TableSource | None], timeout_s: float) -> None:
        self._open = open
        self.timeout_s = timeout_s
        self._source = open()
        self.is_stopping = False
        self.running: set[Backfill] = set()
        # Those that are still being opened count too: opening one waits for the database.
        self._admitted = 0
        self.rows_read = 0

    async def captured(self, grant: Grant) -> list[CapturedTable]:
        """The captured tables that the grant shows, by schema and name, with the columns that it shows."""
        tables = await self._tables.captured_tables()
        return [_granted(table, grant) for table in tables if grant.allows_captured(table)]

    async def find(self, name: str, grant: Grant) -> CapturedTable:
        """The table called `schema.table`, or `table` where there is only one; raises `InvalidInput`."""
        tables = await self.captured(grant)
        found = [table for table in tables if table.name == name] or [
            table for table in tables if quoted(table.table) == name
        ]
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(table.name for table in found)
            raise InvalidInput(f"the name {name[:64]!r} is ambiguous: {listed}", name="table", code="several_tables")
        raise InvalidInput(f"no table {name[:64]!r} is watched", name="table", code="unknown_table")

    async def sole(self, names: Collection[str], grant: Grant) -> CapturedTable:
        """The one table that these names mean; raises `InvalidInput`."""
        if len(names) > 1:
            raise InvalidInput(
                "a backfill reads one table at a time: subscribe to each on a separate connection",
                name="table",
                code="several_tables",
            )
        return await self.find(next(iter(names)), grant)

    async def columns(self, table: CapturedTable) -> tuple[Sequence[Column], Mapping[int, ColumnType]]:
        return await self._tables.columns(table)

    @asynccontextmanager
    async def backfill(self, table: CapturedTable, filter: RowFilter | None = None) -> AsyncIterator[Backfill]:
        """The rows of a watched table as of one position, all or those of a filter.

        Raises `TooBusy`, `InvalidInput`, `SourceError`, and `TimeoutError` when the time is over.
        """
        if table.is_of_flags:
            raise InvalidInput(
                f"a backfill reads watched tables only; {table.name} is one of Flagent's",
                name="table",
                code="not_readable",
            )
        if self._admitted >= MAX_BACKFILLS:
            raise TooBusy(f"{MAX_BACKFILLS} tables are being read already; try again later")
        source = self._open()
        assert source is not None, "a table was found, so there is a source"
        placeholder: Backfill | None = None
        self._admitted += 1
        try:
            condition = None if filter is None else filter.sql
            async with (
                asyncio.timeout(self.timeout_s),
                source.snapshot(table, self.timeout_s + 5, condition) as snapshot,
            ):
                placeholder = Backfill(snapshot, self, filter)
                self.running.add(placeholder)
                logger.info("Backfill started", extra={"action": "backfill_started", **placeholder.progress()})
                yield placeholder
                logger.info("Backfill finished", extra={"action": "backfill_finished", **placeholder.progress()})
        except TimeoutError:
            sent = {} if placeholder is None else placeholder.progress()
            logger.warning("Backfill took too long", extra={"action": "backfill_timeout", **sent})
            raise
        finally:
            if placeholder is not None:
                self.running.discard(placeholder)
            try:
                await source.close()
            finally:
                self._admitted -= 1

    def stop(self) -> None:
        """The server is shutting down: abort every backfill."""
        self.is_stopping = True

    async def close(self) -> None:
        self.stop()
        if self._source is not None:
            await self._source.close()

    @property
    def _tables(self) -> TableSource:
        if self._source is None:
            raise OutOfReach("tables cannot be read on this node; ask one that reads the database", code="no_past")
        return self._source
