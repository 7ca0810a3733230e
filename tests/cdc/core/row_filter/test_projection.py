"""Parts of rows as text."""

from cdc.core.row_filter.projection import key_in, only_columns


def test_values_stay_the_texts_that_they_are() -> None:
    row = '{"a" : 1.10, "b\\"" : [1, {"a" : 2}]}'
    assert only_columns(row, frozenset({'b"'})) == '{"b\\"":[1, {"a" : 2}]}'
    assert only_columns(row, frozenset({"a", "c"})) == '{"a":1.10}'
    assert only_columns(row, frozenset()) == "{}"


def test_a_key_of_several_columns_is_spelled_as_postgresql_spells_it() -> None:
    assert key_in('{ "a" : 1, "b" : "x" }', '{"b":"y","c":1,"a":2}') == '{ "a" : 2, "b" : "y" }'
    assert key_in('{"a" : 1}', '{"b":1}') == '{"a" : 1}'
