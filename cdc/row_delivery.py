"""The present rows of a table on their way to one subscriber, as fast as it takes them."""

import logging
from collections.abc import Callable, Collection
from contextlib import aclosing

from .core.access import EVERYTHING
from .core.errors import InvalidInput
from .core.json_text import encode
from .core.position import EventId
from .core.wire.rows import RowsPiece, stream_message
from .errors import OutOfReach, SourceError, TooBusy
from .subscriber import Subscriber
from .tables import Tables

__all__ = ["rows_failure", "send_rows"]

logger = logging.getLogger(__name__)


async def send_rows(
    subscriber: Subscriber, names: Collection[str], tables: Tables, feed: Callable[[Subscriber], None]
) -> EventId:
    """Send the rows of the one table among `names`; the id that they are as of.

    A piece is read when the one before it has been sent: `feed` sends what is in the subscriber's outbox, and whoever
    feeds it later sets `drained` when all of it has gone.
    """
    table = await tables.sole(names, subscriber.grant or EVERYTHING)
    async with tables.backfill(table) as backfill, aclosing(backfill.rows()) as pieces:
        async for rows in pieces:
            await _send(subscriber, backfill.piece(rows), feed)
    end = backfill.end()
    assert end.id is not None, "the end of the rows says what they are as of"
    await _send(subscriber, end, feed)
    return end.id


async def _send(subscriber: Subscriber, piece: RowsPiece, feed: Callable[[Subscriber], None]) -> None:
    drained, format = subscriber.drained, subscriber.format
    assert drained is not None and subscriber.outbox is not None, "a subscriber that waits is behind"  # noqa: PT018
    drained.clear()
    subscriber.outbox.append(format.frame(stream_message(piece, format.transport)))
    feed(subscriber)
    await drained.wait()


def rows_failure(error: Exception) -> tuple[str, RowsPiece]:
    """Why the rows do not come, for people and as a message; what nobody foresaw is told to the server's log alone."""
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
    return text, RowsPiece("backfill_failed", encode({"code": code, "message": text}))
