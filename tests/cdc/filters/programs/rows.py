"""A table with a column of every type that filters compare, and random rows of it.

Values come from small sets with the edges in them, so that comparisons are often equal: infinities, NaN, dates before
Christ, texts whose order depends on the language, json with members twice.
"""

import json
import random
from collections.abc import Sequence

__all__ = ["COLUMNS", "TABLE", "TYPES", "random_row", "values_of"]

TABLE = (
    "create type pairs_state as enum ('open', 'held', 'paid', 'Open')",
    "create domain pairs_amount as numeric check (value is distinct from 13)",
    "create table pairs (n integer primary key, a boolean, s smallint, i integer, l bigint, d numeric,"
    ' m numeric(12, 3), dom pairs_amount, t text, c text collate "C", v varchar(40), u uuid, day date,'
    ' at timestamptz, loc timestamp, st pairs_state, j json, b jsonb, "Odd ""Name" text)',
)

_NUMBERS = (
    "0",
    "1",
    "-1",
    "7",
    "1.0",
    "1.10",
    "1.100",
    "0.1",
    "-0.5",
    "1e3",
    "32767",
    "12345678901234567890.000000001",
)
_TEXTS = (
    "",
    "a",
    "A",
    "b",
    "ab",
    "aB",
    "a b",
    "ä",
    "z",
    "Z",
    "é",
    "e\u0301",
    "\U0001f600",
    "\uffff",
    "%",
    "_",
    "a%b",
    "a_b",
    "\\",
    "it's",
    "7",
    "null",
    "true",
    "a\nb",
    "ß",
    "ss",
    '"quoted"',
)
_DATES = (
    "2026-11-30",
    "2000-01-01",
    "1999-12-31",
    "2000-02-29",
    "0001-01-01",
    "0044-03-15 BC",
    "infinity",
    "-infinity",
    "12026-01-01",
)
_TIMES = (
    "2026-11-30 10:00:00",
    "2026-11-30 10:00:00.000001",
    "2026-11-30",
    "2000-01-01 00:00:00",
    "0044-03-15 12:00:00 BC",
    "infinity",
    "-infinity",
    "12026-01-01 00:00:00.5",
)
_ZONED = (
    "2026-11-30 10:00:00+00",
    "2026-11-30 12:00:00+02",
    "2026-11-30 05:30:00.5-04:30",
    "2026-11-30T10:00:00Z",
    "infinity",
    "-infinity",
)
_UUIDS = (
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
    "{a0eebc999c0b4ef8bb6d6bb9bd380a12}",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
)
_JSONS = (
    "{}",
    "[]",
    "null",
    '"text"',
    "7",
    '{"k": "a"}',
    '{"k": 1.10}',
    '{"k": null}',
    '{"k": {"x": "b", "y": [1, "a", null]}}',
    '{"k": true, "k": "a"}',
    '{"k": ["a", "b"], "0": "zero"}',
    '["a", "b", 7]',
    '[["a"], {"x": "a"}]',
    '{"k": "\\u00e4\\n\\"x"}',
    '{ "k" : [ 1 ,\n 2 ] }',
    '{"k": 1e3}',
    '{"k": ""}',
    '{"it\'s": "a"}',
)

_VALUES: dict[str, Sequence[str]] = {
    "a": ("true", "false"),
    "s": ("0", "1", "-1", "7", "32767", "-32768"),
    "i": ("0", "1", "-1", "7", "2147483647", "-2147483648"),
    "l": ("0", "1", "-1", "7", "9223372036854775807", "9007199254740993"),
    "d": (*_NUMBERS, "NaN", "Infinity", "-Infinity"),
    "m": ("0", "1", "1.1", "-1", "7", "123456789.125", "NaN"),
    "dom": _NUMBERS,
    "t": _TEXTS,
    "c": _TEXTS,
    "v": _TEXTS,
    'Odd "Name': _TEXTS,
    "u": _UUIDS,
    "day": _DATES,
    "at": _ZONED,
    "loc": _TIMES,
    "st": ("open", "held", "paid", "Open"),
    "j": _JSONS,
    "b": _JSONS,
}

TYPES = {
    "n": "integer",
    "a": "boolean",
    "s": "smallint",
    "i": "integer",
    "l": "bigint",
    "d": "numeric",
    "m": "numeric",
    "dom": "numeric",
    "t": "text",
    "c": "text",
    "v": "text",
    'Odd "Name': "text",
    "u": "uuid",
    "day": "date",
    "at": "timestamptz",
    "loc": "timestamp",
    "st": "pairs_state",
    "j": "json",
    "b": "jsonb",
}
"""What a text is cast to for each column."""

COLUMNS = tuple(_VALUES)


def values_of(column: str) -> Sequence[str]:
    """The texts of the values that a column may have."""
    return _VALUES[column]


def random_row(choose: random.Random, number: int) -> dict[str, str | None]:
    """Texts that PostgreSQL casts to the columns' types; a fifth of them are null."""
    row: dict[str, str | None] = {"n": str(number)}
    for column in COLUMNS:
        row[column] = None if choose.random() < 0.2 else choose.choice(_VALUES[column])
    if choose.random() < 0.3:
        row["t"] = row["c"]
    for name in ("j", "b"):
        if row[name] is not None and choose.random() < 0.2:
            row[name] = json.dumps({"k": choose.choice(_TEXTS)}, ensure_ascii=choose.random() < 0.5)
    return row
