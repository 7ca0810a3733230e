"""How expressions are spelled for the two kinds of engines; what they then match is tested with the engines."""

import json
from pathlib import Path

import pytest

from cdc.core.javaregex import NotLinear, Plan, Unsupported, backtracking_text, linear_plans, parse

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "java_regex.json").read_text("utf-8"))


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


def test_leading_look_aheads_become_expressions_of_their_own() -> None:
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
    ("pattern", "text"),
    [
        (r"(a)(?:b)(?>c)\1", r"(a)(?:b)(?>c)\g<1>"),
        (r"(?i)(-)\1\2", r"(\x2D)(?i:\g<1>)(?!)"),
        ("(?=a)(?!b)(?<=c)(?<!d)", "(?=a)(?!b)(?<=c)(?<!d)"),
        ("a*b+?c?+d{2}e{2,}", "(?:a){0,}(?:b){1,}?(?>c){0,1}+(?:d){2,2}(?:e){2,}"),
        ("a|b", "(?:a|b)"),
        (r"é€😀", r"\xE9\u20AC\U0001F600"),
        (r"\R\X", r"(?:\r\n|[\n-\r\x85\u2028\u2029])\X"),
        ("(?d)$", r"(?=\n?\Z)"),
        ("(?md)^$", r"(?:(?!\Z)(?:\A|(?<=\n)))(?=\n|\Z)"),
        (r"[a-c\p{Lu}]", r"[[a-c]||[\p{Lu}]]"),
        (r"[\p{L}&&[^\p{Lu}]]", r"[[\p{L}]&&[^[\p{Lu}]]]"),
        (r"[\p{L}&&[a&&b]]", r"[[\p{L}]&&[^\x00-\U0010FFFF]]"),
        ("[a&&b]", "(?!)"),
    ],
)
def test_expressions_for_an_engine_with_backtracking(pattern: str, text: str) -> None:
    assert backtracking_text(parse(pattern)) == text


def test_every_expression_of_the_vectors_can_be_spelled() -> None:
    unsupported = set()
    for pattern, *answers in VECTORS:
        if answers[0] is not None:
            try:
                backtracking_text(parse(pattern))
            except Unsupported:
                unsupported.add(pattern)
    assert unsupported == {r"\b{g}a", "a{2147483647}"}
