"""A column of a watched table, as far as filters of its rows need to know it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

__all__ = ["TableColumn"]


@dataclass(frozen=True, slots=True)
class TableColumn:
    """`type` is what PostgreSQL calls the type; `builtin` the built-in type that it is, or is a domain over, else None.

    `labels` are those of an enum in their order, None for other types. `is_hidden`: masked, or not included.
    `is_key`: it identifies the row, alone or with others. `has_byte_order`: its texts are sorted by their bytes, as in
    the collation "C". `is_deterministic`: only equal texts are equal.
    """

    name: str
    type: str
    builtin: str | None
    labels: tuple[str, ...] | None = None
    is_hidden: bool = False
    is_key: bool = False
    has_byte_order: bool = False
    is_deterministic: bool = True

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote, or the query `watched_lanes`; unknown members are ignored."""
        labels = raw.get("labels")
        return cls(
            raw["name"],
            raw["type"],
            raw["builtin"],
            None if labels is None else tuple(labels),
            is_hidden=raw["is_hidden"],
            is_key=raw["is_key"],
            has_byte_order=raw["has_byte_order"],
            is_deterministic=raw["is_deterministic"],
        )
