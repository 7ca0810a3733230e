"""What a subscription or store selects: selectors add up, ``types`` and ``schemas`` narrow the result. Pure.

A message holds 1 000 values at most. A larger selection is sent in parts. Where it resumes or needs a snapshot, the
first message selects everything, so that the replay or the snapshot arrives in one piece and in order, and the last one
takes that back. Meanwhile the client narrows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import quote

from .events import ROW_TYPES, SEGMENT_TYPES, FlagentEvent

_NONE: frozenset[Any] = frozenset()

MAX_VALUES = 1_000
"""The server's limit of one message, and of one event stream."""

MAX_PART_BYTES = 64 * 1024
"""Half of the server's limit of one message: the other fields need some of it."""

MAX_QUERY_BYTES = 60_000
"""The server's limit is 64 KiB, with the parameters that are not the selection."""

MAX_TABLES = 900
"""Tables, types and schemas are part of the first message, whatever else is in it."""

MAX_NARROWING = 100
"""The types and schemas of one subscription."""

MAX_TEXT = 256
MAX_FLAG_ID = 2**31 - 1


class Weight(NamedTuple):
    """How much of a connection's limits selections take; the sum of several is an upper bound of their union."""

    selectors: int = 0
    query_bytes: int = 0
    tables: int = 0
    table_bytes: int = 0
    narrowing: int = 0

    def plus(self, other: Weight) -> Weight:
        return Weight(*(mine + its for mine, its in zip(self, other, strict=True)))

    def minus(self, other: Weight) -> Weight:
        return Weight(*(mine - its for mine, its in zip(self, other, strict=True)))


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

    @cached_property
    def weight(self) -> Weight:
        """How much of a connection's limits it takes."""
        texts = [*self.flags, *self.tags, *self.tables, *self.types, *self.schemas]
        return Weight(
            len(self.flags) + len(self.flag_ids) + len(self.tags) + len(self.tables) + self.everything + self.segments,
            sum(len(quote(text, "")) + 8 for text in texts) + 18 * len(self.flag_ids),
            len(self.tables),
            sum(map(_json_bytes, self.tables)),
            len(self.types) + len(self.schemas),
        )

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

    @cached_property
    def is_divided(self) -> bool:
        """Whether it takes more than one message."""
        return len(self.parts()) > 1

    def parts(self) -> list[Selection]:
        """Selections of one message each that add up to this one; the first has every table."""
        narrowing = [*self.types, *self.schemas]
        parts: list[dict[str, list[Any]]] = [{}]
        count = base = len(narrowing)
        size = base_size = sum(map(_json_bytes, narrowing))
        for name in ("tables", "flags", "flag_ids", "tags"):
            for value in sorted(getattr(self, name)):
                needed = _json_bytes(value)
                if count > base and (count >= MAX_VALUES or size + needed > MAX_PART_BYTES):
                    parts.append({})
                    count, size = base, base_size
                parts[-1].setdefault(name, []).append(value)
                count, size = count + 1, size + needed
        narrowed = Selection(types=self.types, schemas=self.schemas)
        sets: list[dict[str, Any]] = [{name: frozenset(values) for name, values in part.items()} for part in parts]
        first = replace(narrowed, everything=self.everything, segments=self.segments, **sets[0])
        return [first, *(replace(narrowed, **part) for part in sets[1:])]

    def check_values(self) -> None:
        """Raise :exc:`ValueError` for a value that the server would refuse."""
        for name, texts in (("flag", self.flags), ("tag", self.tags), ("table", self.tables), ("schema", self.schemas)):
            for text in texts:
                if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT:
                    raise ValueError(
                        f"a {name} is {str(text)[:60]!r}; it must be a string of 1 to {MAX_TEXT} characters"
                    )
        for number in self.flag_ids:
            if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= MAX_FLAG_ID:
                raise ValueError(f"a flag id is {number!r}; it must be a whole number from 1 to {MAX_FLAG_ID}")
        if len(self.types) + len(self.schemas) > MAX_NARROWING:
            count = len(self.types) + len(self.schemas)
            raise ValueError(f"a subscription has {count} types and schemas, but the limit is {MAX_NARROWING}")

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


def subscribe_messages(selection: Selection, **start: Any) -> list[dict[str, Any]]:
    """The messages that subscribe to a selection. *start* is ``lastEventId`` or ``snapshot``, or empty."""
    parts = [{"type": "subscribe", **part.to_message()} for part in selection.parts()]
    if len(parts) == 1 or not start:
        return [{**parts[0], **start}, *parts[1:]]
    wide = Selection(everything=True, tables=selection.tables, types=selection.types, schemas=selection.schemas)
    last = {"type": "unsubscribe", **replace(wide, tables=_NONE).to_message()}
    return [
        {"type": "subscribe", **wide.to_message(), **start},
        *parts,
        *([] if selection.everything else [last]),
    ]


@dataclass(frozen=True)
class SelectionLimits:
    """What one connection can select."""

    selectors: int
    is_query: bool = False
    """Whether the selection is the query of a URL."""

    def allow(self, weight: Weight) -> bool:
        """Whether selections of this weight together are within the limits."""
        return (
            weight.selectors + (weight.narrowing if self.is_query else 0) <= self.selectors
            and (not self.is_query or weight.query_bytes <= MAX_QUERY_BYTES)
            and weight.tables <= MAX_TABLES
            and weight.table_bytes <= MAX_PART_BYTES
        )

    def refusal(self, weight: Weight) -> ValueError:
        """The error for a client of this weight, which is not allowed."""
        if weight.selectors + (weight.narrowing if self.is_query else 0) > self.selectors:
            return ValueError(
                f"this client would select {weight.selectors} flags, ids, tags and tables, but the limit of one "
                + ("event stream" if self.is_query else "connection")
                + f" is {self.selectors}; select everything, or use "
                + ("the WebSocket client" if self.is_query else "another client for some")
            )
        if self.is_query and weight.query_bytes > MAX_QUERY_BYTES:
            return ValueError(
                f"the selection would be a query of {weight.query_bytes} bytes, but the limit is {MAX_QUERY_BYTES}; "
                "select everything, or use the WebSocket client"
            )
        return ValueError(
            f"this client would select {weight.tables} tables, with {weight.table_bytes} bytes of names, but the limit "
            f"of one connection is {MAX_TABLES} tables and {MAX_PART_BYTES} bytes; use another client for some"
        )


def _json_bytes(value: str | int) -> int:
    return len(json.dumps(value)) + 2


def _names(event: FlagentEvent) -> tuple[str, ...]:
    """The names that select the table of a row event: with its schema, and without.

    A part that contains a dot or a quote is quoted as in SQL.
    """
    table, schema = event.table or "", event.schema or ""
    if "." in schema or '"' in schema:
        schema = '"' + schema.replace('"', '""') + '"'
    return table, table.removeprefix(schema + ".")
