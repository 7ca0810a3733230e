"""What a client asks of the rows of a table: which rows, and which of their columns."""

from dataclasses import dataclass
from typing import Any

from .expression import Constant

__all__ = ["RowQuery"]


@dataclass(frozen=True, slots=True)
class RowQuery:
    """`where` is the text of a condition, None for all rows; `parameters` are the values of `$1`, `$2`, …

    `columns` None are all columns; else these, and those of the key.
    """

    where: str | None = None
    parameters: tuple[Constant, ...] = ()
    columns: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """What was asked, for the answer to a subscription."""
        found: dict[str, Any] = {}
        if self.where is not None:
            found["where"] = self.where
            found["params"] = [parameter.text for parameter in self.parameters]
        if self.columns is not None:
            found["columns"] = list(self.columns)
        return found
