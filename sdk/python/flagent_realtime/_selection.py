"""What a subscription selects: parts add up, ``types`` and ``schemas`` narrow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .events import ROW_TYPES, SEGMENT_TYPES, Event

_NONE: frozenset[Any] = frozenset()


@dataclass(frozen=True)
class Selection:
    """A set of selectors: ``everything`` is every flag, rows come from ``tables`` alone.

    Empty ``types`` or ``schemas`` do not narrow; a selection of nothing matches nothing.
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

    def matches(self, event: Event) -> bool:
        """Whether an event belongs here, as far as the event itself tells: the tags are those after the change."""
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
        """The selectors of this selection that the other one lacks; the narrowing stays."""
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
        """The query of an event stream; there, naming no selector selects everything."""
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


def unite(selections: Iterable[Selection]) -> Selection:
    """One selection that receives all that any of them selects.

    It narrows only where all of them narrow alike; else the client narrows by itself.
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


def _names(event: Event) -> tuple[str, ...]:
    """How a subscription may name the table of a row event: with its schema, and without.

    A part with a dot or a quote in it is quoted as in SQL.
    """
    table, schema = event.table or "", event.schema or ""
    if "." in schema or '"' in schema:
        schema = '"' + schema.replace('"', '""') + '"'
    return table, table.removeprefix(schema + ".")
