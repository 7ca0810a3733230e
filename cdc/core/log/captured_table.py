"""A table whose changes are in the log: one of Flagent's, or a watched one of a data team."""

from dataclasses import dataclass

from .lane import Lane
from .table_name import qualified

__all__ = ["CapturedTable"]


@dataclass(frozen=True, slots=True)
class CapturedTable:
    """A table and what of it is logged.

    `id` is a watched table's number, None for Flagent's. `included` None is every column; `masked` ones are logged as
    null. Where `key` is empty, rows are identified by all their columns.
    """

    id: int | None
    schema: str
    table: str
    key: tuple[str, ...]
    included: tuple[str, ...] | None
    masked: tuple[str, ...]
    operations: tuple[str, ...]
    is_filtered: bool
    lane: Lane

    @property
    def name(self) -> str:
        return qualified(self.schema, self.table)

    @property
    def is_of_flags(self) -> bool:
        return self.id is None
