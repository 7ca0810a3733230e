"""The present rows of a table on their way to one subscriber, as fast as it takes them."""

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import aclosing

from ..core.change_feed.cursor import Cursor
from ..core.errors import InvalidInput
from ..core.log.position import EventId
from ..core.log.table_name import qualified
from ..core.subscription.grant import EVERYTHING
from ..core.text.json_text import encode
from ..core.wire.encoded import EncodedEvent
from ..core.wire.rows import RowsPiece, stream_message
from ..errors import OutOfReach, SourceError, TooBusy
from ..fanout.row_sender import RowsFailure
from ..fanout.subscriber import Subscriber
from .backfill import Backfill, Backfills
from .page_reader import ChangeFeed

__all__ = ["RowStream"]

logger = logging.getLogger(__name__)

_PAGE_CHANGES = 500

# Nobody tells when a transaction that has nothing to do with the stream ends.
_LOOK_S = 0.5
_SIGN_OF_LIFE_S = 5.0


class RowStream:
    """Reads rows from `tables`, and from `changes` what the transactions did that were running meanwhile."""

    def __init__(self, tables: Backfills, changes: ChangeFeed) -> None:
        self._tables = tables
        self._changes = changes

    async def send(
        self, subscriber: Subscriber, names: Collection[str], feed: Callable[[Subscriber], None]
    ) -> EventId | RowsFailure:
        """Send the rows of the one table among `names`; the id that they are as of.

        A piece is read when the one before it has been sent: `feed` sends what is in the subscriber's outbox, and
        whoever feeds it later sets `drained` when all of it has gone.
        """
        try:
            return await self._send(subscriber, names, feed)
        except Exception as error:
            return _failure(error)

    async def _send(
        self, subscriber: Subscriber, names: Collection[str], feed: Callable[[Subscriber], None]
    ) -> EventId:
        tables = self._tables
        table = await tables.sole(names, subscriber.grant or EVERYTHING)
        async with tables.backfill(table) as backfill, aclosing(backfill.rows()) as pieces:
            async for rows in pieces:
                await _send(subscriber, backfill.piece(rows), feed)
        async with asyncio.timeout(tables.timeout_s):
            cursor = await _complete(subscriber, backfill, self._changes, feed)
        id = EventId(cursor.position, None, cursor.log)
        await _send(subscriber, backfill.end(id), feed)
        return id


async def _complete(
    subscriber: Subscriber, backfill: Backfill, changes: ChangeFeed, feed: Callable[[Subscriber], None]
) -> Cursor:
    """Bring the rows to a position that an id can name, where what they have seen of the log is not its beginning.

    The transactions that were running when the rows were read are told here, without ids, until the last of them has
    ended.
    """
    table, cursor = backfill.snapshot.table, backfill.snapshot.cursor
    name = qualified(table.schema, table.table)
    grant = subscriber.grant or EVERYTHING
    clock = asyncio.get_running_loop().time
    sent_at = clock()
    while cursor.seen is not None or cursor.index is not None:
        page = await changes.page(cursor, limit=_PAGE_CHANGES, tables=(name,), grant=grant, wait_s=_LOOK_S)
        events = [EncodedEvent(change.event(page.next.log), has_id=False) for change in page.changes]
        told = [event for event in events if subscriber.selections.matches(event.event)]
        is_silent = clock() - sent_at >= _SIGN_OF_LIFE_S
        if told:
            await _send_framed(subscriber, b"".join([event.framed(subscriber.format) for event in told]), feed)
        elif is_silent and page.next.seen is not None:
            # Somebody else's transaction may take its time: proxies must not take the stream for dead.
            await _send(subscriber, backfill.piece(()), feed)
        if told or is_silent:
            sent_at = clock()
        cursor = page.next
    return cursor


async def _send(subscriber: Subscriber, piece: RowsPiece, feed: Callable[[Subscriber], None]) -> None:
    format = subscriber.format
    await _send_framed(subscriber, format.frame(stream_message(piece, format.transport)), feed)


async def _send_framed(subscriber: Subscriber, data: bytes, feed: Callable[[Subscriber], None]) -> None:
    drained = subscriber.drained
    assert drained is not None and subscriber.outbox is not None, "a subscriber that waits is behind"  # noqa: PT018
    drained.clear()
    subscriber.outbox.append(data)
    feed(subscriber)
    await drained.wait()


def _failure(error: Exception) -> RowsFailure:
    """What nobody foresaw is told to the server's log alone."""
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
        extra={"action": "backfill_broken", "reason": str(error)},
        exc_info=None if is_known else error,
    )
    return RowsFailure(text, RowsPiece("backfill_failed", encode({"code": code, "message": text})))
