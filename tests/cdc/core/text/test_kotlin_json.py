"""JSON as Flagent reads it: Kotlin's own answers are in the vectors, made by `tests/vectors/kotlin_answers.py`."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.core.text.kotlin_json import loads, to_boolean, to_integer


def answers(name: str) -> list[tuple[str, Any]]:
    path = Path(__file__).parents[3] / "vectors" / f"kotlin_{name}.json"
    return [(text, answer) for text, answer in json.loads(path.read_text("utf-8"))]


ANSWERS = answers("json")
WORDS: dict[object, str] = {True: "true", False: "false", None: "null"}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=10,
)


def contents(value: Any) -> Any:
    """A decoded value, each of its scalars as text."""
    match value:
        case dict():
            return {name: contents(item) for name, item in value.items()}
        case list():
            return [contents(item) for item in value]
        case str():
            return value
        case _:
            return WORDS[value]


def read(text: str) -> Any:
    try:
        return contents(loads(text))
    except ValueError:
        return None


def test_every_text_is_read_or_refused_as_kotlin_does() -> None:
    # A text of one word is a value to both.
    assert [(text, read(text)) for text, _ in ANSWERS] == [(text, answer) for text, answer in ANSWERS]


def test_the_answers_are_about_more_than_json() -> None:
    def is_json(text: str) -> bool:
        try:
            json.loads(text)
        except ValueError:
            return False
        return True

    kinds = {(is_json(text), answer is None) for text, answer in ANSWERS}
    assert kinds == {(True, False), (False, True), (False, False)}, "nothing that is JSON is refused"


@given(VALUES, st.sampled_from(["", " ", "\n\t "]))
def test_json_is_read_as_what_it_is(value: Any, blanks: str) -> None:
    text = json.dumps(value, indent=blanks or None)
    expected = json.loads(text, parse_int=str, parse_float=str)
    assert loads(blanks + text + blanks) == expected
    # With a word that JSON does not have, the other values stay what they are.
    assert loads(f"[{text}, 'x']") == [expected, "'x'"]


@given(st.text(alphabet=st.sampled_from('{}[],:"\\ab1- \nu0é\x01'), max_size=30))
def test_no_text_raises_anything_but_a_value_error(text: str) -> None:
    read(text)


@pytest.mark.parametrize("opening", ["[", '{"a":', "[x,", '{"a":x,"b":'])
def test_deep_nesting_is_refused(opening: str) -> None:
    for depth in (1_000, 100_000):
        with pytest.raises(ValueError):
            loads(opening * depth)
    with pytest.raises(ValueError):
        loads(opening * 201 + "x")


def test_only_a_text_that_is_json_may_be_long() -> None:
    long = ["x" * 20] * 1_000
    assert loads(json.dumps(long)) == long
    assert loads("[" + ",".join(long[:700]) + "]") == long[:700]
    with pytest.raises(ValueError, match="not JSON"):
        loads("[" + ",".join(long) + "]")


def test_the_error_names_the_place() -> None:
    with pytest.raises(ValueError, match="at 6"):
        loads("['ab' b]")


def test_a_field_reads_quoted_integers_as_kotlin_does() -> None:
    quoted = [(json.loads(text), answer) for text, answer in answers("int_field") if text.startswith('"')]
    assert [(text, number_in(text)) for text, _ in quoted] == quoted


def number_in(text: str) -> str | None:
    """The answer of a field of 32 bits."""
    number = to_integer(text)
    return str(number) if number is not None and -(2**31) <= number < 2**31 else None


def test_a_field_reads_quoted_booleans_as_kotlin_does() -> None:
    quoted = [(json.loads(text), answer) for text, answer in answers("boolean_field") if text.startswith('"')]
    assert [(text, to_boolean(text)) for text, _ in quoted] == [
        (text, None if answer is None else answer == "true") for text, answer in quoted
    ]


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 3), st.integers(-25, 25))
def test_an_integer_may_have_leading_zeros_and_an_exponent(number: int, zeros: int, exponent: int) -> None:
    digits = f"{'-' if number < 0 else ''}{'0' * zeros}{abs(number)}"
    assert to_integer(digits) == number
    scaled = to_integer(f"{digits}e{exponent}")
    if abs(number) < 2**31 and 0 <= exponent < 6:
        assert scaled == number * 10**exponent
    if exponent < 0 and number % 10:
        assert scaled is None or abs(number) > 2**50


@given(st.text(alphabet="0123456789eE+-. ", max_size=40) | st.text(max_size=5))
def test_no_text_breaks_a_field(text: str) -> None:
    number = to_integer(text)
    assert number is None or text[:1] in "-0123456789"
    assert to_boolean(text) in (None, True, False)


@pytest.mark.parametrize("text", ["9" * 100_000, "1e" + "9" * 100_000, "-" * 100_000, "1e" + "+-" * 50_000 + "9"])
def test_a_long_number_is_refused(text: str) -> None:
    assert to_integer(text) is None
