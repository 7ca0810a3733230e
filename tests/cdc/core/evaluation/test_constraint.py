"""Constraints where the vectors do not reach: operators that are none, matches left undecided."""

import pytest

from cdc.core.errors import UndecidedMatch
from cdc.core.evaluation import CompiledPattern
from cdc.core.evaluation.constraint import compile_constraint

from .flags import PlainRegexes


class NeverDone:
    """An engine whose matches are all cut off; counts what it compiled."""

    def __init__(self) -> None:
        self.compiled = 0

    def compile(self, _pattern: str, /) -> CompiledPattern:
        self.compiled += 1
        return self

    def fullmatch(self, _text: str, /) -> bool:
        raise UndecidedMatch


@pytest.mark.parametrize("operator", ["eq", "", "BETWEEN", "EQ "])
def test_an_unknown_operator_holds_for_nothing(operator: str) -> None:
    assert compile_constraint(operator, "a", PlainRegexes())("a") is False


@pytest.mark.parametrize("operator", ["EREG", "NEREG"])
def test_a_match_left_undecided_fails_both_ways(operator: str) -> None:
    assert compile_constraint(operator, "a", NeverDone())("a") is False


@pytest.mark.parametrize(("operator", "holds"), [("EREG", False), ("NEREG", True)])
def test_an_invalid_expression_never_matches(operator: str, holds: bool) -> None:
    assert compile_constraint(operator, "(", PlainRegexes())("(") is holds


def test_an_expression_is_compiled_at_its_first_use_and_once() -> None:
    engine = NeverDone()
    test = compile_constraint("EREG", "a", engine)
    assert engine.compiled == 0
    test("a")
    test("b")
    assert engine.compiled == 1


@pytest.mark.parametrize("operator", ["LT", "LTE", "GT", "GTE"])
@pytest.mark.parametrize(("value", "text"), [("NaN", "1"), ("1", "NaN"), ("x", "1"), ("1", "x"), ("", "")])
def test_a_comparison_with_a_text_that_is_no_number_fails(operator: str, value: str, text: str) -> None:
    assert compile_constraint(operator, value, PlainRegexes())(text) is False
