"""The rows of one flag: its own, those of its parts, and the tags it is linked to.

A flag at rest is one short `bytes` object (`pack`), about a thirtieth of what the same rows take as dictionaries: a
server holds tens of thousands of flags, and few of them change. To change or render one, it is unpacked, which takes
microseconds. The packed form is `marshal`'s: it is never stored and never leaves the process.

>>> rows = FlagRows(7)
>>> rows.put("flags", as_values("flags", {"id": 7, "key": "a", "description": "", "enabled": True}))
>>> rows.put("segments", as_values("segments", {"id": 1, "flag_id": 7, "rank": 1, "rollout_percent": 100}))
>>> again = FlagRows.unpack(rows.pack([(3, "web")]))
>>> flag = again.render()
>>> flag["key"], [segment["id"] for segment in flag["segments"]], flag["tags"]
('a', [1], [{'id': 3, 'value': 'web'}])
"""

import marshal
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

from ..log.row_text import Row
from ..text.exact_json import JsonText
from .flag import FlagJson, attachment, flag_json, is_live, segment_json, tag_json, variant_json

__all__ = ["COLUMNS", "PARTS", "FlagRows", "Values", "as_row", "as_values", "pack"]

Values = tuple[Any, ...]
"""A row: the values of the columns in `COLUMNS`, in their order."""

COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "flags": (
            "id", "key", "description", "created_by", "updated_by", "enabled", "snapshot_id", "notes",
            "data_records_enabled", "entity_type", "environment_id", "project_id", "depends_on", "updated_at",
            "deleted_at",
        ),
        "segments": ("id", "flag_id", "description", "rank", "rollout_percent", "deleted_at"),
        "variants": ("id", "flag_id", "key", "attachment", "deleted_at"),
        "constraints": ("id", "segment_id", "property", "operator", "value", "created_at", "deleted_at"),
        "distributions": ("id", "segment_id", "variant_id", "variant_key", "percent", "deleted_at"),
        "tags": ("id", "value", "deleted_at"),
        "flags_tags": ("id", "flag_id", "tag_id"),
    }
)  # fmt: skip
"""The columns of Flagent's tables that a flag is made of; the second of a part is its parent's id."""

PARTS = ("segments", "variants", "constraints", "distributions", "flags_tags")
"""The tables whose rows belong to one flag, besides its own."""

# Without references: they would be looked for in rows that share nothing.
_VERSION = 2


def as_values(table: str, row: Row) -> Values:
    """The row of a change; a column that a version of Flagent does not have is null."""
    return tuple([row.get(column) for column in COLUMNS[table]])


def as_row(table: str, values: Values) -> Row:
    return dict(zip(COLUMNS[table], values, strict=True))


def pack(flag_id: int, own: Values | None, tags: Sequence[tuple[int, str]], parts: Sequence[Sequence[Values]]) -> bytes:
    """The packed form of `FlagRows` with these rows, the parts in the order of `PARTS`."""
    whole: Any = (flag_id, own, tags, *parts)
    try:
        return marshal.dumps(whole, _VERSION)
    except ValueError:
        return marshal.dumps(_plain(whole), _VERSION)


class FlagRows:
    """The rows of one flag while they change. `own` is the flag's row; None where only parts of it are known: with
    deferred foreign keys they may come first, and in a cascade the parent is deleted first."""

    __slots__ = ("flag_id", "own", "parts", "tags")

    def __init__(self, flag_id: int) -> None:
        self.flag_id = flag_id
        self.own: Values | None = None
        self.parts: dict[str, dict[int, Values]] = {table: {} for table in PARTS}
        self.tags: Sequence[tuple[int, str]] = ()

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        flag_id, own, tags, *parts = marshal.loads(packed)  # noqa: S302 - our own bytes
        rows = cls(flag_id)
        rows.own, rows.tags = own, tags
        rows.parts = {table: {row[0]: row for row in found} for table, found in zip(PARTS, parts, strict=True)}
        return rows

    def pack(self, tags: Sequence[tuple[int, str]]) -> bytes:
        """`tags` are the id and value of the live tags it is linked to, by id."""
        self.tags = tags
        return pack(self.flag_id, self.own, tags, [list(self.parts[table].values()) for table in PARTS])

    @property
    def is_empty(self) -> bool:
        return self.own is None and not any(self.parts.values())

    @property
    def is_live(self) -> bool:
        return self.own is not None and self.own[-1] is None

    def put(self, table: str, row: Values) -> None:
        if table == "flags":
            self.own = row
        else:
            self.parts[table][row[0]] = row

    def remove(self, table: str, row_id: int) -> None:
        if table == "flags":
            self.own = None
        else:
            self.parts[table].pop(row_id, None)

    def render(self) -> FlagJson:
        """The flag in the REST shape; it must be live."""
        assert self.own is not None, "only the parts of this flag are known"
        segments = sorted(self._live("segments"), key=_rank)
        return flag_json(
            as_row("flags", self.own),
            [
                segment_json(
                    segment, self._of_segment("constraints", segment), self._of_segment("distributions", segment)
                )
                for segment in segments
            ],
            [variant_json(row) for row in self._variants()],
            [tag_json({"id": tag_id, "value": value}) for tag_id, value in self.tags],
        )

    def attachments(self) -> dict[int, dict[str, str] | None]:
        """The attachments of the live variants by variant id, with the quotes that the REST view strips."""
        return {row["id"]: attachment(row.get("attachment")) for row in self._variants()}

    def _variants(self) -> list[Row]:
        return sorted(self._live("variants"), key=_id)

    def _live(self, table: str) -> list[Row]:
        rows = [as_row(table, values) for values in self.parts[table].values()]
        return [row for row in rows if is_live(row)]

    def _of_segment(self, table: str, segment: Row) -> list[Row]:
        segment_id = segment["id"]
        return [as_row(table, values) for values in self.parts[table].values() if values[1] == segment_id]


def _id(row: Row) -> int:
    value: int = row["id"]
    return value


def _rank(row: Row) -> tuple[int, int]:
    return row["rank"], row["id"]


def _plain(value: Any) -> Any:
    """The same without `JsonText`, which encodes as the string that it is."""
    match value:
        case JsonText():
            return str(value)
        case tuple() | list():
            return tuple(map(_plain, value)) if isinstance(value, tuple) else list(map(_plain, value))
        case dict():
            return {str(name): _plain(item) for name, item in value.items()}
        case _:
            return value
