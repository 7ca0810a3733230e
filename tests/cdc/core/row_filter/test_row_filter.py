"""How a filter makes a change of a row be seen."""

from collections.abc import Sequence

import pytest

from cdc.core.log.change import Op
from cdc.core.log.row_text import RowText
from cdc.core.log.schema_change import SchemaChange, SchemaColumn
from cdc.core.row_filter.binding import Sql, bind
from cdc.core.row_filter.row_filter import WHOLE, RowFilter, RowView
from cdc.filters.parser import parse_filter
from tests.cdc.filters.tables import COLUMNS

IN, OUT = RowText('{"tenant_id":7,"total":1}'), RowText('{"tenant_id":8,"total":1}')


def filter_of(where: str, *columns: str, is_empty: bool = False) -> RowFilter:
    bound = bind(parse_filter(where), {column.name: column for column in COLUMNS})
    return RowFilter("shop.orders", (bound,), frozenset(columns) or None, is_empty=is_empty)


@pytest.mark.parametrize(
    ("op", "before", "after", "moved"),
    [
        (Op.INSERT, None, IN, None),
        (Op.DELETE, IN, None, None),
        (Op.UPDATE, IN, IN, None),
        (Op.UPDATE, OUT, IN, "in"),
        (Op.UPDATE, IN, OUT, "out"),
        (Op.TRUNCATE, None, None, None),
    ],
)
def test_a_change_is_seen_from_within(op: Op, before: RowText | None, after: RowText | None, moved: str | None) -> None:
    view = filter_of("tenant_id = 7").view_of(op, before, after, ["total"])
    assert view is not None
    assert view.moved == moved


@pytest.mark.parametrize(
    ("op", "before", "after"), [(Op.INSERT, None, OUT), (Op.DELETE, OUT, None), (Op.UPDATE, OUT, OUT)]
)
def test_what_happens_outside_is_silence(op: Op, before: RowText | None, after: RowText | None) -> None:
    assert filter_of("tenant_id = 7").view_of(op, before, after, ["total"]) is None
    assert filter_of("tenant_id = 7", is_empty=True).view_of(Op.UPDATE, IN, IN, []) is None


def test_an_update_of_other_columns_is_not_seen() -> None:
    filter = filter_of("tenant_id = 7", "id", "name")
    assert filter.view_of(Op.UPDATE, IN, IN, ["total"]) is None
    assert filter.view_of(Op.UPDATE, IN, IN, ["name", "total"]) is not None
    assert filter.view_of(Op.UPDATE, OUT, IN, ["tenant_id"]) is not None


def test_a_value_of_another_type_than_the_filters_matches_nothing() -> None:
    assert not filter_of("tenant_id = 7").matches(RowText('{"tenant_id":"seven"}'))
    assert not filter_of("tenant_id = 7").matches(RowText('{"tenant_id":[7]}'))
    assert not filter_of("tenant_id > 7 or name = 'a'").matches(RowText('{"tenant_id":{}}'))


def test_postgresql_gets_the_same_condition_when_it_is_asked() -> None:
    class Source:
        query = None
        conditions: Sequence[Sql] = [{"op": "is true", "args": []}]

        def sql(self) -> Sequence[Sql]:
            return self.conditions

    source = Source()
    assert RowFilter("shop.orders", source=source).sql == {"op": "and", "args": source.conditions}
    assert RowFilter("shop.orders").sql is None
    assert RowFilter("shop.orders", source=source, is_empty=True).sql == {"op": "never", "args": []}


def test_a_change_of_columns_is_for_everybody_who_sees_one_of_them() -> None:
    before, after = map(RowText, SchemaChange((), (SchemaColumn("note", "text"),), rewritten=False).images())
    assert filter_of("tenant_id = 7").view_of(Op.SCHEMA, before, after, None) == WHOLE
    view = filter_of("tenant_id = 7", "id", "note").view_of(Op.SCHEMA, before, after, None)
    assert view == RowView(None, frozenset({"id", "note"}))
    assert filter_of("tenant_id = 7", "id", "name").view_of(Op.SCHEMA, before, after, None) is None
    assert filter_of("tenant_id = 7", is_empty=True).view_of(Op.SCHEMA, before, after, None) is None
