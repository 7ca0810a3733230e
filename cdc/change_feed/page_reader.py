"""The change feed: pages of the log, and waiting for the next ones.

Readers at the end of the log all ask the same question at the same time: one query serves them. A reader that waits
costs no query; its lane wakes it, and then the log is read for the rows.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..core.change_feed.cursor import Cursor
from ..core.change_feed.logged_change import ChangePage, LoggedChange
from ..core.flags.flag_tables import TABLES
from ..core.log.position import NO_LOG, LogId, Position
from ..core.log.table_name import qualified
from ..core.row_filter.row_filter import RowFilter
from ..core.subscription.grant import Grant
from ..errors import OutOfReach, TooBusy
from ..source.log import LogHistory
from ..source.upstream import Present

__all__ = ["ChangeFeed"]

# Changes that one query for some tables looks at.
_SCAN_CHANGES = 5_000

_MAX_WAITING = 1_000

_MANY_CHANGES = 100
_MANY_CHARACTERS = 256 * 1024

NO_FILTERS: Mapping[str, RowFilter] = {}

_Question = tuple[Cursor | None, int, tuple[str, ...] | None]


def _seen(changes: Sequence[LoggedChange], grant: Grant, filters: Mapping[str, RowFilter]) -> tuple[LoggedChange, ...]:
    """The changes as their filters make them be seen. A table that must have one, and has none, is not seen at all."""
    seen: list[LoggedChange] = []
    for change in changes:
        filter = filters.get(qualified(change.schema, change.table))
        if filter is not None:
            view = change.seen_by(filter)
            if view is not None:
                seen.append(view)
        elif not grant.rules_of(change.schema, qualified(change.schema, change.table)):
            seen.append(change)
    return tuple(seen)


class ChangeFeed:
    """The change feed of one lane. `log` is None where the history is not available."""

    def __init__(self, log: LogHistory | None, present: Present) -> None:
        self._log = log
        self._present = present
        self._asked: dict[_Question, asyncio.Task[ChangePage]] = {}
        self._stopping = asyncio.Event()
        self._waiting = 0

    async def page(
        self,
        after: Cursor | None,
        *,
        limit: int,
        tables: Sequence[str] = (),
        grant: Grant,
        filters: Mapping[str, RowFilter] = NO_FILTERS,
        wait_s: float = 0.0,
    ) -> ChangePage:
        """The next changes that `grant` shows, of these tables or of all; an empty page where there are none within
        `wait_s`, or where what a snapshot has seen has come to its end. Its `next` moves on also past what was not for
        this reader.

        Raises `OutOfReach`, `TooBusy` and `SourceError`.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait_s
        chosen = tuple(sorted(set(tables))) or None
        while True:
            page = await self._shown(await self._look((after, limit, chosen)), grant, filters)
            rest_s = deadline - clock()
            has_joined = after is not None and after.seen is not None and page.next.seen is None
            if page.changes or has_joined or rest_s <= 0 or self._stopping.is_set():
                return page
            after = page.next
            if page.is_open:
                await self.wait(Position(page.newest + 1), rest_s)

    def stop_waiting(self) -> None:
        """The server is shutting down: answer every reader with what there is."""
        self._stopping.set()

    async def close(self) -> None:
        self.stop_waiting()
        for task in list(self._asked.values()):
            task.cancel()
        if self._log is not None:
            await self._log.close()

    async def wait(self, position: Position, timeout_s: float) -> None:
        """Wait until the lane has reached `position`, for at most `timeout_s`, or until the server shuts down.

        Raises `TooBusy` when a thousand wait already.
        """
        if self._waiting >= _MAX_WAITING:
            raise TooBusy(f"{_MAX_WAITING} readers are waiting for changes already; ask without waitMs")
        self._waiting += 1
        reached = asyncio.ensure_future(self._present.reached(position, timeout_s))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((reached, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting -= 1
            reached.cancel()
            stopping.cancel()

    async def _look(self, question: _Question) -> ChangePage:
        task = self._asked.get(question)
        if task is None:
            task = self._asked[question] = asyncio.create_task(self._ask(question))
        # Shielded: the first reader may disconnect while others wait for the same answer.
        return await asyncio.shield(task)

    async def _ask(self, question: _Question) -> ChangePage:
        # A query that is not sent yet serves all readers that come until it is: an answer is never older than its
        # question.
        await asyncio.sleep(0)
        del self._asked[question]
        if self._log is None:
            raise OutOfReach(
                "the history of this lane is not available on this node; ask one that reads the database",
                code="no_past",
            )
        after, limit, tables = question
        scan = limit if tables is None else max(limit, _SCAN_CHANGES)
        try:
            page = await self._log.changes_after(after, limit=limit, scan=scan, tables=tables)
        except OutOfReach as error:
            if error.code == "log_replaced":
                self._refuse_unless_followed((await self._log.reach()).log)
            raise
        self._refuse_unless_followed(page.next.log)
        return page

    def _refuse_unless_followed(self, log: LogId) -> None:
        """Raises `TooBusy` where another log answers than the lane follows: the lane is about to load it, or refuses an
        old primary, whose answers must not be delivered."""
        if self._present.catalog.log not in (NO_LOG, log):
            raise TooBusy(f"the database answers with the log {log}, which this server does not follow; try again soon")

    async def _shown(self, page: ChangePage, grant: Grant, filters: Mapping[str, RowFilter]) -> ChangePage:
        if not grant.is_restricted and not filters:
            return page
        shown = [change for change in page.changes if self._shows(grant, change)]
        if not filters and not grant.rows:
            return replace(page, changes=tuple(shown))
        # Another thread decodes the rows of many changes, so that they do not delay the streams.
        many = len(shown) > _MANY_CHANGES or page.characters > _MANY_CHARACTERS
        seen = await asyncio.to_thread(_seen, shown, grant, filters) if many else _seen(shown, grant, filters)
        return replace(page, changes=seen)

    def _shows(self, grant: Grant, change: LoggedChange) -> bool:
        if change.table in TABLES and change.schema not in self._present.catalog.schemas:
            # Rows of a schema that was attached once, or a table with the name of one of Flagent's: shown only to a
            # grant that names it in full.
            return grant.allows_row(change.schema, change.table, is_of_flags=True) or (
                grant.allows_schema(change.schema) and qualified(change.schema, change.table) in (grant.tables or ())
            )
        return grant.allows_row(change.schema, change.table, is_of_flags=change.table in TABLES)
