"""Translation for an engine without backtracking; its matches are tested with the engine."""

import pytest

from cdc.core.javaregex import NotLinear, Plan, backtracking_text, linear_plans, parse


def whole(pattern: str) -> str:
    """The only text of an expression without look-aheads."""
    (plan,) = linear_plans(parse(pattern))
    assert (plan.required, plan.excluded) == ((), ())
    return plan.whole


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("a.b", r"a[\x{0}-\x{9}\x{B}-\x{C}\x{E}-\x{84}\x{86}-\x{2027}\x{202A}-\x{10FFFF}]b"),
        ("(?s)a.", r"a[\x{0}-\x{10FFFF}]"),
        ("(?d).", r"[\x{0}-\x{9}\x{B}-\x{10FFFF}]"),
        ("a*b+c?d{2}e{2,}f{1,3}", "(?:a)*(?:b)+(?:c)?(?:d){2,2}(?:e){2,}(?:f){1,3}"),
        ("a*?b+?", "(?:a)*(?:b)+"),
        ("(a|(?:b|))", "(?:(?:a|(?:(?:b|))))"),
        (r"\Aa\z", r"a\z"),
        (r"a\b\B^", r"a\b\B\A"),
        ("(?i)k", r"[\x{4B}-\x{4B}\x{6B}-\x{6B}]"),
        ("(?iu)k", r"[\x{4B}-\x{4B}\x{6B}-\x{6B}\x{212A}-\x{212A}]"),
        ("[^a]", r"[\x{0}-\x{60}\x{62}-\x{10FFFF}]"),
        ("[a-z&&[b&&[^b]]]", r"[^\x{0}-\x{10FFFF}]"),
        (r"[\p{Lu}a-c\P{Nd}]", r"[\x{61}-\x{63}\p{Lu}\P{Nd}]"),
        (r"[^\p{IsGreek}a]", r"[^\x{61}-\x{61}\p{Greek}]"),
        (r"\R", r"(?:\r\n|[\n-\r\x{85}\x{2028}\x{2029}])"),
        ("US$", r"US\z"),
        (r"US\Z", r"US\z"),
        ("(US$|CA$)", r"(?:(?:US\z|CA\z))"),
        ("(a$)?", r"(?:(?:a\z))?"),
        ("a++b", "(?:a)+b"),
        ("a++$", r"(?:a)+\z"),
        (r"[a-c]*+\z", r"(?:[\x{61}-\x{63}])*\z"),
    ],
)
def test_expressions_for_engines_without_backtracking(pattern: str, text: str) -> None:
    assert whole(pattern) == text


def test_leading_look_aheads_become_separate_expressions() -> None:
    assert linear_plans(parse(r"^(?=a|b)(?!c$)(?!(?d)d$)e|f")) == (
        Plan("e", ("(?:a|b)",), (r"c(?:\r\n|[\n\r\x{85}\x{2028}\x{2029}])?\z", r"d\n?\z")),
        Plan("f"),
    )


@pytest.mark.parametrize(
    "pattern",
    [
        *(r"(?<=a)b", "a(?=b)b", "(?:(?>a))", r"\X", r"(a)\1", "(?m)^", "a$b", "(a|b)*+c", ".*+.", "(?=a++)ab"),
        *(r"\p{C}", r"[^\p{Cn}]", r"[\p{L}&&\p{Lu}]", "a{1001}", "a{0,1001}", "a{1001,}"),
    ],
)
def test_some_expressions_need_backtracking(pattern: str) -> None:
    with pytest.raises(NotLinear):
        linear_plans(parse(pattern))


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
