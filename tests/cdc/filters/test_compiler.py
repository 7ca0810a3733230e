"""Filters of clients and rules of grants, compiled for the tables that are watched."""

from dataclasses import replace

import pytest

from cdc.core.errors import InvalidInput
from cdc.core.flags.events import Event, EventType, RowImages
from cdc.core.log.lane import WatchedTable
from cdc.core.log.position import EventId, LogId, Position
from cdc.core.log.row_text import RowText
from cdc.core.row_filter.expression import Constant
from cdc.core.row_filter.row_filter import RowFilter
from cdc.core.row_filter.row_query import RowQuery
from cdc.core.subscription.grant import Grant
from cdc.core.subscription.lane_map import LaneMap
from cdc.core.subscription.selection import Selection, Selections
from cdc.core.subscription.selection_index import SelectionIndex
from cdc.core.wire.message import Subscribe, parse_message
from cdc.filters.compiler import FilterCompiler, check_one_filter, check_rules_of_key, claim_paths
from tests.cdc.filters.tables import MAP, ORDERS

ROW = RowText('{"id":1,"tenant_id":7,"total":1.10,"name":"a"}')


def compiled(
    query: RowQuery | None = None, *names: str, grant: Grant | None = None, tables: LaneMap = MAP
) -> tuple[RowFilter, ...]:
    selection = Selection.of(tables=names or ("shop.orders",), row_query=query)
    return FilterCompiler().compiled(selection if grant is None else selection.within(grant), tables).row_filters


def refused(query: RowQuery | None = None, *names: str, grant: Grant | None = None) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        compiled(query, *names, grant=grant)
    return caught.value


def granting(claims: dict[str, object] | None = None, **rule: object) -> Grant:
    grant = Grant.parse({"rows": {"orders": rule}})
    return grant if claims is None else grant.with_claims(claims, claim_paths)


def test_without_filters_nothing_is_compiled() -> None:
    selection = Selection.of(tables=["orders"])
    assert FilterCompiler().compiled(selection, MAP) is selection


def test_equal_filters_are_one_object_while_they_are_in_use() -> None:
    compiler, query = FilterCompiler(), RowQuery("tenant_id = $1", (Constant("parameter", "7"),))
    one, two = (
        compiler.compiled(Selection.of(tables=[name], row_query=query), MAP) for name in ("orders", "shop.orders")
    )
    assert one.row_filters[0] is two.row_filters[0]
    assert one.row_filters[0].matches(ROW)


def test_filters_that_differ_in_a_parameter_share_the_rest() -> None:
    compiler = FilterCompiler()
    text = (
        '{"type": "subscribe", "tables": [{"name": "orders", "where": "id = $1", "params": [%d], "columns": ["id"]}]}'
    )
    messages = [parse_message(text % number) for number in (7, 8, 8)]
    one, other, again = (
        compiler.compiled(message.selections[0], MAP) for message in messages if isinstance(message, Subscribe)
    )
    assert one.row_query is not None
    assert other.row_query is not None
    assert one.row_query != other.row_query
    assert one.row_query.where is other.row_query.where
    assert one.row_query.columns is other.row_query.columns
    assert one.row_filters[0].columns is other.row_filters[0].columns
    assert one.tables is other.tables
    assert other.row_query is again.row_query


def test_a_filter_needs_one_watched_table() -> None:
    assert refused(RowQuery("id = 1"), "nothing").code == "unknown_table"
    assert refused(RowQuery("id = 1"), "items").code == "several_tables"
    assert refused(RowQuery("id = 1"), "orders", grant=Grant(tables=frozenset({"items"}))).code == "unknown_table"


def test_hidden_columns_do_not_exist() -> None:
    assert refused(RowQuery("secret = 'x'")).code == "unknown_column"
    error = refused(RowQuery(columns=("secret",)))
    assert (error.code, error.name) == ("unknown_column", "columns")
    assert "secret;" in str(error)


def test_a_rule_is_added_to_the_filter_of_the_client() -> None:
    grant = granting({"t": 7}, where="tenant_id = claim('t')", columns=["id", "total", "secret"])
    (filter,) = compiled(RowQuery("id = 1"), grant=grant)
    assert filter.matches(ROW)
    assert filter.columns == frozenset({"id", "total"})
    assert not filter.matches(RowText('{"id":1,"tenant_id":8,"total":1}'))
    assert refused(RowQuery("name = 'a'"), grant=grant).code == "unknown_column"
    assert refused(RowQuery(columns=("name",)), grant=grant).code == "unknown_column"


@pytest.mark.parametrize("claims", [None, {}, {"t": None}, {"u": 7}])
def test_without_its_claim_a_rule_matches_no_row(claims: dict[str, object] | None) -> None:
    (filter,) = compiled(grant=granting(claims, where="tenant_id = claim('t')"))
    assert filter.is_empty
    assert not filter.matches(ROW)


@pytest.mark.parametrize("claim", ["7", True, [7], {"a": 7}])
def test_a_claim_of_another_type_is_refused_without_its_value(claim: object) -> None:
    error = refused(grant=granting({"t": claim}, where="tenant_id = claim('t')"))
    assert error.code == "invalid_rows"
    assert "tenant_id" not in str(error)


def test_rules_of_one_bare_name_apply_to_every_table_of_that_name() -> None:
    grant = Grant.parse({"rows": {"items": {"where": "id = 1"}, "b.items": {"where": "tenant_id = 2"}}})
    a, b = compiled(None, "items", grant=grant)
    assert (a.table, b.table) == ("a.items", "b.items")
    assert a.matches(ROW)
    assert not b.matches(ROW)


def test_a_table_is_selected_in_one_way() -> None:
    compiler = FilterCompiler()
    parts = [
        Selection.of(tables=["orders"], row_query=query) for query in (RowQuery("id = 1"), None, RowQuery("id = 2"))
    ]
    for other in parts[1:]:
        both = Selections().add(compiler.compiled(parts[0], MAP)).add(compiler.compiled(other, MAP))
        with pytest.raises(InvalidInput):
            check_one_filter(both)
    twice = Selections().add(compiler.compiled(parts[0], MAP)).add(compiler.compiled(parts[0], MAP))
    check_one_filter(twice)
    assert len(twice.clauses) == 1


def test_a_changed_table_changes_its_filters() -> None:
    compiler = FilterCompiler()
    before = compiler.all_compiled(Selections((Selection.of(tables=["orders"], row_query=RowQuery("id = 1")),)), MAP)
    assert compiler.all_compiled(before, MAP) == before
    changed = LaneMap((replace(ORDERS, columns=ORDERS.columns[:3]),))
    assert compiler.all_compiled(before, changed) != before
    with pytest.raises(InvalidInput):
        compiler.all_compiled(before, LaneMap((WatchedTable("shop", "orders", ORDERS.lane, ORDERS.columns[1:]),)))


def test_a_rule_is_checked_before_a_key_is_made_of_it() -> None:
    check_rules_of_key(Grant.parse({"rows": {"orders": {"where": "any_column = 7"}}}))
    for where in ("now() > at", "tenant_id = claim('t')"):
        with pytest.raises(InvalidInput):
            check_rules_of_key(Grant.parse({"rows": {"orders": {"where": where}}}))


def test_a_table_that_is_taken_out_of_a_selection_takes_its_filter_with_it() -> None:
    grant = Grant.parse({"rows": {"*": {"where": "id = 1"}}})
    both = FilterCompiler().compiled(Selection.of(tables=["orders", "a.items"]).within(grant), MAP)
    left = Selections((both,)).remove(Selection.of(tables=["orders"]))
    assert [filter.table for filter in left.clauses[0].row_filters] == ["a.items"]
    index: SelectionIndex[str] = SelectionIndex()
    index.add("one", left)
    images = RowImages(None, RowText('{"id":1}'))
    id = EventId(Position(1), 0, LogId("log"))
    detail: dict[str, object] = {"table": "shop.orders", "changed": [], "key": None}
    event = Event(id, EventType.ROW_INSERTED, "shop", "", None, None, frozenset(), None, detail, rows=images)
    assert index.match(event) == []
    assert index.match(replace(event, schema="a", detail={**detail, "table": "a.items"})) != []


def test_of_a_row_that_cannot_be_read_a_credential_for_some_rows_does_not_get_the_key() -> None:
    id = EventId(Position(1), 0, LogId("log"))
    detail = {"table": "shop.orders", "changed": [], "key": '{"id" : 1}', "unreadable": "too_large"}
    event = Event(id, EventType.ROW_UPDATED, "shop", "", None, None, frozenset(), None, detail)
    (own,) = compiled(RowQuery("id = 1"))
    (imposed,) = compiled(grant=granting(where="id = 1"))
    views = [filter.view(event) for filter in (own, imposed)]
    assert [view is not None and view.has_key for view in views] == [True, False]
