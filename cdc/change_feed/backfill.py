"""The captured tables, for those who want more of them than their changes: which there are, their rows' schema, and all
their rows.

Reading a whole table holds a snapshot, which keeps PostgreSQL from tidying up. So few are read at the same time, each
as fast as its reader takes the rows, and none for longer than the time allowed.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from ..core.change_feed.row_schema import Column, ColumnType
from ..core.errors import InvalidInput
from ..core.log.captured_table import CapturedTable
from ..core.log.position import EventId
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
    """One table being read. `sent` is how many rows have been given out."""

    def __init__(self, snapshot: TableSnapshot, tables: "Backfills") -> None:
        self.snapshot = snapshot
        self.sent = 0
        self._tables = tables

    async def rows(self) -> AsyncGenerator[Sequence[SnapshotRow], None]:
        """The rows, piece by piece, read when they are asked for. Raises `TooBusy` when the server ends."""
        clock = asyncio.get_running_loop().time
        tell_at = clock() + _PROGRESS_S
        async for rows in self.snapshot.rows():
            if self._tables.is_stopping:
                raise TooBusy("the server ends; begin again")
            self.sent += len(rows)
            self._tables.rows_read += len(rows)
            yield rows
            if clock() >= tell_at:
                tell_at = clock() + _PROGRESS_S
                logger.info("A table is being read", extra={"action": "backfill_progress", **self.progress()})

    def piece(self, rows: Sequence[SnapshotRow]) -> RowsPiece:
        """Rows that `rows` gave out, as they stand on a stream."""
        told = {"table": self.snapshot.table.name, "sent": self.sent, "estimated": self._estimated}
        return RowsPiece("rows", rows_text(rows, told))

    def end(self, id: EventId) -> RowsPiece:
        """What ends them on a stream: the id after which the table's changes go on."""
        told = {"table": self.snapshot.table.name, "position": str(id.position), "rows": self.sent}
        return RowsPiece("rows_end", encode(told), id)

    @property
    def _estimated(self) -> int:
        return max(self.snapshot.estimated_rows, self.sent)

    def progress(self) -> dict[str, object]:
        return {
            "table": self.snapshot.table.name,
            "rows": self.sent,
            "estimated_rows": self._estimated,
        }


class Backfills:
    """`open` gives a source for each that reads, None where there are no tables to read; none is read for longer than
    `timeout_s`."""

    def __init__(self, open: Callable[[], TableSource | None], timeout_s: float) -> None:
        self._open = open
        self.timeout_s = timeout_s
        self._source = open()
        self.is_stopping = False
        self.running: set[Backfill] = set()
        self.rows_read = 0

    async def captured(self, grant: Grant) -> list[CapturedTable]:
        """By schema and name; those that the grant hides are not there."""
        return [table for table in await self._tables.captured_tables() if grant.allows_captured(table)]

    async def find(self, name: str, grant: Grant) -> CapturedTable:
        """The table called `schema.table`, or `table` where there is only one; raises `InvalidInput`."""
        tables = await self.captured(grant)
        found = [table for table in tables if table.name == name] or [table for table in tables if table.table == name]
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(table.name for table in found)
            raise InvalidInput(
                f"several tables are called {name[:64]!r}: {listed}", name="table", code="several_tables"
            )
        raise InvalidInput(f"no table {name[:64]!r} is watched", name="table", code="unknown_table")

    async def sole(self, names: Collection[str], grant: Grant) -> CapturedTable:
        """The one table that these names mean; raises `InvalidInput`."""
        if len(names) > 1:
            raise InvalidInput(
                "the rows of one table at a time can be had: subscribe to each on a connection of its own",
                name="table",
                code="several_tables",
            )
        return await self.find(next(iter(names)), grant)

    async def columns(self, table: CapturedTable) -> tuple[Sequence[Column], Mapping[int, ColumnType]]:
        return await self._tables.columns(table)

    @asynccontextmanager
    async def backfill(self, table: CapturedTable) -> AsyncIterator[Backfill]:
        """All rows of a watched table as of one position; raises `TooBusy`, `InvalidInput`, `SourceError`, and
        `TimeoutError` when the time is over."""
        if table.is_of_flags:
            raise InvalidInput(
                f"only watched tables can be read as a whole; {table.name} is one of Flagent's",
                name="table",
                code="not_readable",
            )
        if len(self.running) >= MAX_BACKFILLS:
            raise TooBusy(f"{MAX_BACKFILLS} tables are being read already; come back later")
        source = self._open()
        assert source is not None, "a table was found, so there is a source"
        placeholder: Backfill | None = None
        try:
            async with asyncio.timeout(self.timeout_s), source.snapshot(table, self.timeout_s + 5) as snapshot:
                placeholder = Backfill(snapshot, self)
                self.running.add(placeholder)
                logger.info("A table is read", extra={"action": "backfill_started", **placeholder.progress()})
                yield placeholder
                logger.info("A table was read", extra={"action": "backfill_done", **placeholder.progress()})
        except TimeoutError:
            sent = {} if placeholder is None else placeholder.progress()
            logger.warning("A table took too long to read", extra={"action": "backfill_timeout", **sent})
            raise
        finally:
            if placeholder is not None:
                self.running.discard(placeholder)
            await source.close()

    def stop(self) -> None:
        """The server ends: what is being read is broken off."""
        self.is_stopping = True

    async def close(self) -> None:
        self.stop()
        if self._source is not None:
            await self._source.close()

    @property
    def _tables(self) -> TableSource:
        if self._source is None:
            raise OutOfReach("this node has no tables; ask one that reads the database", code="no_past")
        return self._source
