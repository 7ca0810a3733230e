"""The index from an event to the subscribers that selected it."""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from ..flags.events import Event
from ..log.table_name import both_ways, without_schema
from ..row_filter.row_filter import WHOLE, RowFilter, RowView
from .row_index import RowIndex
from .selection import SEGMENT_TYPES, Selection, Selections

__all__ = ["SelectionIndex"]

S = TypeVar("S", bound=Hashable)


class _Entry(Generic[S]):
    """One clause of one subscriber, and the buckets that hold it; equal only to itself."""

    __slots__ = ("buckets", "clause", "order", "subscriber")

    def __init__(self, order: int, subscriber: S, clause: Selection, buckets: tuple[Hashable, ...]) -> None:
        self.order = order
        self.subscriber = subscriber
        self.clause = clause
        self.buckets = buckets


class SelectionIndex(Generic[S]):
    """Finds the subscribers of an event; the cost grows with those that match, not with those that are connected."""

    def __init__(self) -> None:
        self._buckets: dict[Hashable, dict[_Entry[S], None]] = {}
        self._rows: dict[str, RowIndex[_Entry[S]]] = {}
        self._entries: dict[S, tuple[_Entry[S], ...]] = {}
        self._order: dict[S, int] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, subscriber: S, selections: Selections) -> None:
        """Register a subscriber, or replace its selection; it keeps its place in the order then."""
        order = self._order.get(subscriber, self._next)
        self.remove(subscriber)
        entries = tuple(_Entry(order, subscriber, clause, tuple(_buckets(clause))) for clause in selections.clauses)
        self._entries[subscriber] = entries
        self._order[subscriber] = order
        self._next += 1
        for entry in entries:
            for name in entry.buckets:
                self._buckets.setdefault(name, {})[entry] = None
            for filter in entry.clause.row_filters:
                self._rows.setdefault(filter.table, RowIndex()).add(entry, filter)

    def remove(self, subscriber: S) -> None:
        """Remove a subscriber. Idempotent."""
        self._order.pop(subscriber, None)
        for entry in self._entries.pop(subscriber, ()):
            for name in entry.buckets:
                bucket = self._buckets[name]
                del bucket[entry]
                if not bucket:
                    del self._buckets[name]
            for filter in entry.clause.row_filters:
                rows = self._rows[filter.table]
                rows.remove(entry, filter)
                if not rows:
                    del self._rows[filter.table]

    def match(self, event: Event) -> list[tuple[S, RowView]]:
        """The subscribers that selected this event, each once, in the order in which they were first added, with how
        each sees it."""
        found: dict[int, tuple[S, RowView]] = {}
        table: str | None = event.detail.get("table")
        if table is None:
            for name in _names(event):
                for entry in self._buckets.get(name, ()):
                    if entry.clause.admits(event):
                        found[entry.order] = entry.subscriber, WHOLE
        else:
            views: dict[RowFilter, RowView | None] = {}
            for entry in self._of_row(event, table, views):
                view = entry.clause.view_row(event, views)
                if view is not None:
                    found[entry.order] = entry.subscriber, view
        return [found[order] for order in sorted(found)]

    def _of_row(self, event: Event, table: str, views: dict[RowFilter, RowView | None]) -> Iterator[_Entry[S]]:
        """The entries that select the table, as far as their filters may let the event through."""
        for name in both_ways(table, event.schema):
            yield from self._buckets.get(("table", name), ())
        rows = self._rows.get(table)
        if rows is not None:
            yield from rows.candidates(event, views)


def _buckets(clause: Selection) -> Iterator[Hashable]:
    if clause.everything:
        yield "everything"
    if clause.segments:
        yield "segments"
    for kind, values in (("key", clause.flag_keys), ("id", clause.flag_ids), ("tag", clause.tags)):
        for value in values:
            yield kind, value
    filtered = {name for filter in clause.row_filters for name in (filter.table, without_schema(filter.table))}
    for table in clause.tables:
        if table not in filtered:
            yield "table", table


def _names(event: Event) -> Iterator[Hashable]:
    """The buckets that hold the subscribers of an event about a flag."""
    yield "everything"
    if event.type in SEGMENT_TYPES:
        yield "segments"
    yield "key", event.flag_key
    yield "id", event.flag_id
    yield from (("tag", tag) for tag in event.tags)
