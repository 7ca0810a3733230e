"""What a subscription or store selects: selectors add up, ``types`` and ``schemas`` narrow the result. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .events import ROW_TYPES, SEGMENT_TYPES, FlagentEvent

_NONE: frozenset[Any] = frozenset()


@dataclass(frozen=True)
class Selection:
    """A set of selectors. ``everything`` selects every flag; rows are selected by ``tables`` only.

    Empty ``types`` or ``schemas`` do not narrow. A selection without selectors selects nothing.
    """

    everything: bool = False
    flags: frozenset[str] = _NONE
    flag_ids: frozenset[int] = _NONE
    tags: frozenset[str] = _NONE
    tables: frozenset[str] = _NONE
    segments: bool = False
    types: frozenset[str] = _NONE
    schemas: frozenset[str] = _NONE

    @property
    def is_empty(self) -> bool:
        return not (self.everything or self.flags or self.flag_ids or self.tags or self.tables or self.segments)

    @classmethod
    def of_flags(cls, flags: Iterable[str] = (), flag_ids: Iterable[int] = (), tags: Iterable[str] = ()) -> Selection:
        """Flags by key, id or tag; every flag when nothing is named."""
        selection = cls(flags=frozenset(flags), flag_ids=frozenset(flag_ids), tags=frozenset(tags))
        return EVERYTHING if selection.is_empty else selection

    def selects_flag(self, flag: Mapping[str, Any]) -> bool:
        """Whether the selectors include a flag, given as JSON; ``types`` and ``schemas`` are not considered."""
        if self.everything or flag.get("key") in self.flags or flag.get("id") in self.flag_ids:
            return True
        tags = flag.get("tags")
        if not self.tags or not isinstance(tags, list):
            return False
        values = [tag.get("value") for tag in tags if isinstance(tag, dict)]
        return any(isinstance(value, str) and value in self.tags for value in values)

    def selects_event(self, event: FlagentEvent) -> bool:
        """Whether an event belongs to the selection. Only the flag's tags after the change are known here."""
        if self.types and event.type_name not in self.types:
            return False
        if self.schemas and event.schema not in self.schemas:
            return False
        if event.type in ROW_TYPES:
            return not self.tables.isdisjoint(_names(event))
        return (
            self.everything
            or event.flag_key in self.flags
            or event.flag_id in self.flag_ids
            or (self.segments and event.type in SEGMENT_TYPES)
            or (event.flag is not None and not self.tags.isdisjoint(event.flag.tag_values))
        )

    def minus(self, other: Selection) -> Selection:
        """The selectors that are not in *other*; ``types`` and ``schemas`` stay."""
        return Selection(
            self.everything and not other.everything,
            self.flags - other.flags,
            self.flag_ids - other.flag_ids,
            self.tags - other.tags,
            self.tables - other.tables,
            self.segments and not other.segments,
            self.types,
            self.schemas,
        )

    def covers(self, other: Selection) -> bool:
        """Whether an event stream that requested this selection delivers all of *other*.

        A request without selectors delivers every flag; tables are delivered only when they were requested.
        """
        if (self.types, self.schemas) != (other.types, other.schemas) and (self.types or self.schemas):
            return False
        missing = other.minus(self)
        if self.everything or self.is_empty:
            return missing.tables == frozenset()
        return missing.is_empty

    def to_message(self) -> dict[str, Any]:
        """The fields of a ``subscribe`` or ``unsubscribe`` message."""
        fields = {
            "subscribeAll": self.everything,
            "flags": sorted(self.flags),
            "flagIDs": sorted(self.flag_ids),
            "tags": sorted(self.tags),
            "tables": sorted(self.tables),
            "segments": self.segments,
            "types": sorted(self.types),
            "schemas": sorted(self.schemas),
        }
        return {name: value for name, value in fields.items() if value}

    def to_query(self) -> list[tuple[str, str]]:
        """The query of an event stream. A query without selectors selects everything."""
        query = [("type", value) for value in sorted(self.types)]
        query += [("schema", value) for value in sorted(self.schemas)]
        if not self.everything:
            query += [("flag", value) for value in sorted(self.flags)]
            query += [("flagID", str(value)) for value in sorted(self.flag_ids)]
            query += [("tag", value) for value in sorted(self.tags)]
            query += [("table", value) for value in sorted(self.tables)]
            query += [("segments", "true")] if self.segments else []
        return query


EVERYTHING = Selection(everything=True)


def union(selections: Iterable[Selection]) -> Selection:
    """One selection that includes each of *selections*.

    It keeps ``types`` and ``schemas`` only when they are the same in all; otherwise the client narrows itself.
    """
    parts = [selection for selection in selections if not selection.is_empty]
    if not parts:
        return Selection()
    return Selection(
        any(part.everything for part in parts),
        frozenset().union(*(part.flags for part in parts)),
        frozenset().union(*(part.flag_ids for part in parts)),
        frozenset().union(*(part.tags for part in parts)),
        frozenset().union(*(part.tables for part in parts)),
        any(part.segments for part in parts),
        parts[0].types if all(part.types == parts[0].types for part in parts) else _NONE,
        parts[0].schemas if all(part.schemas == parts[0].schemas for part in parts) else _NONE,
    )


def _names(event: FlagentEvent) -> tuple[str, ...]:
    """The names that select the table of a row event: with its schema, and without.

    A part that contains a dot or a quote is quoted as in SQL.
    """
    table, schema = event.table or "", event.schema or ""
    if "." in schema or '"' in schema:
        schema = '"' + schema.replace('"', '""') + '"'
    return table, table.removeprefix(schema + ".")
