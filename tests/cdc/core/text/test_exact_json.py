"""JSON of any size and depth is read: what Python cannot hold stays text, and nothing recurses."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.core.text.exact_json import (
    JsonText,
    loads_object,
    members,
    on_one_line,
    read_any,
    read_array,
    read_members,
    read_object,
    skip,
)

DIGITS = "9" * (sys.get_int_max_str_digits() + 1)
NESTED = "[" * 100_000 + "]" * 100_000

TROUBLE = {
    "an integer of too many digits": DIGITS,
    "a decimal of many digits": f"0.{DIGITS}",
    "a number beyond a double": "-1e999",
    "deep nesting": NESTED,
    "deep nesting of objects": '{"a":' * 5_000 + "1" + "}" * 5_000,
    "a digit too many within": f'{{"a":[{DIGITS}]}}',
    "escapes of NUL and of half a pair": r'"\u0000\ud800"',
    "brackets and quotes in strings": r'{"]}\"": "{[\\\"}]\\"}',
    "a key that is there twice": '{"a":1,"a":2}',
    "blanks": '{ "a" :\t[ 1 ,\n2 ]\r\n}',
}

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.mark.parametrize("text", TROUBLE.values(), ids=TROUBLE.keys())
def test_a_value_ends_where_it_ends_whatever_it_holds(text: str) -> None:
    around = f'{{"before":{text},"after":{text} }}'
    assert skip(text, 0) == len(text)
    assert members(around) == {"before": text, "after": text}


@pytest.mark.parametrize("text", [DIGITS, NESTED, f'{{"a":[{DIGITS}]}}'])
def test_what_python_cannot_hold_stays_text_and_the_rest_is_decoded(text: str) -> None:
    assert read_any(text, 0) == (JsonText(text), len(text))
    assert loads_object(f' {{"id": 7, "x": {text}, "z": [1, "a"]}}\n') == {"id": 7, "x": text, "z": [1, "a"]}


def test_numbers_that_a_double_holds_alike_differ() -> None:
    assert loads_object('{"n":0.10}') != loads_object('{"n":0.1}')
    assert loads_object('{"n":1e999}') == {"n": JsonText("1e999")}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", "null", "{", '{"a"}', '{"a":}', '{"a":[}', '{"a":1 "b":2}', '{"a":"b', "{1:2}", f'{{"a":{DIGITS}'],
)
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|Expecting|object|value|ends"):
        loads_object(text)


@given(st.dictionaries(st.text(), documents, max_size=5), st.sampled_from([(", ", ": "), (",", ":")]), st.booleans())
def test_any_object_is_read_member_by_member(
    document: dict[str, Any], separators: tuple[str, str], is_ascii: bool
) -> None:
    text = json.dumps(document, separators=separators, ensure_ascii=is_ascii)
    found, end = read_object(text, 0, {})
    assert end == len(text)
    assert found == loads_object(text)
    assert {name: json.loads(value) for name, value in members(text).items()} == document
    assert json.loads(on_one_line(json.dumps(document, indent=1))) == document


@given(st.lists(documents, max_size=5))
def test_any_array_is_read_item_by_item(document: list[Any]) -> None:
    text = json.dumps(document)
    ends, end = read_array(text, 0, lambda text, at: (skip(text, at),) * 2)
    assert (len(ends), end) == (len(document), len(text))


def test_members_are_read_as_asked() -> None:
    def length(text: str, at: int) -> tuple[int, int]:
        end = skip(text, at)
        return end - at, end

    text = '{"a": [1, 2], "b": "x", "\\u0061\\n": {}}'
    assert read_object(text, 0, {"a": length}) == ({"a": 6, "b": "x", "a\n": {}}, len(text))
    assert read_members(text, 0, length) == ({"a": 6, "b": 3, "a\n": 2}, len(text))
    assert read_object("{ }", 0, {}) == ({}, 3)
    assert read_array("[\n]", 0, read_any) == ([], 3)


def test_line_ends_between_tokens_become_blanks() -> None:
    assert on_one_line('{"a":\r\n[1,\n"\\n"]}') == '{"a":  [1, "\\n"]}'
    assert on_one_line('{"a":1}') == '{"a":1}'
