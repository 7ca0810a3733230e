"""How the present rows of a watched table reach a subscriber that asked for them."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from ..core.log.position import EventId
from ..core.wire.rows import RowsPiece
from .subscriber import Subscriber

__all__ = ["RowSender", "RowsFailure"]

RowSender = Callable[[Subscriber, Collection[str], Callable[[Subscriber], None]], Awaitable["EventId | RowsFailure"]]
"""Sends a subscriber the rows of the one table among some names, by a function that feeds it; the id that they are as
of, or why they do not come."""


@dataclass(frozen=True, slots=True)
class RowsFailure:
    """Why a table's rows do not come: for people, and as the message that ends them."""

    text: str
    message: RowsPiece
