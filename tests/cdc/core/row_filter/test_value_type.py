"""Literals and values of rows, as what compares like PostgreSQL's."""

from decimal import Decimal

import pytest

from cdc.core.log.table_column import TableColumn
from cdc.core.row_filter.value_type import NAN, ValueType, cast_type, type_of
from cdc.core.text.exact_json import JsonText


def builtin(name: str) -> ValueType:
    found = cast_type(name)
    assert found is not None
    return found


def test_numbers_keep_their_digits() -> None:
    numeric = builtin("numeric")
    assert numeric.read(JsonText("0.1")) == numeric.parse("0.10")
    assert numeric.parse("12345678901234567890.1") > numeric.read(12345678901234567890)
    assert hash(numeric.parse("7.00")) == hash(numeric.read(7))


def test_nan_equals_itself_and_is_above_infinity() -> None:
    numeric = builtin("numeric")
    infinity = numeric.parse("inf")
    assert numeric.read("NaN") is NAN is numeric.parse("nan")
    assert numeric.read("NaN") == NAN
    assert infinity < NAN
    assert infinity < NAN
    assert NAN > 7
    assert not Decimal(7) > NAN
    assert numeric.read("Infinity") == infinity
    assert numeric.parse("-Infinity") < numeric.parse("-1e16383")


@pytest.mark.parametrize(
    ("type", "text"),
    [
        ("int2", "32768"),
        ("int4", "1.0"),
        ("int8", "9223372036854775808"),
        ("int4", ""),
        ("int4", "0x1F"),
        ("numeric", "1e"),
        ("numeric", "1e200000"),
        ("numeric", "1e-20000"),
        ("bool", "maybe"),
        ("uuid", "1"),
        ("text", "a\0"),
        ("uuid", "{00000000-0000-0000-0000-000000000000"),
        ("date", "today"),
        ("timestamptz", "now"),
    ],
)
def test_what_postgresql_would_refuse_is_refused(type: str, text: str) -> None:
    with pytest.raises(ValueError):
        builtin(type).parse(text)


def test_uuids_are_read_in_each_of_their_forms() -> None:
    parse = builtin("uuid").parse
    text = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    assert parse(text.upper()) == parse("{" + text + "}") == parse(text.replace("-", "")) == text


def test_labels_of_an_enum_are_in_their_order() -> None:
    type = type_of(TableColumn("state", "shop.state", None, labels=("open", "held")))
    assert type is not None
    assert type.parse("open") < type.read("held")
    with pytest.raises(ValueError, match="open, held"):
        type.parse("lost")


@pytest.mark.parametrize("name", ["float8", "bpchar", "money", "interval", "time", "name", "_int4", None])
def test_other_types_are_not_compared(name: str | None) -> None:
    assert type_of(TableColumn("a", str(name), name)) is None
