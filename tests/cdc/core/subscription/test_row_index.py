"""Filters of rows are found by the values of the row."""

from typing import Any

from cdc.core.flags.events import Event, EventType, RowImages
from cdc.core.log.position import EventId, LogId, Position
from cdc.core.log.row_text import RowText
from cdc.core.row_filter.binding import bind
from cdc.core.row_filter.row_filter import RowFilter
from cdc.core.subscription.row_index import RowIndex
from cdc.filters.parser import parse_filter
from tests.cdc.filters.tables import COLUMNS

TYPES = {True: EventType.ROW_INSERTED, False: EventType.ROW_DELETED, None: EventType.ROW_UPDATED}


class Counted(RowFilter):
    """Counts how often it is evaluated."""

    evaluations = 0

    def view(self, event: Event) -> Any:
        self.evaluations += 1
        return super().view(event)


def filter_of(where: str) -> Counted:
    bound = bind(parse_filter(where), {column.name: column for column in COLUMNS})
    return Counted("shop.orders", (bound,))


def event(before: str | None, after: str | None, type: EventType = EventType.ROW_UPDATED) -> Event:
    rows = RowImages(*[None if text is None else RowText(text) for text in (before, after)])
    detail = {"table": "shop.orders", "changed": ["tenant_id"], "key": None}
    id = EventId(Position(1), 0, LogId("log"))
    return Event(id, type, "shop", "", None, None, frozenset(), None, detail, rows=rows)


def test_of_ten_thousand_tenants_a_row_is_compared_with_two() -> None:
    index: RowIndex[int] = RowIndex()
    filters = [filter_of(f"tenant_id = {tenant}") for tenant in range(10_000)]
    for tenant, filter in enumerate(filters):
        index.add(tenant, filter)
    found = set(index.candidates(event('{"tenant_id":5}', '{"tenant_id":7.0}'), {}))
    assert found == {5, 7}
    assert sum(filter.evaluations for filter in filters) == 0


def test_other_filters_are_evaluated_once_for_all_who_have_them() -> None:
    index: RowIndex[int] = RowIndex()
    filter = filter_of("tenant_id > 5")
    for number in range(100):
        index.add(number, filter)
    views: dict[RowFilter, Any] = {}
    assert len(list(index.candidates(event('{"tenant_id":1}', '{"tenant_id":7}'), views))) == 100
    assert (filter.evaluations, views[filter].moved) == (1, "in")
    assert list(index.candidates(event('{"tenant_id":1}', '{"tenant_id":2}'), {})) == []


def test_a_truncation_is_for_everybody() -> None:
    index: RowIndex[str] = RowIndex()
    index.add("a", filter_of("tenant_id in (1, 2)"))
    index.add("b", filter_of("total > 1"))
    assert set(index.candidates(event(None, None, EventType.TABLE_TRUNCATED), {})) == {"a", "b"}


def test_what_is_removed_leaves_nothing_behind() -> None:
    index: RowIndex[str] = RowIndex()
    filters = [filter_of(where) for where in ("tenant_id in (1, 2)", "tenant_id = 1", "total > 1")]
    for filter in filters:
        index.add("a", filter)
        index.add("b", filter)
    for filter in filters:
        index.remove("a", filter)
        index.remove("a", filter)
    assert set(index.candidates(event('{"tenant_id":1}', None), {})) == {"b"}
    for filter in filters:
        index.remove("b", filter)
    assert not index


def test_a_value_that_cannot_be_read_is_nobodys() -> None:
    index: RowIndex[str] = RowIndex()
    index.add("a", filter_of("tenant_id = 1"))
    assert list(index.candidates(event('{"tenant_id":[1]}', '{"tenant_id":"x"}'), {})) == []
