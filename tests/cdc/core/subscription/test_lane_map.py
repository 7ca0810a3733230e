import pytest

from cdc.core.errors import InvalidInput
from cdc.core.flags.events import EventType
from cdc.core.log.lane import FLAGS, Lane, WatchedTable
from cdc.core.log.table_column import TableColumn
from cdc.core.subscription.grant import Grant
from cdc.core.subscription.lane_map import LaneMap
from cdc.core.subscription.selection import Selection, Selections

ORDERS, CLICKS = Lane("orders", 1, "commit"), Lane("clicks", 2, "read")

MAP = LaneMap(
    (
        WatchedTable("public", "plain", FLAGS),
        WatchedTable("shop", "orders", ORDERS),
        WatchedTable("shop", "items", ORDERS),
        WatchedTable("web", "clicks", CLICKS),
        WatchedTable("web", "orders", CLICKS),
        WatchedTable("web.shop", "orders", ORDERS),
    )
)


def of(*clauses: Selection) -> Lane:
    return MAP.of(Selections(clauses))


@pytest.mark.parametrize(
    ("selection", "lane"),
    [
        (Selection.of(), FLAGS),
        (Selection.of(flag_keys=["a"], tables=["plain"]), FLAGS),
        (Selection.of(tables=["not watched"]), FLAGS),
        (Selection.of(tables=["shop.orders"]), ORDERS),
        (Selection.of(tables=["items", "shop.orders", "not watched"]), ORDERS),
        (Selection.of(tables=["clicks", "web.orders"], types=[EventType.ROW_DELETED]), CLICKS),
        (Selection.of(tables=["orders"], schemas=["web"]), CLICKS),
        (Selection.of(tables=['"web.shop".orders']), ORDERS),
    ],
)
def test_a_subscription_belongs_to_the_lane_of_its_tables(selection: Selection, lane: Lane) -> None:
    assert of(selection) == lane


@pytest.mark.parametrize(
    ("clauses", "sentence"),
    [
        (
            [Selection.of(tables=["orders"])],
            "shop.orders belongs to the lane orders, and web.orders to the lane clicks",
        ),
        (
            [Selection.of(tables=["shop.orders", "plain"])],
            "public.plain belongs to .* flags, and shop.orders to .* orders",
        ),
        (
            [Selection.of(tables=["items"], tags=["t"])],
            "what is selected of flags belongs to the lane flags, and shop.items",
        ),
        ([Selection.of(tables=["items"], segments=True)], "what is selected of flags"),
        (
            [Selection.of(tables=["items"]), Selection.of(flag_ids=[1])],
            "shop.items belongs to the lane orders, and what",
        ),
        (
            [Selection.of(tables=["items"]), Selection.of(everything=True)],
            "subscribe to each lane on a separate connection",
        ),
    ],
)
def test_a_subscription_of_two_lanes_is_refused_with_both_names(clauses: list[Selection], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence) as refused:
        of(*clauses)
    assert refused.value.code == "several_lanes"


def test_tables_that_a_grant_hides_are_as_if_they_were_not_watched() -> None:
    grant = Grant(tables=frozenset({"shop.orders"}))
    assert of(Selection.of(tables=["orders"]).within(grant)) == ORDERS
    assert of(Selection.of(tables=["clicks"]).within(grant)) == FLAGS


def test_nothing_selected_is_of_the_flags_lane_and_lanes_know_how_they_are_read() -> None:
    assert of() == FLAGS
    assert MAP.lanes == {FLAGS, ORDERS, CLICKS}
    assert [lane.is_polled for lane in (FLAGS, ORDERS, CLICKS)] == [False, False, True]


def test_it_is_altered_where_a_known_table_has_other_columns() -> None:
    def map_of(*types: str) -> LaneMap:
        return LaneMap((WatchedTable("shop", "orders", ORDERS, tuple(TableColumn("n", each, each) for each in types)),))

    assert map_of("int4").altered_since(map_of("text"))
    assert not map_of("int4").altered_since(map_of("int4"))
    assert not map_of("int4").altered_since(LaneMap())
