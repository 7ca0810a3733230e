"""How the present rows of a watched table reach a subscriber that asked for them."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from ..core.log.position import EventId
from ..core.wire.rows import RowsPiece
from .subscriber import Subscriber

__all__ = ["RowSender", "RowsFailure", "WriteRows"]

WriteRows = Callable[[bytes], Awaitable[None]]
"""Sends a framed message; returns when the subscriber's transport has taken all of it."""


@dataclass(frozen=True, slots=True)
class RowsFailure:
    """Why a table's rows are not sent: for people, and as the last message of the stream."""

    text: str
    message: RowsPiece


RowSender = Callable[[Subscriber, Collection[str], WriteRows], Awaitable[EventId | RowsFailure]]
"""Sends a subscriber the rows of the one table among some names; returns the id that the rows are as of, or why they
were not sent."""
