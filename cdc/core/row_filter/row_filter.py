"""A filter of one table's rows, and how it makes a subscriber see an event.

An update may take a row into a filter or out of it. Its subscribers see the one as an insertion, the other as
a deletion, and nothing at all of what happens outside.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from ..flags.events import Event, EventType
from ..log.change import Op
from ..log.row_text import RowText
from ..log.schema_change import SchemaChange
from .binding import Bound, IndexKey, Sql
from .matcher import Test, all_of
from .row_query import RowQuery

__all__ = ["WHOLE", "FilterSource", "RowFilter", "RowView"]


class RowView(NamedTuple):
    """How an event about a row is seen. `columns` None are all; not `has_key` where even the key is secret."""

    moved: Literal["in", "out"] | None = None
    columns: frozenset[str] | None = None
    has_key: bool = True

    def type_of(self, type: EventType) -> EventType:
        """The type of an event that is seen so."""
        if self.moved is None:
            return type
        return EventType.ROW_INSERTED if self.moved == "in" else EventType.ROW_DELETED


WHOLE = RowView()

_OPS = {
    EventType.ROW_INSERTED: Op.INSERT,
    EventType.ROW_UPDATED: Op.UPDATE,
    EventType.ROW_DELETED: Op.DELETE,
    EventType.TABLE_TRUNCATED: Op.TRUNCATE,
}


def _view(columns: frozenset[str] | None) -> RowView:
    return WHOLE if columns is None else RowView(None, columns)


class FilterSource(Protocol):
    """What a filter was made of."""

    @property
    def query(self) -> RowQuery | None:
        """What its subscribers asked for."""

    def sql(self) -> Sequence[Sql]:
        """Make the conditions for PostgreSQL: there are many filters, and few read a table at a time."""


class RowFilter:
    """The rows of `table` (with its schema) that satisfy all of `conditions`, with `columns` of them.

    There is one object for all subscribers with the same filter: equal only to itself. `source` is None for a filter
    without conditions. `is_granted` where a credential imposes it or a part of it; `is_empty` where the credential
    lacks what it needs, so that no row satisfies it.
    """

    __slots__ = ("__weakref__", "_test", "columns", "is_empty", "is_granted", "key", "source", "table")

    def __init__(
        self,
        table: str,
        conditions: Sequence[Bound] = (),
        columns: frozenset[str] | None = None,
        *,
        source: FilterSource | None = None,
        is_granted: bool = False,
        is_empty: bool = False,
    ) -> None:
        self.table = table
        self.columns = columns
        self.is_granted = is_granted
        self.is_empty = is_empty
        self.key: IndexKey | None = next((each.key for each in conditions if each.key is not None), None)
        self.source = source
        self._test: Test = all_of([each.test for each in conditions])

    @property
    def sql(self) -> Sql | None:
        """The condition for PostgreSQL, None where all rows satisfy it."""
        if self.is_empty:
            return {"op": "never", "args": []}
        conditions = () if self.source is None else self.source.sql()
        return {"op": "and", "args": list(conditions)} if conditions else None

    def matches(self, row: RowText) -> bool:
        """Whether a row satisfies it. What cannot be compared, because its column has another type now, does not."""
        if self.is_empty:
            return False
        try:
            return self._test(row) is True
        except (ValueError, ArithmeticError, TypeError, RecursionError):
            return False

    def view(self, event: Event) -> RowView | None:
        """How an event about a row of the table is seen; None where it is not."""
        if event.type is EventType.SCHEMA_CHANGED:
            return self._view_of_schema(SchemaChange.of_json(event.detail))
        rows = event.rows
        if rows is None:
            return self._view_of_unreadable()
        return self.view_of(_OPS[event.type], rows.before, rows.after, event.detail["changed"])

    def view_of(
        self, op: Op, before: RowText | None, after: RowText | None, changed: Sequence[str] | None
    ) -> RowView | None:
        """The same for a change; `changed` None are columns that are not known."""
        if self.is_empty:
            return None
        if op is Op.TRUNCATE:
            return _view(self.columns)
        if op is Op.SCHEMA:
            return self._view_of_schema(SchemaChange.read(before, after))
        was_in = before is not None and self.matches(before)
        is_in = after is not None and self.matches(after)
        if op is not Op.UPDATE:
            return _view(self.columns) if was_in or is_in else None
        if was_in and is_in:
            is_shown = self.columns is None or changed is None or not self.columns.isdisjoint(changed)
            return _view(self.columns) if is_shown else None
        if was_in or is_in:
            return RowView("in" if is_in else "out", self.columns)
        return None

    def _view_of_schema(self, change: SchemaChange) -> RowView | None:
        return None if self.is_empty or change.within(self.columns) is None else _view(self.columns)

    def _view_of_unreadable(self) -> RowView | None:
        """Of a row that cannot be read it is not known whether it matches. That there was one is no secret, its key
        may be."""
        if self.is_empty:
            return None
        return RowView(None, self.columns, has_key=not self.is_granted)
