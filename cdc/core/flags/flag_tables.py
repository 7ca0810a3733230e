"""A replica of Flagent's seven tables in one schema, and the flags rendered from it.

Rows are stored unchanged and indexed by their parent. A row whose parent is unknown is stored too: with deferred
foreign keys the child may come first, and in a cascade the parent is deleted first.
"""

from collections.abc import Hashable, Iterable, Mapping
from types import MappingProxyType
from typing import Self

from ..log.change import Change, Op
from ..log.row_text import Row, RowText
from .flag import FlagJson, Json, attachment, flag_json, is_live, segment_json, tag_json, variant_json

__all__ = ["TABLES", "FlagTables"]

TABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "flags": ("key",),
        "segments": ("flag_id",),
        "variants": ("flag_id",),
        "constraints": ("segment_id",),
        "distributions": ("segment_id",),
        "tags": (),
        "flags_tags": ("flag_id", "tag_id"),
    }
)

"""Flagent's tables, each with the columns by which its rows are indexed; the only list of them besides the SQL."""

_NOTHING: Mapping[int, Row] = MappingProxyType({})


class _Index:
    """Rows by the value of one column.

    Copy-on-write: after a `copy()` both sides share the groups, and copy a group when they write to it, so the copy of
    a large replica costs one flat dictionary.
    """

    __slots__ = ("_groups", "_owned")

    def __init__(self) -> None:
        self._groups: dict[Hashable, dict[int, Row]] = {}
        self._owned: set[Hashable] = set()  # the groups that are not shared

    def group(self, value: Hashable) -> Mapping[int, Row]:
        return self._groups.get(value, _NOTHING)

    def put(self, value: Hashable, row: Row) -> None:
        self._writable(value)[row["id"]] = row

    def remove(self, value: Hashable, row_id: int) -> None:
        group = self._writable(value)
        del group[row_id]
        if not group:
            del self._groups[value]
            self._owned.discard(value)

    def _writable(self, value: Hashable) -> dict[int, Row]:
        if value not in self._owned:
            self._groups[value] = dict(self._groups.get(value, _NOTHING))
            self._owned.add(value)
        return self._groups[value]

    def copy(self) -> Self:
        twin = type(self)()
        twin._groups = self._groups.copy()
        self._owned.clear()
        return twin


class _Table:
    """Rows by id, and by each of the columns that `TABLES` names."""

    __slots__ = ("indexes", "rows")

    def __init__(self, columns: Iterable[str]) -> None:
        self.rows: dict[int, Row] = {}
        self.indexes = {column: _Index() for column in columns}

    def by(self, column: str, value: Hashable) -> Iterable[Row]:
        return self.indexes[column].group(value).values()

    def put(self, row: Row) -> None:
        self.remove(row["id"])
        self.rows[row["id"]] = row
        for column, index in self.indexes.items():
            index.put(row[column], row)

    def remove(self, row_id: int) -> None:
        row = self.rows.pop(row_id, None)
        if row is not None:
            for column, index in self.indexes.items():
                index.remove(row[column], row_id)

    def clear(self) -> None:
        self.rows = {}
        self.indexes = {column: _Index() for column in self.indexes}

    def copy(self) -> Self:
        twin = type(self)(())
        twin.rows = self.rows.copy()
        twin.indexes = {column: index.copy() for column, index in self.indexes.items()}
        return twin


class FlagTables:
    """One schema's flags.

    Rendered flags, segments and variants are cached until they change: most changes affect one part of a flag, and the
    comparison of unchanged parts, being the same objects, costs nothing.
    """

    __slots__ = ("_flags", "_segments", "_tables", "_variants")

    def __init__(self) -> None:
        self._tables = {name: _Table(columns) for name, columns in TABLES.items()}
        self._flags: dict[int, FlagJson] = {}
        self._segments: dict[int, Json] = {}
        self._variants: dict[int, Json] = {}

    @property
    def flag_ids(self) -> Iterable[int]:
        """The ids of all flags, including soft-deleted ones."""
        return self._tables["flags"].rows.keys()

    def put(self, table: str, row: Row) -> None:
        """Add a row while loading, before the first call of `flag`."""
        self._tables[table].put(row)

    def flag(self, flag_id: int) -> FlagJson | None:
        """The flag in the REST shape, None when it is deleted or unknown. The same object until it changes."""
        flag = self._flags.get(flag_id)
        if flag is None:
            row = self._tables["flags"].rows.get(flag_id)
            if row is None or not is_live(row):
                return None
            flag = self._flags[flag_id] = self._render(row)
        return flag

    def flag_by_key(self, key: str) -> FlagJson | None:
        """The live flag with this key; keys are unique, so there is at most one."""
        for row in self._tables["flags"].by("key", key):
            if (flag := self.flag(row["id"])) is not None:
                return flag
        return None

    def attachments(self, flag_id: int) -> dict[int, dict[str, str] | None]:
        """The attachments of the live variants by variant id, with the quotes that the REST view strips."""
        return {row["id"]: attachment(row.get("attachment")) for row in self._variants_of(flag_id)}

    def _variants_of(self, flag_id: int) -> list[Row]:
        return sorted(filter(is_live, self._tables["variants"].by("flag_id", flag_id)), key=_id)

    def touches(self, change: Change) -> list[int]:
        """The ids of the flags that this change may affect; call it before `apply`.

        A child of an unknown segment affects no flag: the change of the segment does.
        """
        if change.op is Op.TRUNCATE:
            rows: Iterable[Row] = list(self._tables[change.table].rows.values())
        else:
            rows = [text.row for text in (change.before, change.after) if text is not None]
        ids = dict.fromkeys(flag_id for row in rows for flag_id in self._flags_of(change.table, row))
        # Sorted, as every instance must number the events alike, whatever the order of its rows.
        return sorted(ids) if change.op is Op.TRUNCATE else list(ids)

    def _flags_of(self, table: str, row: Row) -> Iterable[int]:
        match table:
            case "flags":
                return (row["id"],)
            case "segments" | "variants" | "flags_tags":
                return (row["flag_id"],)
            case "constraints" | "distributions":
                segment = self._tables["segments"].rows.get(row["segment_id"])
                return () if segment is None else (segment["flag_id"],)
            case _:
                return sorted(link["flag_id"] for link in self._tables["flags_tags"].by("tag_id", row["id"]))

    def apply(self, change: Change) -> None:
        """Apply a change to the tables."""
        if change.op is Op.TRUNCATE:
            self._tables[change.table].clear()
            self._segments.clear()
            self._variants.clear()
        else:
            self._replace(change.table, _row(change.before), _row(change.after))

    def rewind(self, change: Change) -> None:
        """Undo a change.

        A truncate restores nothing: the change log holds its rows as deletes before it.
        """
        if change.op is not Op.TRUNCATE:
            self._replace(change.table, _row(change.after), _row(change.before))

    def _replace(self, name: str, old: Row | None, new: Row | None) -> None:
        table = self._tables[name]
        if old is not None:
            self._forget_part(name, old)
            if new is None or new["id"] != old["id"]:
                table.remove(old["id"])
        if new is not None:
            self._forget_part(name, new)
            table.put(new)

    def _forget_part(self, table: str, row: Row) -> None:
        match table:
            case "segments":
                self._segments.pop(row["id"], None)
            case "constraints" | "distributions":
                self._segments.pop(row["segment_id"], None)
            case "variants":
                self._variants.pop(row["id"], None)

    def forget(self, flag_id: int) -> None:
        """Drop the rendered flag, so the next call of `flag` renders it again."""
        self._flags.pop(flag_id, None)

    def _render(self, row: Row) -> FlagJson:
        tables, flag_id = self._tables, row["id"]
        segments = sorted(filter(is_live, tables["segments"].by("flag_id", flag_id)), key=_rank)
        linked = (tables["tags"].rows.get(link["tag_id"]) for link in tables["flags_tags"].by("flag_id", flag_id))
        tags = sorted((tag for tag in linked if tag is not None and is_live(tag)), key=_id)
        return flag_json(
            row,
            [self._segment(segment) for segment in segments],
            [self._variant(variant) for variant in self._variants_of(flag_id)],
            [tag_json(tag) for tag in tags],
        )

    def _segment(self, row: Row) -> Json:
        segment_id = row["id"]
        segment = self._segments.get(segment_id)
        if segment is None:
            constraints = self._tables["constraints"].by("segment_id", segment_id)
            distributions = self._tables["distributions"].by("segment_id", segment_id)
            segment = self._segments[segment_id] = segment_json(row, constraints, distributions)
        return segment

    def _variant(self, row: Row) -> Json:
        variant = self._variants.get(row["id"])
        if variant is None:
            variant = self._variants[row["id"]] = variant_json(row)
        return variant

    def copy(self) -> Self:
        """An independent copy; unchanged parts are shared."""
        twin = type(self)()
        twin._tables = {name: table.copy() for name, table in self._tables.items()}
        twin._flags = self._flags.copy()
        twin._segments = self._segments.copy()
        twin._variants = self._variants.copy()
        return twin


def _row(text: RowText | None) -> Row | None:
    return None if text is None else text.row


def _id(row: Row) -> int:
    value: int = row["id"]
    return value


def _rank(row: Row) -> tuple[int, int]:
    return row["rank"], row["id"]
