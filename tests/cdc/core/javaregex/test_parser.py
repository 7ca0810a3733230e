"""Which texts are expressions: exactly those that Java accepts."""

import json
from pathlib import Path

import pytest

from cdc.core.errors import InvalidPattern
from cdc.core.javaregex import NotLinear, TooComplex, Unsupported, backtracking_text, linear_plans, parse

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "java_regex.json").read_text("utf-8"))


def is_accepted(pattern: str) -> bool:
    try:
        parse(pattern)
    except InvalidPattern:
        return False
    return True


def test_accepts_exactly_what_java_accepts() -> None:
    wrong = [pattern for pattern, *answers in VECTORS if is_accepted(pattern) != (answers[0] is not None)]
    assert wrong == []


@pytest.mark.parametrize(
    ("pattern", "accepted"),
    [
        (r"[\d&&]", True),
        (r"[a\d&&]", True),
        (r"[\da&&]", False),
        (r"\ud83d\u0041", True),
        (r"\ud83d\u00", False),
        (r"\N", False),
        (r"\N{DIGIT ONE", False),
        ("()" * 11 + r"\11\12", True),
        (r"\p{IsZzzz}", True),
        (r"(?i)\p{javaLowerCase}\p{IsUppercase}", True),
        (r"(?<=(?:ab){2}|c?)d", True),
    ],
)
def test_accepts_what_java_accepts_in_rare_cases(pattern: str, accepted: bool) -> None:
    assert is_accepted(pattern) is accepted


@pytest.mark.parametrize(
    "pattern",
    ["(" * 200 + ")" * 200, "[" * 200 + "a" + "]" * 200, "(?<=" + "(a|b)" * 2000 + ")"],
    ids=["groups", "classes", "choices in a look-behind"],
)
def test_what_is_nested_too_deeply_is_not_called_invalid(pattern: str) -> None:
    with pytest.raises(TooComplex):
        parse(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[a-z]+@x\.com$",
        r"\d++\.\d++",
        r"[a-z]++",
        r"^(?=.*\d)(?=.*[a-z]).{8,}$",
        r"^(?!.*@example\.com$).*$",
        r"(?!a).*|b",
        r"[a-z&&[^aeiou]]*",
        r"\p{InGreek}+|\p{IsCyrillic}",
        r"(?i)straße\R?",
        r"US\Z",
    ],
)
def test_the_usual_expressions_need_no_backtracking(pattern: str) -> None:
    assert linear_plans(parse(pattern))


@pytest.mark.parametrize(
    "pattern",
    [
        r"(.)\1",
        r"((?!bad).)*",
        r"a(?<=a)",
        r"(?>a|ab)c",
        r"(a|ab)++c",
        r"(?m)^a$",
        r"a$\n?b*",
        r"\X",
        "a{1001}",
        r"[\p{L}&&[^\p{Lu}]]",
        r"(a$)*",
        r".*+a",
        r"(?<=a)b",
    ],
)
def test_what_looks_around_or_back_needs_backtracking(pattern: str) -> None:
    with pytest.raises(NotLinear):
        linear_plans(parse(pattern))
    assert backtracking_text(parse(pattern))


@pytest.mark.parametrize("pattern", [r"\b{g}a", "(?:(?:a{1000}){1000}){1000}(?<=a)", "a{2147483647}"])
def test_what_no_engine_can_do_is_told_apart(pattern: str) -> None:
    with pytest.raises(Unsupported):
        backtracking_text(parse(pattern))
