"""A lane: an independent commit order with its own event ids.

The flags have the default lane; a table with heavy writes may belong to another one. Commits of different lanes have no
order between each other, so a subscription belongs to exactly one lane.
"""

from dataclasses import dataclass
from typing import Literal

from .table_column import TableColumn
from .table_name import qualified

__all__ = ["FLAGS", "Lane", "WatchedTable"]


@dataclass(frozen=True, slots=True)
class Lane:
    """`id` is its number in the database; `order` is `commit`, ordered at commit, or `read`, ordered when read."""

    name: str
    id: int
    order: str

    @property
    def is_polled(self) -> bool:
        """Whether its commits send no notifications."""
        return self.order == "read"

    @property
    def log_kind(self) -> Literal["flags", "commit", "read"]:
        """The kind of its log, as `cdc.database.queries` names it."""
        if self.id == 0:
            return "flags"
        return "read" if self.is_polled else "commit"


FLAGS = Lane("flags", 0, "commit")


@dataclass(frozen=True, slots=True)
class WatchedTable:
    """`columns` are those of the table now, in their order, the hidden ones too."""

    schema: str
    table: str
    lane: Lane
    columns: tuple[TableColumn, ...] = ()

    @property
    def name(self) -> str:
        return qualified(self.schema, self.table)
