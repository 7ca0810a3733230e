"""Texts as Kotlin reads them: its own answers are in the vectors, made by `tests/vectors/kotlin_answers.py`."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.core.text.kotlin_text import WHITESPACE, to_boolean, to_integer


def answers(name: str) -> list[tuple[str, str | None]]:
    path = Path(__file__).parents[3] / "vectors" / f"kotlin_{name}.json"
    return [(text, answer) for text, answer in json.loads(path.read_text("utf-8"))]


@pytest.mark.parametrize(("name", "bits"), [("to_int", 32), ("to_long", 64)])
def test_an_integer_is_what_kotlin_takes_for_one(name: str, bits: int) -> None:
    read = [(text, to_integer(text, bits=bits)) for text, _ in answers(name)]
    assert read == [(text, None if answer is None else int(answer)) for text, answer in answers(name)]


def test_a_truth_value_is_what_kotlin_takes_for_one() -> None:
    assert [(text, to_boolean(text)) for text, _ in answers("to_boolean")] == [
        (text, answer == "true") for text, answer in answers("to_boolean")
    ]


@given(st.integers(), st.sampled_from([32, 64]), st.sampled_from(["", "0", "0" * 5_000]))
def test_every_number_of_that_size_is_read_with_leading_zeros_or_without(number: int, bits: int, zeros: str) -> None:
    text = f"{'-' if number < 0 else ''}{zeros}{abs(number)}"
    fits = -(2 ** (bits - 1)) <= number < 2 ** (bits - 1)
    assert to_integer(text, bits=bits) == (number if fits else None)


@given(st.text(max_size=6))
def test_no_text_breaks_a_parser(text: str) -> None:
    number = to_integer(text, bits=32)
    assert number is None or (int(text) == number and text == text.strip())
    assert to_boolean(text) == (text.casefold() == "true")


def test_a_very_long_number_is_none() -> None:
    assert to_integer("9" * 100_000, bits=64) is None
    assert to_integer("-" + "1" * 100_000, bits=64) is None


def test_blanks_are_kotlins() -> None:
    assert "\u00a0" in WHITESPACE
    assert "\u0085" not in WHITESPACE
