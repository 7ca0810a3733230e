"""A row as text: it is decoded whatever it holds, compared to the last digit, and known for one that cannot be sent."""

import json
import sys

import pytest

from cdc.core.log.row_text import (
    LARGE,
    RowText,
    Unreadable,
    changed_columns,
    read_row,
    readable_key,
    scan_row,
    skip_row,
    why_unreadable,
)
from cdc.core.text.exact_json import JsonText

DIGITS = "9" * (sys.get_int_max_str_digits() + 1)
# Deeper than the JSON parser of any version goes: that of Python 3.13 takes 5 000.
NESTED = "[" * 100_000 + "]" * 100_000


def row(**columns: str) -> RowText:
    return RowText("{" + ",".join(f'"{name}":{text}' for name, text in columns.items()) + "}")


def test_a_row_is_decoded_when_its_values_are_needed() -> None:
    text = RowText.load(b'{"id":7,"n":1.10}')
    assert (text.text, text.row) == ('{"id":7,"n":1.10}', {"id": 7, "n": JsonText("1.10")})
    assert RowText.load('{"id":7}') == RowText.of({"id": 7})
    assert len({RowText("{}"), RowText("{}")}) == 1
    with pytest.raises(ValueError, match="not a JSON object"):
        _ = RowText("[]").row


def test_columns_that_python_cannot_hold_leave_the_others_decoded() -> None:
    assert row(id="7", n=DIGITS, doc=NESTED).row == {"id": 7, "n": DIGITS, "doc": NESTED}


def test_a_size_is_that_of_the_bytes() -> None:
    assert (RowText("{}").size_bytes, RowText('{"ü":1}').size_bytes, RowText.load(b"\xfc").size_bytes) == (2, 8, 1)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (row(a="1", b="2"), row(a="1", b="2"), []),
        (row(a="1", b="2"), row(c="1", b="3"), ["c", "b", "a"]),
        (row(n="1.10"), row(n="1.1"), ["n"]),
        (row(n=DIGITS), row(n=DIGITS + "0"), ["n"]),
        (row(n=DIGITS, m="1"), row(n=DIGITS, m="2"), ["m"]),
        (row(doc=NESTED, m="1"), row(doc="[]", m="1"), ["doc"]),
        (row(doc='{"a":1,"a":2}'), row(doc='{"a":3,"a":2}'), ["doc"]),
        (row(doc="[1, 2]"), row(doc="[1,2]"), ["doc"]),
        (row(a=f'"{"x" * LARGE}"', b="1"), row(a=f'"{"x" * LARGE}"', b="2"), ["b"]),
    ],
    ids=["nothing", "columns", "scale", "digits", "beside digits", "depth", "twice", "blanks", "large"],
)
def test_a_column_has_changed_where_its_text_has(before: RowText, after: RowText, changed: list[str]) -> None:
    assert changed_columns(before, after) == changed


def test_a_row_is_found_in_a_larger_text() -> None:
    for text in ('{"id":7}', f'{{"n":{DIGITS}}}', f'{{"doc":{NESTED}}}', '{"s":"}"}'):
        around = f'[{text},"x"]'
        assert read_row(around, 1) == skip_row(around, 1) == (RowText(text), 1 + len(text))
    assert read_row("[null]", 1) == skip_row("[null]", 1) == scan_row("[null]", 1) == (None, 5)
    assert scan_row('[{"id":7}]', 1) == (RowText('{"id":7}'), 9)
    for text in ("7", "[]", '{"a":}', f'{{"n":{DIGITS}}}'):
        with pytest.raises(ValueError, match=r"expected|Expecting|Exceeds"):
            scan_row(text, 0)


def test_the_reason_why_a_row_cannot_be_sent_is_named() -> None:
    latin1 = RowText.load(b'{"name":"\xfc"}').text
    assert why_unreadable("{}", None, '{"name":"ü","half":"\\udcfc"}') is None
    assert why_unreadable("{}", latin1) is Unreadable.NOT_UTF8
    assert why_unreadable("x" * 6, None, "x" * 5, limit=10) is Unreadable.TOO_LARGE
    assert why_unreadable("x" * 5, None, "x" * 5, limit=10) is None


def test_a_key_survives_its_row_unless_it_is_the_reason() -> None:
    assert readable_key('{"id" : 7}') == '{"id" : 7}'
    assert readable_key(None) is None
    assert readable_key(RowText.load(b'{"name":"\xfc"}').text) is None
    assert readable_key(json.dumps({"name": "x" * 100_000})) is None


def test_what_is_read_of_a_row_is_remembered_until_it_is_forgotten() -> None:
    row, calls = RowText('{"id":7}'), list[str]()

    def read() -> int:
        calls.append("read")
        return int(row.row["id"])

    assert [row.remember("id", read), row.remember("id", read), len(calls)] == [7, 7, 1]
    assert row.remember("another", lambda: 8) == 8
    row.forget()
    assert [row.remember("id", read), len(calls)] == [7, 2]


def test_that_a_row_cannot_be_read_is_remembered_too() -> None:
    row, calls = RowText("{}"), list[str]()

    def fail() -> int:
        calls.append("fail")
        raise ValueError("no number")

    for _ in range(3):
        with pytest.raises(ValueError, match="no number"):
            row.remember("id", fail)
    assert len(calls) == 1
