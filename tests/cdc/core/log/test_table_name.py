import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.core.log.table_name import both_ways, qualified


@pytest.mark.parametrize(
    ("schema", "table", "expected"),
    [
        ("public", "orders", "public.orders"),
        ("a.b", "c", '"a.b".c'),
        ("a", 'b"c', 'a."b""c"'),
    ],
)
def test_a_name_with_a_dot_or_a_quote_is_quoted(schema: str, table: str, expected: str) -> None:
    assert qualified(schema, table) == expected


def test_a_name_is_known_with_and_without_its_schema() -> None:
    assert both_ways("orders", "public") == ("public.orders", "orders")
    assert both_ways("public.orders", "public") == ("public.orders", "orders")


@given(st.text('a.b"', min_size=1, max_size=4), st.text('a.b"', min_size=1, max_size=4), st.data())
def test_no_two_tables_have_one_name(schema: str, table: str, data: st.DataObject) -> None:
    other = data.draw(st.tuples(*[st.text('a.b"', min_size=1, max_size=4)] * 2))
    assert (qualified(schema, table) == qualified(*other)) == ((schema, table) == other)
