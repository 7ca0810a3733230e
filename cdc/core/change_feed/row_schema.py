"""JSON Schema (2020-12) of a table's rows, as PostgreSQL's `to_json` renders them.

Types whose text depends on session settings (`bytea_output`, `IntervalStyle`), and all other types, are strings.

Source: PostgreSQL manual, "JSON creation functions" (`to_json`: booleans and numbers as such, a cast to json where the
type has one, text otherwise) and "Date/Time Output" (ISO 8601 in JSON, `infinity` and years BC as text).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..log.captured_table import CapturedTable

__all__ = ["Column", "ColumnType", "row_schema"]

_Schema = dict[str, Any]

_CLOCK = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?"

_SPECIAL_NUMBERS = ["NaN", "Infinity", "-Infinity"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; `length` is the n of `varchar(n)` or `char(n)`, None without a limit."""

    name: str
    type: int
    length: int | None
    is_nullable: bool


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A type. `builtin` is the name of a built-in type, else None. `base` is the base type of a domain, `element` the
    element type of an array (0 for others); `fields` are those of a composite type, `labels` those of an enum.
    `renders_itself`: it has a cast to json.
    """

    name: str
    builtin: str | None
    kind: str
    base: int
    element: int
    fields: Sequence[tuple[str, int]]
    labels: Sequence[str]
    renders_itself: bool


def row_schema(table: CapturedTable, columns: Sequence[Column], types: Mapping[int, ColumnType], *, id: str) -> _Schema:
    """The schema of the rows of new changes. Older changes may lack columns that were added later."""
    definitions: dict[str, _Schema] = {}
    properties: dict[str, _Schema] = {}
    for column in columns:
        if table.included is not None and column.name not in table.included:
            continue
        if column.name in table.masked:
            properties[column.name] = {"type": "null", "description": "masked"}
            continue
        schema = _schema(column.type, types, definitions)
        if column.length is not None and _base(column.type, types).builtin in ("varchar", "bpchar"):
            schema = {**schema, "maxLength": column.length}
        if column.is_nullable:
            schema = _or_null(schema)
        properties[column.name] = {**schema, "description": types[column.type].name}
    document: _Schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": id,
        "title": table.name,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "x-flagent-key": list(table.key),
    }
    if definitions:
        document["$defs"] = definitions
    return document


def _base(type: int, types: Mapping[int, ColumnType]) -> ColumnType:
    found = types[type]
    return _base(found.base, types) if found.kind == "d" else found


def _or_null(schema: _Schema) -> _Schema:
    return {"anyOf": [schema, {"type": "null"}]} if schema else schema


def _schema(type: int, types: Mapping[int, ColumnType], definitions: dict[str, _Schema]) -> _Schema:
    found = types[type]
    if found.kind == "d":
        return _schema(found.base, types, definitions)
    if found.renders_itself or found.builtin in ("json", "jsonb"):
        return {}
    if found.element:
        return _named(found.name, definitions, lambda: _array(found, types, definitions))
    if found.kind == "c":
        return _named(found.name, definitions, lambda: _composite(found, types, definitions))
    if found.kind == "e":
        return {"type": "string", "enum": list(found.labels)}
    return _scalar(found.builtin)


def _named(name: str, definitions: dict[str, _Schema], make: Any) -> _Schema:
    """A reference to a definition, which may refer to itself."""
    if name not in definitions:
        definitions[name] = {}
        definitions[name] = make()
    return {"$ref": "#/$defs/" + name.replace("~", "~0").replace("/", "~1").replace("%", "%25").replace('"', "%22")}


def _array(found: ColumnType, types: Mapping[int, ColumnType], definitions: dict[str, _Schema]) -> _Schema:
    # The type does not fix the number of dimensions.
    element = _or_null(_schema(found.element, types, definitions))
    itself = {"$ref": _named(found.name, definitions, dict)["$ref"]}
    return {"type": "array", "items": {"anyOf": [element, itself]} if element else {}}


def _composite(found: ColumnType, types: Mapping[int, ColumnType], definitions: dict[str, _Schema]) -> _Schema:
    fields = {name: _or_null(_schema(type, types, definitions)) for name, type in found.fields}
    return {"type": "object", "properties": fields, "required": list(fields)}


def _scalar(builtin: str | None) -> _Schema:
    match builtin:
        case "bool":
            return {"type": "boolean"}
        case "int2":
            return {"type": "integer", "minimum": -(2**15), "maximum": 2**15 - 1}
        case "int4":
            return {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
        case "int8":
            return {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
        case "float4" | "float8" | "numeric":
            return {"anyOf": [{"type": "number"}, {"type": "string", "enum": _SPECIAL_NUMBERS}]}
        case "date":
            return _time({"type": "string", "format": "date"})
        case "timestamptz":
            return _time({"type": "string", "format": "date-time", "pattern": _CLOCK + r"[+-]\d\d:\d\d$"})
        case "timestamp":
            # No zone, so no date-time of RFC 3339.
            return _time({"type": "string", "pattern": _CLOCK + "$"})
        case "uuid":
            return {"type": "string", "format": "uuid"}
        case _:
            return {"type": "string"}


def _time(ordinary: _Schema) -> _Schema:
    """A date or time, also infinite, before Christ or after the year 9999."""
    return {"anyOf": [ordinary, {"type": "string", "pattern": r"^-?infinity$| BC$|^\d{5,}-"}]}
