"""Streams the present rows of a table to one subscriber, as fast as it reads them."""

import asyncio
import logging
from collections.abc import Collection
from contextlib import aclosing

from ..core.change_feed.cursor import Cursor
from ..core.errors import InvalidInput
from ..core.log.position import EventId
from ..core.log.table_name import qualified
from ..core.subscription.grant import EVERYTHING
from ..core.text.json_text import encode
from ..core.wire.encoded import EncodedEvent
from ..core.wire.format import Format
from ..core.wire.rows import RowsPiece, stream_message
from ..errors import OutOfReach, SourceError, TooBusy
from ..fanout.row_sender import RowsFailure, WriteRows
from ..fanout.subscriber import Subscriber
from .backfill import Backfill, Backfills
from .page_reader import ChangeFeed

__all__ = ["RowStream"]

logger = logging.getLogger(__name__)

_PAGE_CHANGES = 500

# The end of a transaction that has nothing to do with the lane is not notified.
_LOOK_S = 0.5
_SIGN_OF_LIFE_S = 5.0


class RowStream:
    """Reads rows from `tables`, and from `changes` what the transactions did that were running meanwhile."""

    def __init__(self, tables: Backfills, changes: ChangeFeed) -> None:
        self._tables = tables
        self._changes = changes

    async def send(self, subscriber: Subscriber, names: Collection[str], write: WriteRows) -> EventId | RowsFailure:
        """Send the rows of the one table among `names`; returns the id that they are as of.

        A piece is read when `write` has sent the one before it.
        """
        try:
            return await self._send(subscriber, names, write)
        except Exception as error:
            return _failure(error)

    async def _send(self, subscriber: Subscriber, names: Collection[str], write: WriteRows) -> EventId:
        tables, format = self._tables, subscriber.format
        grant = subscriber.grant or EVERYTHING
        table = await tables.sole(names, grant)
        filter = subscriber.selections.row_filter(table.name)
        if filter is None and grant.rules_of(table.schema, table.name):
            raise InvalidInput(f"no table {table.name} is watched", name="table", code="unknown_table")
        async with tables.backfill(table, filter) as backfill, aclosing(backfill.rows()) as pieces:
            async for rows in pieces:
                await write(_framed(format, backfill.piece(rows)))
        async with asyncio.timeout(tables.timeout_s):
            cursor = await _complete(subscriber, backfill, self._changes, write)
        id = EventId(cursor.position, None, cursor.log, cursor.hash)
        await write(_framed(format, backfill.end(id)))
        return id


async def _complete(subscriber: Subscriber, backfill: Backfill, changes: ChangeFeed, write: WriteRows) -> Cursor:
    """Bring the rows to a position that an id can name, where the snapshot that they were read in has seen commits out
    of order.

    Transactions that were running when the rows were read are delivered here, without ids, until the last of them has
    ended.
    """
    table, cursor, format = backfill.snapshot.table, backfill.snapshot.cursor, subscriber.format
    name = qualified(table.schema, table.table)
    clock = asyncio.get_running_loop().time
    sent_at = clock()
    while cursor.seen is not None or cursor.index is not None:
        # Unfiltered: the subscriber's selection, which is within its grant, decides how each change is seen.
        page = await changes.page(cursor, limit=_PAGE_CHANGES, tables=(name,), grant=EVERYTHING, wait_s=_LOOK_S)
        events = [EncodedEvent(change.event(page.next.log), has_id=False) for change in page.changes]
        views = [(event, subscriber.selections.view(event.event)) for event in events]
        matching = [event.seen_as(view) for event, view in views if view is not None]
        is_silent = clock() - sent_at >= _SIGN_OF_LIFE_S
        if matching:
            await write(b"".join([event.framed(format) for event in matching]))
        elif is_silent and page.next.seen is not None:
            # An unrelated transaction may take its time: proxies must not take the stream for dead.
            await write(_framed(format, backfill.piece(())))
        if matching or is_silent:
            sent_at = clock()
        cursor = page.next
    return cursor


def _framed(format: Format, piece: RowsPiece) -> bytes:
    return format.frame(stream_message(piece, format.transport))


def _failure(error: Exception) -> RowsFailure:
    """The client is given known causes; an unexpected error only reaches the server's log."""
    match error:
        case TimeoutError():
            code, text = "too_slow", "the time for the table's rows is over"
        case InvalidInput() | OutOfReach():
            code, text = error.code, str(error)
        case TooBusy():
            code, text = "too_busy", str(error)
        case SourceError():
            code, text = "database_unavailable", "the database does not answer now"
        case _:
            code, text = "internal_error", "an internal error, see the server's log"
    is_known = code != "internal_error"
    logger.log(
        logging.WARNING if is_known else logging.ERROR,
        "A table could not be sent",
        extra={"action": "backfill_aborted", "reason": str(error)},
        exc_info=None if is_known else error,
    )
    return RowsFailure(text, RowsPiece("backfill_failed", encode({"code": code, "message": text})))
