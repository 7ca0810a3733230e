"""Java's expressions on our engines: the same answers, within bounds."""

import json
from pathlib import Path
from time import perf_counter

import pytest

from cdc.core.errors import InvalidPattern, UndecidedMatch
from cdc.evaluation import java_regex as bounds
from cdc.evaluation.java_regex import JavaRegexes

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "java_regex.json").read_text("utf-8"))

EVIL = r"(?:(a+a+)+)\1y"
"""Needs backtracking, and very much of it on many times `a`."""


def answer(regexes: JavaRegexes, pattern: str, text: str) -> bool | None:
    try:
        return regexes.fullmatch(pattern, text)
    except UndecidedMatch:
        return None


def test_matches_what_java_matches_and_nothing_else() -> None:
    regexes = JavaRegexes()
    wrong = []
    for pattern, *answers in VECTORS:
        if answers[0] is None:
            continue
        for expected, texts in zip((True, False), answers, strict=True):
            wrong += [(pattern, text) for text in texts if answer(regexes, pattern, text) not in (expected, None)]
    assert wrong == []


def test_decides_nearly_every_vector() -> None:
    regexes = JavaRegexes()
    undecided = {
        pattern
        for pattern, *answers in VECTORS
        if answers[0] is not None
        for texts in answers
        if any(answer(regexes, pattern, text) is None for text in texts)
    }
    assert undecided == {r"\b{g}a", "a{2147483647}", r"(?<=b(B+\x41(?s){1,2}+)){2}\1\h"}


def test_refuses_what_java_refuses() -> None:
    with pytest.raises(InvalidPattern):
        JavaRegexes().compile("(?P<name>a)")


def test_an_evil_expression_that_needs_no_backtracking_is_quick() -> None:
    started = perf_counter()
    assert JavaRegexes().fullmatch("(a+)+b", "a" * 10_000) is False
    assert perf_counter() - started < 0.5


def test_an_evil_expression_that_needs_backtracking_is_interrupted_and_then_suspended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pattern = JavaRegexes().compile(EVIL)
    started = perf_counter()
    for _ in range(1000):
        with pytest.raises(UndecidedMatch):
            pattern.fullmatch("a" * 1000 + "c")
    assert perf_counter() - started < 1
    assert [record.__dict__["action"] for record in caplog.records] == ["regex_suspended"]


def test_a_suspended_expression_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "ALLOWANCE_PER_S", 1e9)
    pattern = JavaRegexes().compile(EVIL)
    for _ in range(10):
        with pytest.raises(UndecidedMatch, match="exceeded its time limit"):
            pattern.fullmatch("a" * 1000 + "c")
    assert pattern.fullmatch("aaaay") is True


def test_other_expressions_match_while_one_is_suspended() -> None:
    regexes = JavaRegexes()
    for _ in range(20):
        assert answer(regexes, EVIL, "a" * 1000 + "c") is None
    assert regexes.fullmatch(r"(.)\1", "aa") is True


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("[a-z]{900}.*", "a" * 100_000),
        (r"(.)\1.*", "a" * 2001),
        ("a|" * 5000, "a"),
        ("(" * 200 + ")" * 200, ""),
        ("(?:(?:a{1000}){1000}){1000}", "a"),
    ],
    ids=["long value", "long value to backtrack on", "long expression", "deep expression", "large expression"],
)
def test_what_is_beyond_a_bound_stays_undecided_and_costs_little(pattern: str, text: str) -> None:
    started = perf_counter()
    with pytest.raises(UndecidedMatch):
        JavaRegexes().compile(pattern).fullmatch(text)
    assert perf_counter() - started < 0.5


def test_the_longest_expression_is_read_quickly() -> None:
    started = perf_counter()
    JavaRegexes().compile("(a|[b-z]+)*" * (bounds.MAX_PATTERN_LENGTH // 11))
    assert perf_counter() - started < 2


def test_only_the_expressions_used_last_are_kept() -> None:
    regexes = JavaRegexes()
    patterns = [regexes.compile(f"a{number}") for number in range(bounds.MAX_PATTERNS + 10)]
    assert all(pattern.fullmatch(f"a{number}") for number, pattern in enumerate(patterns))
