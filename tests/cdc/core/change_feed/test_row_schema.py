"""JSON Schema of rows from descriptions of columns; tests/api/routes/test_tables.py holds it against real rows."""

from typing import Any

import pytest

from cdc.core.change_feed.row_schema import Column, ColumnType, row_schema
from cdc.core.log.captured_table import CapturedTable

TEXT, INT, ARRAY, DOMAIN, COMPOSITE, ENUM, HSTORE = range(1, 8)

TYPES = {
    TEXT: ColumnType("text", "text", "b", 0, 0, (), (), False),
    INT: ColumnType("integer", "int4", "b", 0, 0, (), (), False),
    ARRAY: ColumnType("integer[]", "_int4", "b", 0, INT, (), (), False),
    DOMAIN: ColumnType("age", None, "d", INT, 0, (), (), False),
    COMPOSITE: ColumnType('"odd/~name"', None, "c", 0, 0, [("a", INT), ("list", ARRAY)], (), False),
    ENUM: ColumnType("mood", None, "e", 0, 0, (), ("sad", "glad"), False),
    HSTORE: ColumnType("hstore", None, "b", 0, 0, (), (), True),
}


def table(**fields: Any) -> CapturedTable:
    values: dict[str, Any] = {"id": 1, "schema": "s", "table": "t", "key": ("a",), "included": None, "masked": ()}
    return CapturedTable(**{**values, "operations": ("insert",), "is_filtered": False, "lane": "flags", **fields})


def schema_of(
    type: int, *, types: dict[int, ColumnType] = TYPES, nullable: bool = False, length: int | None = None
) -> Any:
    document = row_schema(table(), [Column("a", type, length, nullable)], types, id="x")
    found = dict(document["properties"]["a"])
    found.pop("description")
    return found


def test_the_document_names_the_table_its_columns_and_its_key() -> None:
    document = row_schema(
        table(), [Column("a", INT, None, False), Column("b", TEXT, None, True)], TYPES, id="http://x/s"
    )
    assert document == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "http://x/s",
        "title": "s.t",
        "type": "object",
        "properties": {
            "a": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1, "description": "integer"},
            "b": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "text"},
        },
        "required": ["a", "b"],
        "x-flagent-key": ["a"],
    }


def test_hidden_columns_are_left_out_and_masked_ones_are_null() -> None:
    columns = [Column(name, TEXT, None, False) for name in ("a", "b", "c")]
    document = row_schema(table(included=("a", "c"), masked=("c",)), columns, TYPES, id="x")
    assert document["required"] == ["a", "c"]
    assert document["properties"]["c"]["type"] == "null"


def test_a_type_is_described_by_what_it_is_made_of() -> None:
    assert schema_of(DOMAIN) == schema_of(INT)
    assert schema_of(ENUM) == {"type": "string", "enum": ["sad", "glad"]}
    # A cast to json may give anything.
    assert schema_of(HSTORE) == schema_of(HSTORE, nullable=True) == {}
    assert schema_of(ARRAY) == {"$ref": "#/$defs/integer[]"}
    document = row_schema(table(), [Column("a", COMPOSITE, None, False)], TYPES, id="x")
    assert document["properties"]["a"]["$ref"] == "#/$defs/%22odd~1~0name%22"
    assert document["$defs"]['"odd/~name"']["required"] == ["a", "list"]
    integer = {"anyOf": [schema_of(INT), {"type": "null"}]}
    assert document["$defs"]["integer[]"] == {
        "type": "array", "items": {"anyOf": [integer, {"$ref": "#/$defs/integer[]"}]}
    }  # fmt: skip


def test_an_array_of_anything_holds_anything() -> None:
    types = {**TYPES, 8: ColumnType("hstore[]", None, "b", 0, HSTORE, (), (), False)}
    document = row_schema(table(), [Column("a", 8, None, False)], types, id="x")
    assert document["$defs"]["hstore[]"] == {"type": "array", "items": {}}


@pytest.mark.parametrize(
    ("builtin", "type"),
    [
        ("bool", "boolean"),
        ("int2", "integer"),
        ("int8", "integer"),
        ("uuid", "string"),
        ("inet", "string"),
        (None, "string"),
    ],
)
def test_scalars_have_their_type(builtin: str | None, type: str) -> None:
    types = {8: ColumnType("x", builtin, "b", 0, 0, (), (), False)}
    assert schema_of(8, types=types)["type"] == type


@pytest.mark.parametrize("builtin", ["numeric", "float4", "float8", "date", "timestamp", "timestamptz"])
def test_numbers_and_times_have_special_values(builtin: str) -> None:
    types = {8: ColumnType("x", builtin, "b", 0, 0, (), (), False)}
    ordinary, special = schema_of(8, types=types)["anyOf"]
    assert ordinary["type"] == ("string" if builtin.startswith(("date", "time")) else "number")
    assert special["type"] == "string"


@pytest.mark.parametrize(("builtin", "limited"), [("varchar", True), ("bpchar", True), ("numeric", False)])
def test_only_text_has_a_length(builtin: str, limited: bool) -> None:
    types = {8: ColumnType("x", builtin, "b", 0, 0, (), (), False)}
    assert ("maxLength" in schema_of(8, types=types, length=5)) is limited


def test_json_may_be_anything() -> None:
    types = {8: ColumnType("jsonb", "jsonb", "b", 0, 0, (), (), False)}
    assert schema_of(8, types=types) == {}
