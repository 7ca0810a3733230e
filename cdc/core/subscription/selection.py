"""What a subscription selects.

Parts of a selection add up: any of them selects an event. `types` and `schemas` narrow what the parts select. Rows of
watched tables are selected by table only, so that they never flood a client that follows all flags.

A clause with tables may filter their rows. What it asks for is its `row_query`; the `row_filters` made of that, and of
what the grant imposes, decide how an event is seen. Where the grant imposes something, a table without a filter is not
seen at all.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from ..flags.events import Event, EventType, FlagScope
from ..interned import interned
from ..log.table_name import both_ways, without_schema
from ..row_filter.row_filter import WHOLE, RowFilter, RowView
from ..row_filter.row_query import RowQuery
from .grant import Grant, View

__all__ = ["SEGMENT_TYPES", "Selection", "Selections", "tables_of"]

SEGMENT_TYPES = frozenset({EventType.SEGMENT_UPDATED, EventType.DISTRIBUTION_UPDATED})


T = TypeVar("T", bound=Hashable)

_EMPTY: frozenset[Any] = frozenset()


def _set_of(values: Iterable[T]) -> frozenset[T]:
    """A set, and the same object where it is empty: most are, of eight in each clause, and one takes 216 bytes."""
    return frozenset(values) or _EMPTY


def tables_of(event: Event) -> tuple[str, str] | None:
    """The two ways to write the table of a row event; None for an event about a flag."""
    table: str | None = event.detail.get("table")
    return None if table is None else both_ways(table, event.schema)


@dataclass(frozen=True, slots=True)
class Selection:
    """One clause. Construct it with `of`, which gives an empty one its meaning."""

    everything: bool = False
    flag_keys: frozenset[str] = frozenset()
    flag_ids: frozenset[int] = frozenset()
    tags: frozenset[str] = frozenset()
    segments: bool = False
    tables: frozenset[str] = frozenset()
    types: frozenset[EventType] = frozenset()
    schemas: frozenset[str] = frozenset()
    within_ids: frozenset[int] = frozenset()
    grant: Grant | None = None
    row_query: RowQuery | None = None
    row_filters: tuple[RowFilter, ...] = ()

    @classmethod
    def of(
        cls,
        *,
        everything: bool = False,
        flag_keys: Iterable[str] = (),
        flag_ids: Iterable[int] = (),
        tags: Iterable[str] = (),
        segments: bool = False,
        tables: Iterable[str] = (),
        types: Iterable[EventType] = (),
        schemas: Iterable[str] = (),
        within_ids: Iterable[int] = (),
        row_query: RowQuery | None = None,
    ) -> Self:
        """A selection of these parts; of all flags where none is given, however narrowed.

        `types` and `schemas` narrow it, and so does `within_ids`: of what is selected, only these flags.
        """
        keys, ids, tagged, rows = _set_of(flag_keys), _set_of(flag_ids), _set_of(tags), _set_of(tables)
        if len(rows) == 1:
            # Ten thousand clients with a filter name one table.
            rows = interned(rows)
        return cls(
            everything or not (keys or ids or tagged or rows or segments),
            keys,
            ids,
            tagged,
            segments,
            rows,
            _set_of(types),
            _set_of(schemas),
            _set_of(within_ids),
            row_query=row_query,
        )

    def within(self, grant: Grant) -> Self:
        """The same selection, limited to what a grant allows."""
        allowed = grant if grant.is_restricted else None
        return self if allowed is self.grant else replace(self, grant=allowed)

    @property
    def count(self) -> int:
        """The number of its selectors, without narrowings."""
        listed = len(self.flag_keys) + len(self.flag_ids) + len(self.tags) + len(self.tables)
        return listed + self.everything + self.segments

    def view(self, event: Event) -> RowView | None:
        """How the event is seen; None where it is not selected."""
        tables = tables_of(event)
        if tables is not None:
            return None if self.tables.isdisjoint(tables) else self.view_row(event)
        is_selected = (
            self.everything
            or event.flag_key in self.flag_keys
            or event.flag_id in self.flag_ids
            or not self.tags.isdisjoint(event.tags)
            or (self.segments and event.type in SEGMENT_TYPES)
        )
        return WHOLE if is_selected and self.admits(event) else None

    def matches(self, event: Event) -> bool:
        return self.view(event) is not None

    def view_row(self, event: Event, views: "dict[RowFilter, RowView | None] | None" = None) -> RowView | None:
        """How an event about a row of a selected table is seen. `views` holds what is known of this event already."""
        table: str = event.detail["table"]
        if self.schemas and event.schema not in self.schemas:
            return None
        if self.grant is not None and not self.grant.allows_table(event.schema, table):
            return None
        view: RowView | None = WHOLE
        filter = self.row_filter(table)
        if filter is not None:
            if views is None:
                view = filter.view(event)
            elif filter in views:
                view = views[filter]
            else:
                view = views[filter] = filter.view(event)
        elif self.row_query is not None or (self.grant is not None and self.grant.rules_of(event.schema, table)):
            return None
        if view is None or (self.types and view.type_of(event.type) not in self.types) or self.within_ids:
            return None
        return view

    def row_filter(self, table: str) -> RowFilter | None:
        """The filter of a table, named with its schema."""
        return next((each for each in self.row_filters if each.table == table), None)

    def admits(self, event: Event) -> bool:
        """Whether grant and narrowings let an event about a flag through, whatever the parts select."""
        type = event.type
        if self.grant is not None:
            view = self.grant.view(event)
            if view is View.HIDDEN:
                return False
            if view is View.LEFT:
                if not self._selected_before(event):
                    return False
                type = EventType.FLAG_DELETED
        return (
            (not self.types or type in self.types)
            and (not self.schemas or event.schema in self.schemas)
            and (not self.within_ids or event.flag_id in self.within_ids)
        )

    def _selected_before(self, event: Event) -> bool:
        """Whether it selected the flag before the event: a selection must not reveal what the flag has become."""
        return (
            self.everything
            or event.flag_key in self.flag_keys
            or event.flag_id in self.flag_ids
            or (event.before is not None and not self.tags.isdisjoint(event.before.tags))
        )

    def selects(self, schema: str, flag_id: int, key: str, scope: FlagScope) -> bool:
        """Whether a snapshot for this selection holds a flag. `segments` selects every flag: each may have some."""
        if (self.schemas and schema not in self.schemas) or (self.within_ids and flag_id not in self.within_ids):
            return False
        if self.grant is not None and not self.grant.allows(schema, key, scope):
            return False
        return (
            self.everything
            or self.segments
            or key in self.flag_keys
            or flag_id in self.flag_ids
            or not self.tags.isdisjoint(scope.tags)
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "all": self.everything,
            "flags": sorted(self.flag_keys),
            "flagIDs": sorted(self.flag_ids),
            "tags": sorted(self.tags),
            "segments": self.segments,
            "tables": sorted(self.tables),
            "types": sorted(self.types),
            "schemas": sorted(self.schemas),
        }

    def _narrowing(self) -> tuple[Hashable, ...]:
        return self.types, self.schemas, self.within_ids, self.row_query

    def _plus(self, other: Self) -> Self:
        return replace(
            self,
            everything=self.everything or other.everything,
            flag_keys=_set_of(self.flag_keys | other.flag_keys),
            flag_ids=_set_of(self.flag_ids | other.flag_ids),
            tags=_set_of(self.tags | other.tags),
            segments=self.segments or other.segments,
            tables=_set_of(self.tables | other.tables),
            row_filters=tuple(dict.fromkeys((*self.row_filters, *other.row_filters))),
        )

    def _minus(self, other: Self) -> Self:
        tables = _set_of(self.tables - other.tables)
        return replace(
            self,
            everything=self.everything and not other.everything,
            flag_keys=_set_of(self.flag_keys - other.flag_keys),
            flag_ids=_set_of(self.flag_ids - other.flag_ids),
            tags=_set_of(self.tags - other.tags),
            segments=self.segments and not other.segments,
            tables=tables,
            row_filters=tuple(
                each for each in self.row_filters if not tables.isdisjoint((each.table, without_schema(each.table)))
            ),
        )


@dataclass(frozen=True, slots=True)
class Selections:
    """Everything that one subscriber has selected: clauses that add up, one per narrowing, oldest first.

    >>> both = Selections().add(Selection.of(flag_keys=["a"])).add(Selection.of(flag_keys=["b"]))
    >>> [clause["flags"] for clause in both.to_json()]
    [['a', 'b']]
    >>> both.remove(Selection.of(flag_keys=["a", "b"])).clauses
    ()
    """

    clauses: tuple[Selection, ...] = ()

    @property
    def count(self) -> int:
        """The number of selectors in all clauses."""
        return sum(clause.count for clause in self.clauses)

    def add(self, selection: Selection) -> Self:
        for place, clause in enumerate(self.clauses):
            if clause._narrowing() == selection._narrowing():
                merged = (*self.clauses[:place], clause._plus(selection), *self.clauses[place + 1 :])
                return replace(self, clauses=merged)
        return replace(self, clauses=(*self.clauses, selection))

    def remove(self, selection: Selection | None) -> Self:
        """Take these selectors out of every clause, or, when the selection is narrowed, out of the one so narrowed.

        None takes everything out.
        """
        if selection is None:
            return replace(self, clauses=())
        narrowing = selection._narrowing()
        remaining = (
            clause._minus(selection) if not any(narrowing) or clause._narrowing() == narrowing else clause
            for clause in self.clauses
        )
        return replace(self, clauses=tuple(clause for clause in remaining if clause.count))

    @property
    def is_everything(self) -> bool:
        """Whether it selects exactly the events about flags, all of them."""
        return any(
            clause.everything and clause.grant is None and not any(clause._narrowing()) for clause in self.clauses
        ) and not any(clause.tables for clause in self.clauses)

    @property
    def tables_alone(self) -> frozenset[str]:
        """The names of the selected tables, empty where anything else is selected too."""
        if any(
            clause.everything or clause.segments or clause.flag_keys or clause.flag_ids or clause.tags
            for clause in self.clauses
        ):
            return frozenset()
        return frozenset(name for clause in self.clauses for name in clause.tables)

    def view(self, event: Event) -> RowView | None:
        """How an event is seen; None where it is not selected. There is one filter per table: clauses do not differ."""
        for clause in self.clauses:
            if (view := clause.view(event)) is not None:
                return view
        return None

    def matches(self, event: Event) -> bool:
        return self.view(event) is not None

    def row_filter(self, table: str) -> RowFilter | None:
        """The filter of a table, named with its schema; None where there is none."""
        return next((found for clause in self.clauses if (found := clause.row_filter(table)) is not None), None)

    @property
    def filters_rows(self) -> bool:
        return any(clause.row_filters for clause in self.clauses)

    def selects(self, schema: str, flag_id: int, key: str, scope: FlagScope) -> bool:
        return any(clause.selects(schema, flag_id, key, scope) for clause in self.clauses)

    def to_json(self) -> list[dict[str, Any]]:
        return [clause.to_json() for clause in self.clauses]
